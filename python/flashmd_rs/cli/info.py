"""``flashmd-rs info``: what a model is."""

from __future__ import annotations

from typing import Annotated

import typer


def info(model: Annotated[str, typer.Argument(help="Model file, or bundled or fetched name.")]) -> None:
    """Print what a model is: its metadata with units, and what kernels run of it here."""
    import hashlib

    from flashmd_rs.describe import describe_model
    from flashmd_rs.errors import RuntimeLibraryError
    from flashmd_rs.model import Model, find_model, read_metadata, read_model

    path = find_model(model)
    metadata = read_metadata(path)
    data = read_model(path)
    try:
        kernels = Model(path, device="cpu").describe_kernels()
    except RuntimeLibraryError as error:
        kernels = f"unknown: {error}"
    typer.echo(describe_model(str(path), metadata, hashlib.sha256(data).hexdigest(), len(data), kernels))
