"""The command ``flashmd-rs fetch``, which flashmd-rs finds through the entry-point group ``flashmd_rs.commands``."""

from __future__ import annotations

from typing import Annotated

import typer

from flashmd_rs.errors import ModelError
from flashmd_rs.fetched import UNIVERSAL


def fetch(
    model: Annotated[str, typer.Argument(help=f"Energy that the strides were trained on: {', '.join(UNIVERSAL)}.")],
    stride_fs: Annotated[int, typer.Option(help="Stride, fs.")] = 16,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the repository.")] = "main",
) -> None:
    """Download a universal model with its energy and convert both, proved, into the cache; then it runs by name."""
    # Late: importing PyTorch and metatrain takes seconds, which other commands and --help need not wait for.
    from flashmd_train.convert.errors import ConversionError
    from flashmd_train.convert.fetch import fetch

    try:
        files = fetch(model, stride_fs, revision, typer.echo)
    except ConversionError as error:
        raise ModelError(str(error)) from None
    for file in files:
        typer.echo(f"{file.stem}: {file}")
