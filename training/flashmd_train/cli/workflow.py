"""The command from a potential to a model: fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions
from flashmd_train.workflow.options import FitOptions, Kind

_HELP = {
    name: field.description[0].upper() + field.description[1:] + "." for name, field in FitOptions.model_fields.items()
}


@with_system_flags("fit")
def fit(
    run: Annotated[Path, typer.Argument(help="Folder of the run, whose name is the model's; a rerun goes on.")],
    system: SystemOptions,
    temperature_k: Annotated[list[float] | None, typer.Option(help=_HELP["temperature_K"])] = None,
    hours: Annotated[float, typer.Option(help=_HELP["hours"])] = 1.0,
    kind: Annotated[Kind, typer.Option(help=_HELP["kind"])] = "auto",
    stride_fs: Annotated[float | None, typer.Option(help=_HELP["stride_fs"])] = None,
    cutoff_a: Annotated[float | None, typer.Option(help=_HELP["cutoff_A"])] = None,
    angular: Annotated[int | None, typer.Option(help=_HELP["angular"])] = None,
    timestep_fs: Annotated[float | None, typer.Option(help=_HELP["timestep_fs"])] = None,
    equilibration_ps: Annotated[float, typer.Option(help=_HELP["equilibration_ps"])] = 5.0,
    anneal_k: Annotated[float, typer.Option(help=_HELP["anneal_K"])] = 0.0,
    evaluation_ps: Annotated[float | None, typer.Option(help=_HELP["evaluation_ps"])] = None,
    seed: Annotated[int, typer.Option(help=_HELP["seed"])] = 1,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as processors by default.")] = None,
    add: Annotated[
        Path | None,
        typer.Option(
            help="Frames to label and to train on as well, such as those a guard collected, or segments (.h5)."
        ),
    ] = None,
) -> None:
    """From a potential to a model with its card: data, check, training, calibration, export, evaluation."""
    from flashmd_train.workflow.fit import Fit

    options = FitOptions.checked(
        temperature_K=temperature_k or (),
        hours=hours,
        kind=kind,
        stride_fs=stride_fs,
        cutoff_A=cutoff_a,
        angular=angular,
        timestep_fs=timestep_fs,
        equilibration_ps=equilibration_ps,
        anneal_K=anneal_k,
        evaluation_ps=evaluation_ps,
        seed=seed,
    )
    typer.echo(Fit(run, system.load_all(), options, workers).run(add))
