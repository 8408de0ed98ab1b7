"""``--dry-run``: what would run, how long it would take and how much disk, from a few strides."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import ase

    from flashmd_rs.model import Model

# Strides that are timed, after one that is not.
_STRIDES = 5


def dry_run(atoms: ase.Atoms, model: Model, options: dict[str, Any]) -> None:
    """Check every argument of a run, time some strides, and say what the run would take. Nothing is written."""
    from flashmd_rs._engine.progress import ns_per_day
    from flashmd_rs._engine.settings import count_steps
    from flashmd_rs.describe import table
    from flashmd_rs.errors import InputError
    from flashmd_rs.options import Guard, Output
    from flashmd_rs.simulation import Simulation

    with Simulation(atoms, model, **options) as planned:
        interval, done = planned.report["interval"], planned.nsteps
    assert model.stride_fs is not None
    total = count_steps(options["steps"], options["time_ps"], model.stride_fs)
    if total is None:
        raise InputError("give exactly one of steps (strides) and time_ps (ps)")
    steps = max(0, total - done)
    without_files: dict[str, Any] = dict.fromkeys(("checkpoint", "logfile", "interval"))
    without_files |= {"trajectory": Output(None), "resume": False}
    if isinstance(options["guard"], Guard) and options["guard"].violations_file is not None:
        without_files["guard"] = "warn"
    with Simulation(atoms, model, **(options | without_files)) as trial:
        trial.step(1)
        before = time.monotonic()
        trial.step(_STRIDES)
        seconds = (time.monotonic() - before) / _STRIDES
        end = trial.trajectory[-1]
    stride_ps = model.stride_fs / 1000.0
    rows = [("model", f"{model.name}, stride {model.stride_fs:g} fs, on {model.device}")]
    rows.append(("system", f"{len(end)} atoms, {end.get_chemical_formula()}"))
    speed = f"{ns_per_day(_STRIDES * stride_ps, _STRIDES * seconds):.3g} ns/day"
    left = f" of {total} are left" if done else ""
    frames = 1 + -(-steps // interval)
    rows.append(("would run", f"{steps} strides{left}, {steps * stride_ps:g} ps, at {speed}"))
    rows.append(("time", f"about {_duration(steps * seconds)}"))
    rows.append(("frames", f"{frames}, every {interval} strides"))
    rows.append(("disk", _disk(options, end, frames)))
    typer.echo(table(rows))


def _disk(options: dict[str, Any], atoms: ase.Atoms, frames: int) -> str:
    """Size of the trajectory and of the checkpoints."""
    from flashmd_rs.options import Checkpoint, Output

    parts = []
    trajectory, checkpoint = options.get("trajectory"), options.get("checkpoint")
    path = trajectory.path if isinstance(trajectory, Output) else trajectory
    if path is not None:
        parts.append(f"about {_size(frames * _frame_bytes(Path(path).suffix, atoms))} of trajectory")
    path = checkpoint.path if isinstance(checkpoint, Checkpoint) else checkpoint
    if path is not None:
        parts.append(f"about {_size(2 * 8 * 6 * len(atoms))} of checkpoints")
    return " and ".join(parts) or "none: no --trajectory, no --checkpoint"


def _frame_bytes(suffix: str, atoms: ase.Atoms) -> float:
    """Bytes that one more frame takes in a format."""
    from flashmd_rs.writers import write_frames

    with TemporaryDirectory() as folder:
        sizes = []
        for count in (2, 6):
            file = Path(folder) / f"{count}{suffix}"
            write_frames(file, [atoms] * count, "trajectory")
            sizes.append(file.stat().st_size)
    return (sizes[1] - sizes[0]) / 4


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.2g} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
