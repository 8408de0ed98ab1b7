"""Commands for model files: export, pressure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

DataFiles = Annotated[list[Path], typer.Option("--data", help="HDF5 file of segments; repeat for several.")]


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    output: Annotated[Path, typer.Argument(help="ONNX file.")],
    data: DataFiles,
    energy_model: Annotated[
        Path | None, typer.Option(help="Reference energy model (ONNX) of a model that moves atoms.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="JSON of figures measured on runs, put under `validation`.")
    ] = None,
) -> None:
    """Export a run to the model contract, with metadata measured on held-out data."""
    from flashmd_train.export.publish import publish

    figures = json.loads(measured.read_text()) if measured else {}
    publish(run, output, data, energy_model, figures)


def pressure(
    model: Annotated[Path, typer.Argument(help="Energy model (ONNX).")],
    output: Annotated[Path, typer.Argument(help="ONNX file.")],
    data: DataFiles,
) -> None:
    """Compare an energy model's pressures with its reference's, and write it with the mean field that is missing."""
    from flashmd_train.export.publish import settle_pressure

    for row in settle_pressure(model, output, data):
        typer.echo(json.dumps(row))
