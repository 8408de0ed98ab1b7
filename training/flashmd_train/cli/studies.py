"""Commands for studies: study, ranking, active, learning-curve, against-metatrain, networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions
from flashmd_train.cli.export import DataFiles
from flashmd_train.cli.fit import Changes, Config
from flashmd_train.learning.config import DirectTraining, read


def study(
    folder: Annotated[Path, typer.Argument(help="Folder of the study; a rerun goes on where it stopped.")],
    scale: Annotated[str, typer.Option(help="ci (minutes), default (an hour on two cores), or paper.")] = "default",
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
    yes: Annotated[bool, typer.Option("--yes", help="Begin a long one without asking.")] = False,
) -> None:
    """Repeat the water study: loss, weights, filters and augmentation without a thermostat."""
    from flashmd_train.studies.water_nve import SCALES
    from flashmd_train.studies.water_nve import study as run_study

    if scale not in SCALES:
        raise typer.BadParameter(f"got {scale!r}, wanted one of {sorted(SCALES)}")
    hours = SCALES[scale].minutes * 2 / (60 * workers)
    typer.echo(f"about {hours:.1f} hours with {workers} processes on cores as of a server of 2017")
    if hours > 12 and not yes:
        typer.confirm("begin?", abort=True)
    typer.echo(run_study(folder, scale, workers))


def ranking(
    model: Annotated[Path, typer.Argument(help="ONNX file of a direct model with an uncertainty.")],
    data: DataFiles,
    boxes: Annotated[
        int, typer.Option(help="Segments per file and temperature, the last ones; training holds a twentieth out.")
    ] = 5,
) -> None:
    """Rank correlation of a model's uncertainty with its errors, on the data of training and beyond it."""
    from flashmd_train.studies.ranking import ranking as rank

    typer.echo(rank(model, data, boxes))


def learning_curve(
    training: Config,
    test: Annotated[Path, typer.Argument(help="HDF5 file of segments that no training sees.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the runs; a rerun goes on where it stopped.")],
    changes: Changes = None,
    segments: Annotated[list[int] | None, typer.Option(help="Segments to train on; repeat for several.")] = None,
    tune: Annotated[list[str] | None, typer.Option(help="all, heads or adapters; repeat for several.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 2,
) -> None:
    """Error against the number of segments, from scratch and from the start that TRAINING names."""
    from flashmd_train.studies.learning_curve import Curve

    curve = Curve(
        read(DirectTraining, training, changes),
        test,
        segments or [20, 80, 320],
        tune or ["heads", "adapters", "all"],
        seeds,
    )
    for line in curve.run(folder):
        typer.echo(line)


def against_metatrain(
    data: Annotated[Path, typer.Argument(help="HDF5 file of segments that are one stride long.")],
    test: Annotated[Path, typer.Argument(help="Another, for the errors.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the runs; a rerun goes on where it stopped.")],
    stride_fs: Annotated[float, typer.Option(help="Stride, fs.")],
    preset: Annotated[str, typer.Option(help="Size of PET.")] = "tiny",
    cutoff_a: Annotated[float, typer.Option(help="Cutoff, Å.")] = 4.5,
    epochs: Annotated[int, typer.Option(help="How often each frame is trained on.")] = 50,
    boxes: Annotated[int, typer.Option(help="Frames per step.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="Largest learning rate.")] = 1e-3,
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 3,
) -> None:
    """Train PET here and by `mtt train` on the same frames: errors and frames per second. Needs metatrain."""
    from flashmd_train.studies.metatrain import Settings, compare, table

    settings = Settings(stride_fs, preset, cutoff_a, epochs, boxes, learning_rate)
    typer.echo("| trained | momentum error | displacement error | frames/s |\n|---|---|---|---|")
    for row in table(compare(data, test, settings, seeds, folder)):
        typer.echo(row)


@with_system_flags("generate", strict=False)
def active(
    training: Config,
    folder: Annotated[Path, typer.Argument(help="Folder of the experiment; a rerun goes on where it stopped.")],
    system: SystemOptions,
    temperature: Annotated[float, typer.Option("--temperature-k", help="Of the thermostat of the runs, K.")],
    changes: Changes = None,
    rounds: Annotated[int, typer.Option(help="Rounds after the first training.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames that are labelled per round.")] = 60,
    runs: Annotated[int, typer.Option(help="Runs to collect frames from, and as many to test the model.")] = 5,
    time_ps: Annotated[float, typer.Option(help="Length of a run, ps.")] = 20.0,
    extra_steps: Annotated[int, typer.Option(help="Training steps per round.")] = 1000,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each: the two arms run side by side.")] = 2,
) -> None:
    """Active learning: run, collect domain violations, label by the reference, retrain; and a control arm.

    TRAINING is that of a direct model; --config and its like name the system of its data.
    """
    from flashmd_train.studies.active import Loop
    from flashmd_train.studies.active import active as run_active

    settings = read(DirectTraining, training, changes)
    loop = Loop(settings, system.load(), rounds, frames, runs, time_ps, temperature, extra_steps)
    typer.echo(run_active(loop, folder, workers))


@with_system_flags("generate", strict=False)
def networks(
    folder: Annotated[Path, typer.Argument(help="Folder of the runs; a rerun goes on where it stopped.")],
    data: DataFiles,
    system: SystemOptions,
    stride_fs: Annotated[float, typer.Option(help="Stride, fs.")],
    temperature: Annotated[float, typer.Option("--temperature-k", help="Of the runs, K.")],
    network: Annotated[list[str] | None, typer.Option(help="Repeat for several; all of the prior by default.")] = None,
    prior: Annotated[
        Literal["bonded", "free"], typer.Option(help="bonded: water's bonds and angle are known; or free.")
    ] = "free",
    minutes: Annotated[float, typer.Option(help="Core time of each training.")] = 10.0,
    nvt_ps: Annotated[float, typer.Option(help="Length of each run in a bath of 1 ps.")] = 200.0,
    reference_ps: Annotated[float, typer.Option(help="Length of the reference's, ps.")] = 20.0,
    energies: Annotated[int, typer.Option(help="The most that a calibration asks the reference for.")] = 1000,
) -> None:
    """Networks side by side: trained on the same data for the same time, then run in a bath."""
    from flashmd_train.studies.networks import NETWORKS, Comparison

    compared = Comparison(
        system=system.load(),
        files=data,
        prior=prior,
        stride_fs=stride_fs,
        temperature_K=temperature,
        minutes=minutes,
        nvt_ps=nvt_ps,
        reference_ps=reference_ps,
        energies=energies,
    )
    every = [name for name in NETWORKS if prior == "free" or name != "moments"]
    for line in compared.run(folder, network or every):
        typer.echo(line)
