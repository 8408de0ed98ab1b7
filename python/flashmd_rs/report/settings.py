"""What a run was: its settings, and the card of its model."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flashmd_rs.describe import flatten, run_header
from flashmd_rs.errors import FlashMDError
from flashmd_rs.pages.html import cell

if TYPE_CHECKING:
    from flashmd_rs.trajectory import Trajectory

# Of a run that was read from its checkpoint: what has a section of its own.
_NOT_SHOWN = ("statistics",)


def run_section(run: Trajectory, command: str | None) -> str:
    """Settings, versions and hashes of the run."""
    first, last = run.frames[0], run.frames[-1]
    rows = [
        ("system", f"{len(last)} atoms, {last.get_chemical_formula()}, {_axes(last.pbc)}"),
        ("cell at the end", _cell(last.cell.cellpar().tolist()) if last.cell.rank == 3 else "none"),
        ("frames", f"{len(run.times_ps)}, {run.times_ps[0]:g} to {run.times_ps[-1]:g} ps"),
        ("fixed atoms", str(sum(len(c.index) for c in first.constraints if hasattr(c, "index")))),
    ]
    rows = [row for row in rows if row != ("fixed atoms", "0")]
    if "versions" in run.report:
        versions, *lines = run_header(run.report)
        rows += [_in_two(line) for line in lines]
        rows.append(("versions", versions))
    else:
        rows += [(name.replace("_", " "), str(value)) for name, value in run.report.items() if name not in _NOT_SHOWN]
    lines = ["## Run", "", *([f"    {command}", ""] if command else []), *two_columns(rows)]
    return "\n".join(lines)


def model_section(run: Trajectory) -> str | None:
    """What the model says of itself; None where its file is gone or another one."""
    from flashmd_rs.model import find_model, read_metadata, read_model

    file, sha256 = run.report.get("model_file"), run.report.get("sha256")
    if file is None:
        return None
    try:
        path = find_model(file)
        # Nothing of a file that a checkpoint names is run.
        if hashlib.sha256(read_model(path)).hexdigest() != sha256:
            return None
        metadata = read_metadata(path)
    except (FlashMDError, OSError):
        return None
    return "\n".join(["## Model", "", *two_columns(flatten(metadata))])


def two_columns(rows: list[tuple[str, str]]) -> list[str]:
    """A table of names and texts."""
    return ["| | |", "|---|---|", *(f"| {cell(name)} | {cell(text)} |" for name, text in rows)]


def _in_two(line: str) -> tuple[str, str]:
    """A line of a run's header: its subject, and what it says."""
    for subject in ("energy model", "Metropolis test", "energy rescaling"):
        if line.startswith(subject):
            return subject, line.removeprefix(subject).strip()
    subject, _, rest = line.partition(" ")
    return subject, rest


def _axes(pbc: Any) -> str:
    axes = [axis for axis, periodic in zip("xyz", pbc, strict=True) if periodic]
    return "periodic along " + ", ".join(axes) if axes else "not periodic"


def _cell(lengths_and_angles: list[float]) -> str:
    lengths, angles = lengths_and_angles[:3], lengths_and_angles[3:]
    sides = " × ".join(f"{length:.3f}" for length in lengths)
    return f"{sides} Å, angles {', '.join(f'{angle:.4g}' for angle in angles)}°"
