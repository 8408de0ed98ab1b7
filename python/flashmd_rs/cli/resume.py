"""``flashmd-rs resume``: go on with a run from its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flashmd_rs.cli.arguments import ProgressBar
from flashmd_rs.cli.ending import says_how_to_go_on, tell_end
from flashmd_rs.cli.wall_time import WallTimeOption, seconds_left
from flashmd_rs.options import Output


def resume(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint that a run left.")],
    steps: Annotated[
        int | None, typer.Option(help="Strides of the whole run.", show_default="the end that was planned")
    ] = None,
    time_ps: Annotated[float | None, typer.Option(help="Simulated time of the whole run, ps.")] = None,
    temperature_k: Annotated[
        float | None,
        typer.Option(help="Another temperature of the thermostat from here on, K.", show_default="that of the run"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed from here on.", show_default="that of the run")] = None,
    trajectory: Annotated[
        Path | None,
        typer.Option(
            help="Another file for the frames after the checkpoint, replaced if it exists; the old one stays.",
            show_default="that of the run",
        ),
    ] = None,
    interval: Annotated[
        int | None,
        typer.Option(help="Strides between kept frames from here on.", show_default="that of the run"),
    ] = None,
    logfile: Annotated[
        str | None,
        typer.Option(
            help="Another file for the log from here on; - is standard output.", show_default="that of the run"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's file, if it has moved.")] = None,
    allow_other_model: Annotated[
        bool, typer.Option("--allow-other-model", help="Go on with another model than the checkpoint was made with.")
    ] = False,
    energy_model: Annotated[str | None, typer.Option(help="Energy model file, or bundled or fetched name.")] = None,
    bias: Annotated[
        str | None, typer.Option(help="Energy model whose forces act as an impulse around each stride.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option(show_default="as the run was given")] = None,
    threads: Annotated[int | None, typer.Option(show_default="as the run was given")] = None,
    kernels: Annotated[Literal["auto", "off"] | None, typer.Option(show_default="as the run was given")] = None,
    progress: ProgressBar = True,
    wall_time: WallTimeOption = None,
) -> None:
    """Go on with a run from its CHECKPOINT, to the last bit as if it had not stopped."""
    from flashmd_rs._engine.checkpoint import read_checkpoint
    from flashmd_rs.errors import InputError
    from flashmd_rs.model import Model
    from flashmd_rs.rollout import resume as go_on

    saved = read_checkpoint(checkpoint)
    if wall_time is not None and saved.interval is None:
        raise InputError(f"--wall-time needs a run that saves checkpoints, and that of {checkpoint} does not")
    opened: str | Model | None = model
    if device is not None or threads is not None or kernels is not None:
        recorded = saved.model
        opened = Model(
            model or recorded["file"],
            device=device or recorded["device"],
            threads=recorded["threads"] if threads is None else threads,
            kernels=kernels or recorded["kernels"],
        )
    with says_how_to_go_on(checkpoint):
        result = go_on(
            checkpoint,
            steps=steps,
            time_ps=time_ps,
            temperature_K=temperature_k,
            seed=seed,
            trajectory=trajectory or Output(None),
            interval=interval,
            logfile=logfile,
            model=opened,
            allow_other_model=allow_other_model,
            energy_model=energy_model,
            bias=bias,
            progress=progress,
            wall_time_s=seconds_left(wall_time),
        )
    runs = result if isinstance(result, list) else [result]
    tell_end(runs, checkpoint, err=(logfile or saved.files.logfile) == "-")
