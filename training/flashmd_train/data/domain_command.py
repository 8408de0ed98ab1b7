"""The command ``flashmd-rs domain``, which flashmd-rs finds through the entry-point group ``flashmd_rs.commands``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.model import find_model


def domain(
    model: Annotated[str, typer.Argument(help="Model that states no domain: file, bundled or fetched name.")],
    frames: Annotated[list[Path], typer.Argument(help="Structure files that ASE reads, all frames of each.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
) -> None:
    """Give a model the domain of your structures, which the guard of a run then judges by."""
    # Late: PyTorch takes seconds to import.
    import ase.io

    from flashmd_train.data.frame_domain import frame_domain
    from flashmd_train.model_files.contract import merged, read_model, write_model

    try:
        graph, metadata = read_model(find_model(model))
    except ValueError as error:
        raise ModelError(str(error)) from None
    if metadata.get("domain"):
        raise ModelError(f"{model} states its domain, which is that of its training data; it is kept")
    structures = [atoms for file in frames for atoms in ase.io.read(file, ":")]
    try:
        found = frame_domain(structures, metadata["species"], metadata["cutoff_A"])
    except ValueError as error:
        raise InputError(str(error)) from None
    origin = dict(domain_from=[file.name for file in frames], domain_frames=len(structures))
    write_model(graph, merged(metadata, dict(domain=found, provenance=origin)), output)
    typer.echo(f"{output}: the domain of {len(structures)} structures")
    for name, value in found.items():
        typer.echo(f"  {name}: {value}")
    entry = metadata.get("energy_model")
    energy = entry.get("name") if isinstance(entry, dict) else entry
    if energy and not output.with_name(f"{energy}.onnx").exists():
        typer.echo(f"  its energy model is looked for beside it: copy {energy}.onnx there")
