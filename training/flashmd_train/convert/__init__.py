"""Models of metatrain, made into files of the model contract: ``convert(checkpoint, output)``.

A checkpoint is read with metatrain's own code, its weights go into our modules, the export is proved
against both, and only then is a file written. A checkpoint is a pickle: reading one runs what is in it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from flashmd_train.convert.checkpoint import ConversionError, read_checkpoint
from flashmd_train.convert.importers import IMPORTERS
from flashmd_train.convert.metadata import describe
from flashmd_train.export import write

__all__ = ["ConversionError", "convert"]


def convert(checkpoint: Path, output: Path) -> dict:
    """Import a metatrain checkpoint of FlashMD, symplectic FlashMD or PET.

    Args:
        checkpoint: ``.ckpt`` file of ``mtt train``.
        output: ONNX file; written in one go once everything is proved.

    Returns:
        The metadata of the file written.

    Raises:
        ConversionError: if it cannot be imported, saying what was found, what is wanted and what to do.
        OSError: if a file cannot be read or written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between metatrain and the libraries it pins
        source = read_checkpoint(checkpoint)
        imported = IMPORTERS[source.architecture](source)
    metadata = describe(source, imported)
    write(imported.graph, metadata, output)
    return metadata
