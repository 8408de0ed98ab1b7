"""``flashmd-train``: one command per step, from the reference simulation to the bundled file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

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
) -> None:
    """Simulate flexible TIP3P water in OpenMM and store NVE segments."""
    from flashmd_train.data.generate import generate

    temperatures = temperature_k or [250.0, 300.0, 350.0, 450.0]
    generate(output, waters, segments, temperatures, seed, spacing_fs, length_fs, equilibration_ps, threads)


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
