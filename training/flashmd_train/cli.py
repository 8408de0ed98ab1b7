"""``flashmd-train``: one command per step, from the reference simulation to the bundled file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.reference.systems import SYSTEMS
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.config import DirectTraining, EnergyTraining, SplittingTraining, read, template

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
Data = Annotated[list[Path], typer.Option("--data", help="HDF5 file of segments; repeat for several.")]


@app.command()
def generate(
    system: Annotated[str, typer.Argument(help=f"One of {', '.join(SYSTEMS)}.")],
    output: Annotated[Path, typer.Argument(help="HDF5 file; a rerun goes on where it stopped.")],
    size: Annotated[int | None, typer.Option(help="Molecules or cells; the system's own by default.")] = None,
    segments: Annotated[int, typer.Option(help="NVE segments to store.")] = 1000,
    temperature_k: Annotated[list[float] | None, typer.Option(help="Temperatures in K; repeat for several.")] = None,
    replicas: Annotated[int, typer.Option(help="Independent chains of segments per temperature.")] = 1,
    seed: int = 1,
    timestep_fs: Annotated[float | None, typer.Option(help="Step of velocity Verlet, fs.")] = None,
    spacing_fs: Annotated[float | None, typer.Option(help="Time between stored frames, fs.")] = None,
    length_fs: Annotated[float | None, typer.Option(help="Length of a segment, fs.")] = None,
    decorrelation_fs: Annotated[
        float | None, typer.Option(help="Time in the bath between segments, fs; 0 makes each chain one NVE run.")
    ] = None,
    equilibration_ps: Annotated[
        float | None, typer.Option(help="Time in the bath before the first segment of a chain, ps.")
    ] = None,
    density_g_per_cm3: Annotated[
        float | None, typer.Option(help="Density of water; models for NpT want several.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, or 'local' for one on this machine.")
    ] = None,
) -> None:
    """Simulate a reference system and store NVE segments, on all cores or a Dask cluster."""
    from flashmd_rs.reference.generate import generate
    from flashmd_rs.reference.recipe import Recipe

    with _one_sentence():
        recipe = Recipe.of(
            system,
            size=size,
            temperatures_K=tuple(temperature_k) if temperature_k else None,
            replicas=replicas,
            seed=seed,
            timestep_fs=timestep_fs,
            spacing_fs=spacing_fs,
            length_fs=length_fs,
            decorrelation_fs=decorrelation_fs,
            equilibration_ps=equilibration_ps,
            density_g_per_cm3=density_g_per_cm3,
        )
        generate(output, recipe, segments, workers or len(os.sched_getaffinity(0)), cluster)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    plot: Annotated[Path | None, typer.Option(help="Image of the distributions and of the energy.")] = None,
) -> None:
    """Test momenta against Maxwell–Boltzmann, print temperatures and drifts; exit 1 if a test fails."""
    from flashmd_rs.reference import check as checks

    with _one_sentence():
        temperatures = checks.check(data)
    for temperature in temperatures:
        typer.echo(json.dumps(temperature.figures()))
    if plot:
        checks.plot(temperatures, plot, data.name)
    refused = checks.refusals(temperatures)
    for sentence in refused:
        typer.echo(sentence, err=True)
    raise typer.Exit(bool(refused))


@app.command()
def structure(
    system: Annotated[str, typer.Argument(help=f"One of {', '.join(SYSTEMS)}.")],
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    size: Annotated[int | None, typer.Option(help="Molecules or cells; the system's own by default.")] = None,
    temperature_k: float = 300.0,
    time_ps: Annotated[float, typer.Option(help="Equilibration, ps.")] = 30.0,
    seed: int = 7,
) -> None:
    """Write an equilibrated structure with momenta."""
    import numpy as np
    from ase.io import write

    from flashmd_rs.reference.recipe import Recipe

    with _one_sentence(), atomic_write(output) as temporary:
        reference = Recipe.of(system, size=size).build()
        reference.equilibrate(temperature_k, np.random.default_rng(seed), time_ps)
        write(temporary, reference.atoms(), columns=["symbols", "positions", "momenta", "masses"])


@app.command()
def frames(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    stride_fs: Annotated[float, typer.Option(help="Time from a frame to its future, fs.")],
    midpoint: Annotated[bool, typer.Option(help="For symplectic FlashMD: midpoints and differences.")] = False,
) -> None:
    """Write stored segments as frames for `mtt train`, with the positions and momenta of the future as arrays."""
    from ase.io import write

    from flashmd_train.data.frames import frames as frames_of

    with _one_sentence(), atomic_write(output) as temporary:
        write(temporary, list(frames_of(data, stride_fs, midpoint)))


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What a user got wrong is said without a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


Config = Annotated[Path, typer.Argument(help="YAML or TOML; `flashmd-train config` prints all there is.")]
RunFolder = Annotated[
    Path, typer.Argument(help="Folder: checkpoint.pt, log.jsonl, TensorBoard's events; rerun to resume.")
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE over the file; repeat for several.")]


@app.command()
def config(kind: Annotated[str, typer.Argument(help="direct, splitting or energy.")]) -> None:
    """Print every setting of a training run, with its default and its meaning."""
    typer.echo(template(_kind(kind)), nl=False)


@app.command("direct")
def direct(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train a direct model. Over N processes: torchrun --nproc-per-node N -m flashmd_train direct CONFIG RUN."""
    from flashmd_train.train import train

    train(read(DirectTraining, config, changes), run)


@app.command("splitting")
def splitting(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train a splitting model: a symplectic stride made of gradients; over several processes as `direct`."""
    from flashmd_train.train_splitting import train_splitting

    train_splitting(read(SplittingTraining, config, changes), run)


@app.command("energy")
def energy(config: Config, run: RunFolder, changes: Changes = None) -> None:
    """Train an energy model on reference energies and forces; over several processes as `direct`."""
    from flashmd_train.train_energy import train_energy

    train_energy(read(EnergyTraining, config, changes), run)


def _kind(name: str) -> type[DirectTraining | SplittingTraining | EnergyTraining]:
    kinds = {"direct": DirectTraining, "splitting": SplittingTraining, "energy": EnergyTraining}
    if name not in kinds:
        raise typer.BadParameter(f"got {name!r}, wanted one of {sorted(kinds)}")
    return kinds[name]


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a direct or energy run.")],
    output: Annotated[Path, typer.Argument(help="ONNX file.")],
    data: Data,
    energy_model: Annotated[Path | None, typer.Option(help="Companion energy model (ONNX) of a direct model.")] = None,
    measured: Annotated[
        Path | None, typer.Option(help="JSON of figures measured on runs, put under `validation`.")
    ] = None,
) -> None:
    """Export a run to the model contract, with metadata measured on held-out data."""
    from flashmd_train.publish import publish

    figures = json.loads(measured.read_text()) if measured else {}
    publish(run, output, data, energy_model, figures)


@app.command("study")
def study(
    folder: Annotated[Path, typer.Argument(help="Folder of the study; a rerun goes on where it stopped.")],
    scale: Annotated[str, typer.Option(help="ci (minutes), default (an hour on two cores), or paper.")] = "default",
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
    yes: Annotated[bool, typer.Option("--yes", help="Begin a long one without asking.")] = False,
) -> None:
    """Repeat the water study: loss, weights, filters and augmentation without a thermostat; needs flashmd-rs."""
    from flashmd_train.studies.water_nve import SCALES, study

    if scale not in SCALES:
        raise typer.BadParameter(f"got {scale!r}, wanted one of {sorted(SCALES)}")
    hours = SCALES[scale].minutes * 2 / (60 * workers)
    typer.echo(f"about {hours:.1f} hours with {workers} processes on cores as of a server of 2017")
    if hours > 12 and not yes:
        typer.confirm("begin?", abort=True)
    typer.echo(study(folder, scale, workers))


@app.command("ranking")
def ranking(
    model: Annotated[Path, typer.Argument(help="ONNX file of a direct model with an uncertainty.")],
    data: Data,
    boxes: Annotated[
        int, typer.Option(help="Segments per file and temperature, the last ones; training holds a twentieth out.")
    ] = 5,
) -> None:
    """Rank correlation of a model's uncertainty with its errors, on the data of training and beyond it."""
    from flashmd_train.studies.ranking import ranking

    with _one_sentence():
        typer.echo(ranking(model, data, boxes))


@app.command("active")
def active(
    config: Config,
    folder: Annotated[Path, typer.Argument(help="Folder of the experiment; a rerun goes on where it stopped.")],
    changes: Changes = None,
    waters: Annotated[int, typer.Option(help="Molecules in the box, those of the data.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds after the first training.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames that are labelled per round.")] = 60,
    runs: Annotated[int, typer.Option(help="Runs to collect from, and as many to judge by.")] = 5,
    time_ps: Annotated[float, typer.Option(help="Length of a run, ps.")] = 20.0,
    temperature_k: Annotated[float, typer.Option(help="Of the bath, K.")] = 300.0,
    extra_steps: Annotated[int, typer.Option(help="Training steps per round.")] = 1000,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each: the two arms run side by side.")] = 2,
) -> None:
    """Run, collect flagged frames, relabel with OpenMM, retrain; beside it as many random frames. Needs flashmd-rs."""
    from flashmd_train.studies.active import Loop, active

    settings = read(DirectTraining, config, changes)
    loop = Loop(settings, waters, rounds, frames, runs, time_ps, temperature_k, extra_steps)
    typer.echo(active(loop, folder, workers))


if __name__ == "__main__":
    app()
