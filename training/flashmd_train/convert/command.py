"""The command ``flashmd-rs convert``, which flashmd-rs finds through the entry-point group ``flashmd_rs.commands``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flashmd_rs.errors import ModelError


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="metatrain checkpoint (.ckpt) of FlashMD or PET.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
    weights: Annotated[
        Literal["best", "last"] | None,
        typer.Option(
            help="Of the epoch with the best validation, or of the last one.", show_default="best, if there are any"
        ),
    ] = None,
) -> None:
    """Import a metatrain checkpoint: proved against metatrain and ONNX Runtime, then written atomically."""
    # Late: importing PyTorch and metatrain takes seconds, which other commands and --help need not wait for.
    from flashmd_train.convert.conversion import convert_checkpoint
    from flashmd_train.convert.errors import ConversionError

    try:
        metadata = convert_checkpoint(checkpoint, output, weights)
    except ConversionError as error:
        raise ModelError(str(error)) from None
    typer.echo(f"{output}: kind {metadata['kind']}, species {', '.join(metadata['species'])}")
    for name, figure in metadata["validation"].items():
        typer.echo(f"  {name} {figure:.1e} of the largest value")
    origin = metadata["provenance"]
    typer.echo(f"  {origin['weights']} weights" + ("" if origin["epoch"] is None else f", of epoch {origin['epoch']}"))
    if origin["targets_left_out"]:
        typer.echo(f"  left out: {', '.join(origin['targets_left_out'])}")
    if origin["assumed"]:
        typer.echo(f"  the checkpoint does not say units; taken: {', '.join(origin['assumed'])}")
