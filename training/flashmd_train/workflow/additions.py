"""Data that are added to a finished run: segments, or frames that its reference goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from flashmd_rs.reference.checks import Severity, findings
from flashmd_rs.reference.label import label
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.system import same_atoms_together
from flashmd_rs.structure_files import read_frames
from flashmd_train.workflow.options import FitOptions
from flashmd_train.workflow.plan import Plan
from flashmd_train.workflow.rounds import begin_round, holds
from flashmd_train.workflow.run_folder import RunFolder


def add(
    folder: RunFolder,
    frames: Path,
    potential: Potential,
    options: FitOptions,
    workers: int,
    say: Callable[[str], None],
) -> None:
    """Begin a round with new data; nothing happens with what the run has.

    Args:
        folder: of the run.
        frames: file of frames, or of segments (.h5).
        potential: of the run.
        options: of the run.
        workers: processes.
        say: takes a line of progress.

    Raises:
        ValueError: the run is not finished, no frame can be labelled, or the segments are not fit for training.
    """
    digest = hashlib.sha256(frames.read_bytes()).hexdigest()[:8]
    if holds(folder.path, digest):
        return
    if not folder.card.exists():
        raise ValueError(f"{folder.path} holds no finished run to add data to; run fit without --add first")
    if frames.suffix == ".h5":
        refusals = [found.sentence for found in findings(frames, potential) if found.severity is Severity.REFUSAL]
        if refusals:
            raise ValueError(f"{frames} is not fit for training: {'; '.join(refusals)}")
        begin_round(folder.path, [frames], digest)
        return
    plan, made = Plan.model_validate_json(folder.plan.read_text()), []
    # A file for each set of the same atoms in the same cell.
    for number, starts in enumerate(same_atoms_together(read_frames(frames))):
        path = folder.path / f"labelled-{digest}-{number}.h5"
        count = label(
            path,
            starts,
            potential,
            max(options.temperature_K),
            seed=options.seed,
            timestep_fs=plan.timestep_fs,
            spacing_fs=plan.spacing_fs,
            length_fs=plan.length_fs,
            workers=workers,
        )
        say(f"labelled {count} of {len(starts)} frames of {starts[0].get_chemical_formula()}")
        made.append(path)
    begin_round(folder.path, made, digest)
