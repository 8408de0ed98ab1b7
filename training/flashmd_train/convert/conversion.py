"""From a metatrain checkpoint to a model file: read, import, prove, write."""

from __future__ import annotations

import warnings
from pathlib import Path

from flashmd_rs.writers.files import check_replaceable
from flashmd_train.convert.checkpoint import Weights, read_checkpoint
from flashmd_train.convert.errors import ConversionError
from flashmd_train.convert.importers import IMPORTERS
from flashmd_train.convert.metadata import describe
from flashmd_train.model_files.contract import merged, write_model

# Raised when another file is made of the same checkpoint, so that fetched models are converted anew.
CONVERTER = 1


def convert_checkpoint(
    checkpoint: Path, output: Path, weights: Weights | None = None, also: dict | None = None
) -> dict:
    """Import a metatrain checkpoint of FlashMD, symplectic FlashMD or PET.

    Args:
        checkpoint: ``.ckpt`` file of ``mtt train``.
        output: ONNX file; written atomically, once everything is proved.
        weights: which of the checkpoint's to take; None for the best, or the last where there are no others.
        also: metadata beside what the checkpoint says.

    Returns:
        The metadata of the file written.

    Raises:
        ConversionError: if it cannot be imported, saying what was found, what is wanted and what to do.
        OSError: if a file cannot be read or written.
    """
    if output.exists() and output.samefile(checkpoint):
        raise ConversionError(f"the model file would replace the checkpoint it comes from: {output}; give another name")
    check_replaceable(output, "model file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between metatrain and the libraries it pins
        source = read_checkpoint(checkpoint, weights)
        imported = IMPORTERS[source.architecture](source)
    metadata = merged(describe(source, imported), also or {})
    write_model(imported.graph, metadata, output)
    return metadata
