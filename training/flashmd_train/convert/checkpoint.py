"""Reading a metatrain checkpoint, and refusing by name what the import cannot do."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

ARCHITECTURES = ("experimental.flashmd", "experimental.flashmd_symplectic", "pet")
INSTALL = "pip install './training[convert]'"
WANTED = "give the .ckpt file that `mtt train` writes, not the exported .pt"
ANGSTROM = ("a", "å", "angstrom", "")
MOMENTUM = ("(ev*u)^(1/2)", "(ev*u)^1/2", "")
ELECTRONVOLT = ("ev", "")


class ConversionError(ValueError):
    """A checkpoint that cannot be imported; the message says what to do."""


@dataclass
class Source:
    """A checkpoint as read.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        architecture: metatrain's name for it.
        version: of the checkpoint before metatrain upgraded it.
        model: metatrain's module with its best weights, in evaluation mode.
    """

    path: Path
    sha256: str
    architecture: str
    version: int
    model: Any

    @property
    def hypers(self) -> dict:
        """Hyperparameters of the architecture."""
        return self.model.hypers

    @property
    def targets(self) -> dict:
        """Targets by name."""
        return self.model.dataset_info.targets

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols in the order of metatrain's species indices."""
        return [chemical_symbols[z] for z in self.model.atomic_types]


def read_checkpoint(path: Path) -> Source:
    """Read and check a checkpoint of any version that the installed metatrain can upgrade.

    Raises:
        ConversionError: for anything that cannot be imported.
        OSError: if the file cannot be read.
    """
    data = path.read_bytes()
    metatrain = _metatrain()
    saved = _unpickle(path, data)
    architecture = saved["architecture_name"]
    if architecture not in ARCHITECTURES:
        raise ConversionError(
            f"{path} holds the architecture {architecture!r}; {', '.join(ARCHITECTURES)} can be imported. "
            "A wrapper such as llpr is trained on top of one of these: give the checkpoint below it"
        )
    version = saved.get("model_ckpt_version", 1)
    _refuse_unsupported(path, saved)
    try:
        model = metatrain.model_from_checkpoint(saved, context="export").eval()
    except Exception as error:
        raise ConversionError(
            f"{path} is a {architecture} checkpoint of version {version} that metatrain {metatrain_version()} cannot "
            f"load ({_one_line(error)}); see whether the metatrain that wrote it can (`mtt export`)"
        ) from error
    source = Source(path, hashlib.sha256(data).hexdigest(), architecture, version, model)
    check_unit(source, "its structures", source.model.dataset_info.length_unit, ANGSTROM, "angstrom")
    return source


def check_unit(source: Source, what: str, unit: str, known: tuple[str, ...], wanted: str) -> None:
    """Raise unless ``unit`` is one of ``known`` (or missing: then metatrain converts nothing either)."""
    if unit.lower() not in known:
        raise ConversionError(
            f"{source.path}: {what} are in {unit!r}; the import wants {wanted!r}. Convert the data set and train again"
        )


def target(source: Source, name: str) -> Any:
    """The target ``name``, which has to exist."""
    if name not in source.targets:
        raise ConversionError(
            f"{source.path} predicts {', '.join(sorted(source.targets))}; a model of {source.architecture} has to "
            f"predict {name!r} to be imported"
        )
    return source.targets[name]


def metatrain_version() -> str:
    """Of the installed metatrain."""
    return importlib.metadata.version("metatrain")


def _metatrain() -> Any:
    try:
        import metatomic.torch  # noqa: F401  (checkpoints hold its objects)
        import metatrain.utils.io
    except ImportError as error:
        raise ConversionError(f"metatrain is not installed ({_one_line(error)}); install it with: {INSTALL}") from error
    return metatrain.utils.io


def _unpickle(path: Path, data: bytes) -> dict:
    try:
        saved = torch.load(io.BytesIO(data), weights_only=False, map_location="cpu")
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, AttributeError, ImportError) as error:
        raise ConversionError(f"{path} is not a file that PyTorch can read ({_one_line(error)}); {WANTED}") from error
    if not isinstance(saved, dict) or "architecture_name" not in saved:
        raise ConversionError(f"{path} is not a metatrain checkpoint; {WANTED}")
    return saved


def _refuse_unsupported(path: Path, saved: dict) -> None:
    """Before metatrain loads it, which may want packages that only these parts need."""
    hypers = saved["model_data"]["model_hypers"]
    if hypers.get("long_range", {}).get("enable", False):
        raise ConversionError(
            f"{path} was trained with long_range on: its Ewald sums look beyond any cutoff and cannot be exported. "
            "Train with long_range.enable: false"
        )
    if hypers.get("zbl", False):
        raise ConversionError(f"{path} adds a ZBL repulsion, which the import does not have. Train with zbl: false")
    if any("lora_" in name for name in saved.get("best_model_state_dict") or {}):
        raise ConversionError(
            f"{path} was fine-tuned with LoRA adapters, which the import does not merge; fine-tune with the method "
            "'full' or 'heads'"
        )


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"
