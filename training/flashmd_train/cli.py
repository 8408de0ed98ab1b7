"""``flashmd-train``: one command per step, from the reference simulation to the bundled file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from flashmd_train.data.systems import SYSTEMS

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
    workers: Annotated[int | None, typer.Option(help="Processes; as many as cores by default.")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, or 'local' for one on this machine.")
    ] = None,
) -> None:
    """Simulate a reference system and store NVE segments, on all cores or a Dask cluster."""
    from flashmd_train.data.generate import generate
    from flashmd_train.data.recipe import Recipe

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
        )
        generate(output, recipe, segments, workers or len(os.sched_getaffinity(0)), cluster)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="HDF5 file of `generate`.")],
    plot: Annotated[Path | None, typer.Option(help="Image of the distributions and of the energy.")] = None,
) -> None:
    """Test momenta against Maxwell–Boltzmann, print temperatures and drifts; exit 1 if a test fails."""
    from flashmd_train.data import check as checks

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

    from flashmd_train.data.recipe import Recipe

    with _one_sentence():
        reference = Recipe.of(system, size=size).build()
    reference.equilibrate(temperature_k, np.random.default_rng(seed), time_ps)
    write(output, reference.atoms(), columns=["symbols", "positions", "momenta", "masses"])


@contextmanager
def _one_sentence() -> Iterator[None]:
    """What a user got wrong is said without a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


@app.command("direct")
def direct(
    run: Annotated[Path, typer.Argument(help="Folder of the run: checkpoint.pt and log.jsonl; rerun to resume.")],
    data: Data,
    stride_fs: float = 16.0,
    backbone: Annotated[str, typer.Option(help="staged or edgemp.")] = "staged",
    prior: Annotated[str, typer.Option(help="bonded or free.")] = "bonded",
    cutoff_a: Annotated[float, typer.Option(help="Cutoff, Å.")] = 6.0,
    options: Annotated[str, typer.Option(help="Backbone options as JSON.")] = "{}",
    steps: int = 8000,
    boxes: Annotated[int, typer.Option(help="Boxes per step.")] = 1,
    learning_rate: float = 4e-4,
    seed: int = 0,
    threads: int = 1,
    start: Annotated[Path | None, typer.Option(help="Checkpoint to begin from.")] = None,
    every: Annotated[int, typer.Option(help="Steps between validations and checkpoints.")] = 250,
) -> None:
    """Train a direct model."""
    from flashmd_train.direct import DirectConfig
    from flashmd_train.train import train

    config = DirectConfig(
        stride_fs=stride_fs, cutoff_A=cutoff_a, backbone=backbone, prior=prior, options=json.loads(options)
    )
    train(config, data, run, steps, boxes, learning_rate, seed, threads, start, every)


@app.command("energy")
def energy(
    run: Annotated[Path, typer.Argument(help="Folder of the run; rerun to resume.")],
    data: Data,
    cutoff_a: Annotated[float, typer.Option(help="Cutoff, Å.")] = 6.0,
    steps: int = 3000,
    learning_rate: float = 1e-3,
    seed: int = 0,
    threads: int = 1,
    every: int = 250,
) -> None:
    """Train an energy model on reference energies and forces."""
    from flashmd_train.energy import EnergyConfig
    from flashmd_train.train_energy import train_energy

    train_energy(EnergyConfig(cutoff_A=cutoff_a), data, run, steps, learning_rate, seed, threads, every)


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


if __name__ == "__main__":
    app()
