"""``flashmd-rs demo``: the main job on the bundled water box, its summary, picture and trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashmd_rs.cli.arguments import Device, ProgressBar, Seed, Threads

if TYPE_CHECKING:
    from flashmd_rs.model import Model
    from flashmd_rs.trajectory import Trajectory

STRUCTURE = "water258"
MODEL = "water"
TEMPERATURE_K = 300.0
TIME_PS = 5.0
_FRAMES = 100


def demo(
    output_dir: Annotated[Path, typer.Option(help="Folder for the picture, the report and the trajectory.")] = Path(
        "flashmd-demo"
    ),
    time_ps: Annotated[float, typer.Option(help="Simulated time, ps.")] = TIME_PS,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    progress: ProgressBar = True,
) -> None:
    """Simulate 258 waters at 300 K with the bundled model, and show what came of it."""
    made = run_demo(output_dir, time_ps=time_ps, seed=seed, device=device, threads=threads, progress=progress)
    typer.echo(made.text)
    typer.echo(f"picture     {made.figure}\nreport      {made.report}\ntrajectory  {made.frames}")


@dataclass(frozen=True)
class Demo:
    """Result of the demo.

    Attributes:
        trajectory: the run.
        text: summary for people.
        figure: temperatures and g_OO, a PNG.
        report: of the run, an HTML file.
        frames: the trajectory, an extended XYZ file.
    """

    trajectory: Trajectory
    text: str
    figure: Path
    report: Path
    frames: Path


def run_demo(
    output_dir: Path,
    *,
    time_ps: float = TIME_PS,
    seed: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> Demo:
    """Move 258 flexible waters with the bundled model at 300 K, Langevin with a time constant of 100 fs.

    Args:
        output_dir: folder for ``demo.png``, ``demo.html`` and ``demo.extxyz``; made if missing.
        time_ps: simulated time, ps.
        seed: of everything random; None draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: threads of the network on the CPU; None as in :class:`flashmd_rs.Model`.
        progress: show a progress bar.

    Returns:
        The run, its summary and its files.
    """
    from flashmd_rs.analysis import first_peak, radial_distribution
    from flashmd_rs.bundled import load_structure
    from flashmd_rs.describe import second_half, summary
    from flashmd_rs.model import Model
    from flashmd_rs.plots import plot_demo
    from flashmd_rs.report import write_report
    from flashmd_rs.rollout import rollout

    output_dir.mkdir(parents=True, exist_ok=True)
    model = Model(MODEL, device=device, threads=threads)
    assert model.stride_fs is not None
    frames = output_dir / "demo.extxyz"
    run = rollout(
        load_structure(STRUCTURE),
        model,
        time_ps=time_ps,
        temperature_K=TEMPERATURE_K,
        seed=seed,
        interval=max(1, int(time_ps * 1000.0 / model.stride_fs) // _FRAMES),
        energy_model=_energy_model(model),
        trajectory=frames,
        progress=progress,
    )
    r, g = radial_distribution(second_half(run.frames), ("O", "O"))
    figure = output_dir / "demo.png"
    plot_demo(run.series(), r, g, "OO", figure)
    position, height = first_peak(r, g)
    text = f"{summary(run)}\ng_OO peak  {position:.2f} Å, height {height:.2f}, second half of the run"
    report = write_report(run, output_dir / "demo.html", command=f"flashmd-rs demo --time-ps {time_ps:g}")
    return Demo(run, text, figure, report, frames)


def _energy_model(model: Model) -> str | None:
    """The bundled energy model's name, where the model states one."""
    from flashmd_rs.bundled import bundled

    name = str((model.metadata.get("energy_model") or {}).get("name", "")).removesuffix(".onnx")
    return name if name in bundled()["models"] else None
