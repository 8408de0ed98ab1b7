"""Reading a metatrain checkpoint, and refusing by name what the import cannot do."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ase.data import chemical_symbols

from flashmd_train.convert.archive import check_entries, import_metatrain, load_archive
from flashmd_train.convert.errors import ConversionError, one_line
from flashmd_train.convert.known import ARCHITECTURES, check_architecture, check_hypers, check_version

Weights = Literal["best", "last"]
ANGSTROM = ("a", "å", "angstrom")
MOMENTUM = ("(ev*u)^(1/2)",)
ELECTRONVOLT = ("ev",)
ENTRY = {"best": "best_model_state_dict", "last": "model_state_dict"}


@dataclass
class Source:
    """A checkpoint as read.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        architecture: metatrain's name for it.
        version: of the checkpoint before metatrain upgraded it.
        weights: which of the checkpoint's ``model`` has.
        epoch: after which they were stored, if the checkpoint says so.
        model: metatrain's module, in evaluation mode.
        assumed: units that the checkpoint leaves open.
    """

    path: Path
    sha256: str
    architecture: str
    version: int
    weights: Weights
    epoch: int | None
    model: Any
    assumed: list[str] = field(default_factory=list)

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


def read_checkpoint(path: Path, weights: Weights | None = None) -> Source:
    """Read and check a checkpoint of any version that the installed metatrain can upgrade.

    Args:
        path: of the file.
        weights: which to take; None to let `choose_weights` decide.

    Raises:
        ConversionError: for anything that cannot be imported.
        OSError: if the file cannot be read.
    """
    data = path.read_bytes()
    saved = load_archive(path, data)
    architecture = saved["architecture_name"]
    check_architecture(path, architecture)
    version = saved.get("model_ckpt_version")
    version = 1 if version is None else version
    check_version(path, architecture, version)
    check_entries(path, saved)
    check_hypers(path, architecture, version, saved["model_data"]["model_hypers"])
    weights = choose_weights(path, saved, weights)
    epoch = saved.get("best_epoch" if weights == "best" else "epoch")
    model = _load(path, architecture, version, saved)
    source = Source(path, hashlib.sha256(data).hexdigest(), architecture, version, weights, epoch, model)
    if not all(0 < z < len(chemical_symbols) for z in model.atomic_types):
        raise ConversionError(f"{path} has atoms of the types {model.atomic_types}, which are not all atomic numbers")
    check_unit(source, "its structures", source.model.dataset_info.length_unit, ANGSTROM, "angstrom")
    return source


def choose_weights(path: Path, saved: dict, wanted: Weights | None) -> Weights:
    """Leave in ``saved`` only the weights that are wanted, so that no upgrade of metatrain's can take the others.

    Without a wish they are the best; the last where a checkpoint has no others, and of metatrain's large PET models of
    before version 8, which were always used with their last.
    """
    large = "node_embedding.weight" in saved["model_state_dict"]
    chosen = wanted or ("last" if large or not saved.get(ENTRY["best"]) else "best")
    found = saved.get(ENTRY[chosen])
    if not isinstance(found, dict) or not found:
        (other,) = ENTRY.keys() - {chosen}
        raise ConversionError(f"{path} has no {chosen} weights; take the others: --weights {other}")
    if any("lora_" in str(name) for name in found):
        raise ConversionError(
            f"{path} was fine-tuned with LoRA adapters, which the import does not merge; fine-tune with the method "
            "'full' or 'heads'"
        )
    for entry in ENTRY.values():
        saved[entry] = dict(found)
    return chosen


def check_unit(source: Source, what: str, unit: str, known: tuple[str, ...], wanted: str) -> None:
    """Raise unless ``unit`` is one of ``known``; note a missing one, which metatrain does not convert either."""
    if not unit:
        source.assumed.append(f"{what} in {wanted}")
    elif unit.lower() not in known:
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


def _load(path: Path, architecture: str, version: int, saved: dict) -> Any:
    """metatrain's module with the weights of ``saved``."""
    metatrain = import_metatrain()
    readable = metatrain.architectures.import_architecture(architecture).__model__.__checkpoint_version__
    if version > readable:
        raise ConversionError(
            f"{path} is a {architecture} checkpoint of version {version}; the installed metatrain "
            f"{metatrain_version()} reads 1 to {readable}. Install a newer one: pip install -U 'metatrain<2026.5'"
        )
    if readable > ARCHITECTURES[architecture].version:
        raise ConversionError(
            f"the installed metatrain {metatrain_version()} turns {architecture} checkpoints into version {readable}, "
            "which this import does not know; install an older one: pip install 'metatrain<2026.5'"
        )
    try:
        return metatrain.io.model_from_checkpoint(saved, context="export").eval()
    except Exception as error:
        raise ConversionError(
            f"{path} is a {architecture} checkpoint of version {version} that metatrain {metatrain_version()} cannot "
            f"load ({one_line(error)}); see whether the metatrain that wrote it can (`mtt export`)"
        ) from error
