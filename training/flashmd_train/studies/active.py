"""Active learning: run, collect frames with domain violations, label them by the reference, retrain, repeat.

A control arm adds as many frames at random from ordinary MD, because more data helps by itself. Each round is tested by
runs that are not in the training data: how long they survive, and the error of their temperature until then.
"""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read as read_frames
from ase.io import write as write_frames

import flashmd_rs
from flashmd_rs import Guard, Langevin
from flashmd_rs.evaluation.page.tables import paragraph
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.explosion import hottest_K
from flashmd_rs.reference.label import label
from flashmd_rs.reference.system import System
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.data.segments import Segments
from flashmd_train.export.publish import publish
from flashmd_train.learning.config import DirectTraining
from flashmd_train.learning.direct import train_direct

ARMS = ("flagged", "random")
TIME_CONSTANT_FS = 1000.0
# Temperatures of the ordinary MD that random frames are of, in units of that of the runs.
RANDOM = (0.8, 1.5)


@dataclass(frozen=True)
class Loop:
    """One active-learning experiment.

    Attributes:
        settings: of the first training; later rounds begin from its weights and add steps.
        system: start structures of the runs, and the potential of the data.
        rounds: after the first training.
        frames: added per round.
        runs: to collect frames from, and as many others to test the model.
        time_ps: length of each run.
        temperature_K: of their thermostat.
        extra_steps: of training per round.
        equilibration_ps: before each run.
    """

    settings: DirectTraining
    system: System
    rounds: int
    frames: int
    runs: int
    time_ps: float
    temperature_K: float
    extra_steps: int
    equilibration_ps: float = 15.0


def active(loop: Loop, folder: Path, workers: int = 2) -> Path:
    """Run what is missing into ``folder`` and write ``active.md``; returns its path."""
    base = folder / "base"
    train_direct(loop.settings, base / "run")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_arm, [(loop, folder, arm) for arm in ARMS]))
    return write_page(loop, folder)


def _arm(job: tuple[Loop, Path, str]) -> None:
    """All rounds of one arm."""
    loop, folder, arm = job
    torch.set_num_threads(1)
    files = list(loop.settings.data.files)
    run = folder / "base" / "run"
    for number in range(loop.rounds + 1):
        place = folder / arm / f"round{number}"
        place.mkdir(parents=True, exist_ok=True)
        if number:
            _label(loop, files[0], place)
            files.append(place / "labels.h5")
            data = loop.settings.data.model_copy(update={"files": tuple(files)})
            optimizer = loop.settings.optimizer.model_copy(update={"steps": loop.extra_steps})
            more = loop.settings.model_copy(
                update={"data": data, "optimizer": optimizer, "start": run / "checkpoint.pt"}
            )
            run = place / "run"
            train_direct(more, run)
        model = place / "model.onnx"
        if not model.exists():
            publish(run, model, files, None, {}, list(loop.settings.data.files), loop.system.potential)
        if not (place / "tested.json").exists():
            tested = [survival(loop, folder, model, 1000 + seed, None) for seed in range(loop.runs)]
            (place / "tested.json").write_text(json.dumps(tested))
        following = folder / arm / f"round{number + 1}"
        if number < loop.rounds and not (following / "starts.extxyz").exists():
            following.mkdir(parents=True, exist_ok=True)
            _choose(loop, folder, arm, model, number, following)


def _choose(loop: Loop, folder: Path, arm: str, model: Path, number: int, place: Path) -> None:
    """Write the frames to be labelled to ``place``/starts.extxyz."""
    rng = np.random.default_rng([number, ARMS.index(arm)])
    frames: list[Atoms] = []
    if arm == "flagged":
        for seed in range(loop.runs):
            collected = place / f"collected{seed}.extxyz"
            survival(loop, folder, model, 100 * number + seed, collected)
            if collected.exists() and collected.stat().st_size:
                frames += read_frames(collected, ":")
    if len(frames) > loop.frames:
        frames = [frames[k] for k in sorted(rng.choice(len(frames), loop.frames, replace=False))]
    if len(frames) < loop.frames:
        # Both arms add the same number of frames: with too few violations, ordinary MD fills up.
        reference = _equilibrated(loop, folder, 10 * number + ARMS.index(arm) + 1)
        for _ in range(loop.frames - len(frames)):
            reference.langevin(100.0, loop.temperature_K * float(rng.uniform(*RANDOM)), rng, 20.0)
            frames.append(reference.atoms())
    with atomic_write(place / "starts.extxyz") as temporary:
        write_frames(temporary, frames, columns=["symbols", "positions", "momenta", "masses"])


def _equilibrated(loop: Loop, folder: Path, seed: int) -> Reference:
    """The reference after an equilibration, which is kept in ``folder``/starts for the next run."""
    reference, path = loop.system.reference(), folder / "starts" / f"{seed}.npz"
    rng = np.random.default_rng(100 + seed)
    reference.equilibrate_once(path, loop.temperature_K, rng, loop.equilibration_ps, structure=seed)
    return reference


def _label(loop: Loop, like: Path, place: Path) -> None:
    """Segments of the reference from each start: ``place``/labels.h5, with the times of the file ``like``."""
    data = Segments.load(like)
    label(
        place / "labels.h5",
        read_frames(place / "starts.extxyz", ":"),
        loop.system.potential,
        loop.temperature_K,
        timestep_fs=data.recipe.get("timestep_fs"),
        spacing_fs=data.spacing_fs,
        length_fs=data.spacing_fs * (data.positions.shape[1] - 1),
    )


def survival(loop: Loop, folder: Path, model: Path, seed: int, collected: Path | None) -> dict:
    """One Langevin run with a time constant of 1 ps: ps until it breaks or explodes, and its temperature until then."""
    atoms = _equilibrated(loop, folder, seed).atoms()
    guard = Guard("off") if collected is None else Guard("collect", violations_file=collected)
    opened = flashmd_rs.Model(model, threads=1)
    thermostat = Langevin(time_constant_fs=TIME_CONSTANT_FS)
    options = dict(temperature_K=loop.temperature_K, thermostat=thermostat, guard=guard, seed=seed, interval=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
        # Given as a list of one, a run that fails keeps its frames up to the failure.
        (run,) = flashmd_rs.rollout([atoms], opened, time_ps=loop.time_ps, progress=False, **options)
    times, kelvin = run.times_ps.tolist(), run.temperature_K["total"].tolist()
    limit = hottest_K(loop.temperature_K, len(atoms))
    hot = next((k for k, t in enumerate(kelvin) if t > limit), len(kelvin))
    survived = times[hot - 1] if hot else 0.0
    second_half = kelvin[hot // 2 : hot]
    error = float(np.mean(second_half) - loop.temperature_K) if second_half else None
    return dict(seed=seed, survived_ps=survived, temperature_error_K=error)


def write_page(loop: Loop, folder: Path) -> Path:
    """``active.md``: survival and temperature error per round, both arms."""
    lines = [
        "# Active learning against as many random frames",
        "",
        paragraph(
            f"Made by `flashmd-train active`: {loop.frames} frames of {loop.system.formula} added per round,",
            f"{loop.runs} runs of {loop.time_ps:g} ps under Langevin at {loop.temperature_K:g} K (1 ps) to test each;",
            "median [least, most].",
        ),
        "",
        "| round | flagged: survived, ps | T − T_bath, K | random: survived, ps | T − T_bath, K |",
        "|---|---|---|---|---|",
    ]
    for number in range(loop.rounds + 1):
        cells = []
        for arm in ARMS:
            tested = json.loads((folder / arm / f"round{number}" / "tested.json").read_text())
            survived = [run["survived_ps"] for run in tested]
            errors = [run["temperature_error_K"] for run in tested if run["temperature_error_K"] is not None]
            cells.append(f"{np.median(survived):.2f} [{min(survived):.2f}, {max(survived):.2f}]")
            cells.append(f"{np.median(errors):+.0f} [{min(errors):+.0f}, {max(errors):+.0f}]" if errors else "–")
        lines.append(f"| {number} | {' | '.join(cells)} |")
    path = folder / "active.md"
    path.write_text("\n".join(lines) + "\n")
    return path
