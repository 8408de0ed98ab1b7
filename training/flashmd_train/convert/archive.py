"""What is in a checkpoint's file. Nothing in it is run: it is read with ``weights_only``."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import torch

from flashmd_train.convert.errors import WANTED, ConversionError, one_line, quote

INSTALL = "pip install './training[convert]'"
# Objects of compiled classes that metatrain's checkpoints hold; PyTorch would make any that is registered.
COMPILED = ("__torch__.torch.classes.metatensor.TensorMap", "__torch__.torch.classes.metatomic.ModelMetadata")


def load_archive(path: Path, data: bytes) -> dict:
    """The entries of the checkpoint ``data``, the bytes of ``path``.

    Raises:
        ConversionError: for any other file, saying what it is as far as that can be told.
    """
    if data.startswith(b"\x1f\x8b"):
        raise ConversionError(f"{path} is compressed by gzip; unpack it first")
    try:
        with torch.serialization.safe_globals(_classes()):
            saved = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception as error:  # A damaged pickle can fail in any way.
        raise _unreadable(path, error) from error
    if not isinstance(saved, dict):
        raise ConversionError(f"{path} holds a {type(saved).__name__}, not a metatrain checkpoint; {WANTED}")
    if saved and all(isinstance(value, torch.Tensor) for value in saved.values()):
        raise ConversionError(f"{path} is a bare state dict: weights, but no word of their architecture; {WANTED}")
    if not isinstance(saved.get("architecture_name"), str):
        raise ConversionError(f"{path} is not a metatrain checkpoint: it has no 'architecture_name'; {WANTED}")
    return saved


def check_entries(path: Path, saved: dict) -> None:
    """Raise unless the parts of a checkpoint that the import reads are there."""
    for holder, name in (("", "model_state_dict"), ("", "model_data"), ("model_data", "model_hypers")):
        if not isinstance((saved[holder] if holder else saved).get(name), dict):
            raise ConversionError(
                f"{path} is not a whole checkpoint: its entry {name!r} is missing or no dictionary; {WANTED}"
            )


def import_metatrain() -> Any:
    """``metatrain.utils``, with what checkpoints need to be read."""
    try:
        import metatomic.torch  # noqa: F401  (checkpoints hold its objects)
        import metatrain.utils.architectures
        import metatrain.utils.data
        import metatrain.utils.io
    except (ImportError, OSError) as error:  # OSError: a library of another PyTorch
        raise ConversionError(
            f"metatrain is not installed, or not for this PyTorch ({one_line(error)}); install it with: {INSTALL}"
        ) from error
    return metatrain.utils


def _classes() -> list:
    """Those of metatrain that its checkpoints hold; none where it is not installed."""
    try:
        data = import_metatrain().data
    except ConversionError:
        return []
    return [data.dataset.DatasetInfo, data.target_info.TargetInfo, (_Compiled, "torch.ScriptObject")]


class _Refused(Exception):
    """An object of a class that is not admitted, by its name."""


class _Compiled(torch.ScriptObject):
    """An object of one of the ``COMPILED`` classes."""

    def __setstate__(self, state: tuple) -> None:
        name = state[1] if isinstance(state, tuple) and len(state) == 2 else None
        if name not in COMPILED:
            raise _Refused(quote(name).strip("'"))
        super().__setstate__(state)


def _unreadable(path: Path, error: Exception) -> ConversionError:
    """What PyTorch's message, which advises to switch ``weights_only`` off, comes to."""
    if "TorchScript archives" in str(error):
        return ConversionError(f"{path} is an exported model (TorchScript), which cannot be imported; {WANTED}")
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if isinstance(error, _Refused):
        name = str(error)
    elif refused is not None:
        name = refused[1]
    else:
        cause = re.sub(r"^Weights only load failed.*WeightsUnpickler error:", "", str(error), flags=re.DOTALL)
        first = re.split(r"\. |Check the documentation", one_line(cause))[0] or type(error).__name__
        return ConversionError(f"{path} is not a file that PyTorch can read ({first.strip()}); {WANTED}")
    if name.startswith(("metatrain.", "torch.ScriptObject")):
        import_metatrain()
        return ConversionError(
            f"{path} holds a {name}, which this import does not know; a metatrain newer than it has written it"
        )
    return ConversionError(
        f"{path} holds the Python object {name}, which no metatrain checkpoint has; it was not loaded, because "
        f"loading it can run code; {WANTED}"
    )
