"""The command ``flashmd-rs convert``, which flashmd-rs finds through the entry-point group ``flashmd_rs.commands``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flashmd_rs.errors import ModelError


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="metatrain checkpoint (.ckpt) of FlashMD or PET.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
) -> None:
    """Import a metatrain checkpoint: proved against metatrain and ONNX Runtime, then written atomically.

    Reading a checkpoint runs code inside it: convert only files you trust.
    """
    # Late: importing PyTorch and metatrain takes seconds, which other commands and --help need not wait for.
    from flashmd_train.convert.checkpoint import ConversionError
    from flashmd_train.convert.conversion import convert_checkpoint

    try:
        metadata = convert_checkpoint(checkpoint, output)
    except ConversionError as error:
        raise ModelError(str(error)) from None
    typer.echo(f"{output}: kind {metadata['kind']}, species {', '.join(metadata['species'])}")
    for name, figure in metadata["validation"].items():
        typer.echo(f"  {name} {figure:.1e} of the largest value")
