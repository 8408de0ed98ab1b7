"""``flashmd-train``: one command per step, from the reference simulation to the bundled file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flashmd_train.config import DirectTraining, EnergyTraining, SplittingTraining, read, template

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
Data = Annotated[list[Path], typer.Option("--data", help="HDF5 file of segments; repeat for several.")]


@app.command()
def generate(
    output: Annotated[Path, typer.Argument(help="HDF5 file; a rerun goes on where it stopped.")],
    waters: Annotated[int, typer.Option(help="Molecules in the box.")] = 258,
    segments: Annotated[int, typer.Option(help="NVE segments to store.")] = 1000,
    temperature_k: Annotated[list[float] | None, typer.Option(help="Temperatures in K; repeat for several.")] = None,
    seed: int = 1,
    spacing_fs: Annotated[float, typer.Option(help="Time between stored frames, fs.")] = 4.0,
    length_fs: Annotated[float, typer.Option(help="Length of a segment, fs.")] = 32.0,
    equilibration_ps: Annotated[float, typer.Option(help="Time before the first segment of a temperature, ps.")] = 3.0,
    threads: Annotated[int, typer.Option(help="Threads of OpenMM.")] = 1,
    density_g_per_cm3: Annotated[float, typer.Option(help="Density of the box; models for NpT want several.")] = 0.997,
) -> None:
    """Simulate flexible TIP3P water in OpenMM and store NVE segments."""
    from flashmd_train.data.generate import generate

    temperatures = temperature_k or [250.0, 300.0, 350.0, 450.0]
    generate(
        output,
        waters,
        segments,
        temperatures,
        seed,
        spacing_fs,
        length_fs,
        equilibration_ps,
        threads,
        density_g_per_cm3,
    )


@app.command()
def structure(
    output: Annotated[Path, typer.Argument(help="Extended XYZ file.")],
    waters: int = 258,
    temperature_k: float = 300.0,
    time_ps: Annotated[float, typer.Option(help="Equilibration, a third of it at 450 K, ps.")] = 30.0,
    seed: int = 7,
    threads: int = 1,
) -> None:
    """Write an equilibrated water box with momenta."""
    from ase.io import write

    from flashmd_train.data.water import Reference

    reference = Reference(waters, threads, seed)
    reference.equilibrate(temperature_k, seed, time_ps)
    reference.remove_net_momentum()
    atoms = reference.atoms()
    write(output, atoms, columns=["symbols", "positions", "momenta", "masses"])


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
    scale: Annotated[str, typer.Option(help="ci (minutes), default (three hours on two cores), or paper.")] = "default",
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


@app.command("drift")
def drift(
    model: Annotated[Path, typer.Argument(help="ONNX file that moves flexible TIP3P water.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the runs; a rerun goes on where it stopped.")],
    waters: Annotated[int, typer.Option(help="Molecules in the box.")] = 258,
    time_ps: Annotated[float, typer.Option(help="Length of a run, ps.")] = 50.0,
    seeds: Annotated[int, typer.Option(help="Runs from different starts.")] = 3,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
) -> None:
    """NVE without thermostat and rescaling, total energies from OpenMM: drift and temperatures. Needs flashmd-rs."""
    from flashmd_train.studies.drift import drift

    typer.echo(drift(model, folder, waters, time_ps, seeds, workers))


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
