"""Commands for model files: export, pressure, restamp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.cli.system_flags import with_system_flags
from flashmd_rs.reference.options import SystemOptions

DataFiles = Annotated[list[Path], typer.Option("--data", help="HDF5 file of segments; repeat for several.")]


@with_system_flags("generate", required=False, strict=False)
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    output: Annotated[Path, typer.Argument(help="ONNX file.")],
    data: DataFiles,
    system: SystemOptions | None,
    energy_model: Annotated[
        Path | None, typer.Option(help="Reference energy model (ONNX) of a model that moves atoms.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="JSON of figures measured on runs, put under `validation`.")
    ] = None,
) -> None:
    """Export a run to the model contract, with metadata measured on held-out data.

    With the potential of the data, momenta are calibrated over many strides, and an energy model gets its pressure.
    Structures are those of the data.
    """
    from flashmd_train.export.publish import publish

    figures = json.loads(measured.read_text()) if measured else {}
    potential = system.load_potential() if system else None
    metadata = publish(run, output, data, energy_model, figures, potential=potential)
    if "calibration" in metadata["validation"]:
        typer.echo(f"calibration: {metadata['validation']['calibration']}")


@with_system_flags("generate", strict=False)
def pressure(
    model: Annotated[Path, typer.Argument(help="Energy model (ONNX).")],
    output: Annotated[Path, typer.Argument(help="ONNX file.")],
    data: DataFiles,
    system: SystemOptions,
) -> None:
    """Compare an energy model's pressures with its reference's, and write it with the mean field that is missing.

    Structures are those of the data.
    """
    from flashmd_train.export.publish import settle_pressure

    for row in settle_pressure(model, output, data, system.load_potential()):
        typer.echo(json.dumps(row))


def restamp(
    model: Annotated[Path, typer.Argument(help="ONNX file, which is changed.")],
    changes: Annotated[
        str | None, typer.Option(help='JSON of metadata to set, such as \'{"domain": {"bonds": []}}\'.')
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="HDF5 file of segments to measure bonds on; repeat for several.")
    ] = None,
    energy_model: Annotated[
        Path | None, typer.Option(help="Reference energy model (ONNX), whose name and SHA-256 are put in.")
    ] = None,
) -> None:
    """Change the metadata of a model file: given entries, the bonds of its data, its reference energy model."""
    from flashmd_train.data.bonds import bonds
    from flashmd_train.data.dataset import Dataset
    from flashmd_train.export.metadata import reference_energy_model
    from flashmd_train.model_files import contract

    if data:
        contract.restamp(model, {"domain": {"bonds": bonds(Dataset(data))}})
    if energy_model:
        contract.restamp(model, {"energy_model": reference_energy_model(energy_model)})
    if changes:
        contract.restamp(model, json.loads(changes))
