"""Weights to begin from: a run of ours, a model file of ours whose network is PET, or a metatrain checkpoint.

What depends on the species is put in the order of the data. An element that the start does not know begins as the mean
of those it knows, which only PET allows: its species have rows of their own in tables.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.pet import PET
from flashmd_train.learning.checkpoint import best_weights, load_weights
from flashmd_train.model_files.restore import CALIBRATED, restore
from flashmd_train.models.build import build
from flashmd_train.models.prior import NoPrior

# Settings that may differ from the start's: they change no shape, or a shape that is compared itself.
FREE = {"species", "stride_fs", "inner_timestep_fs", "lookahead_timestep_fs", "legendre_orders"}
# Buffers with an entry per species, and along which axis.
PER_SPECIES = {"position_unit": 0, "momentum_unit": 0, "scale": 0, "baseline": 1}
_DAMAGED = (KeyError, TypeError, RuntimeError, EOFError, AttributeError, ModuleNotFoundError, pickle.UnpicklingError)


def read_start(path: Path) -> nn.Module:
    """The model of a checkpoint.pt, of a model file (.onnx) or of a metatrain checkpoint (.ckpt).

    Raises:
        ValueError: it is none of these, or weights cannot be read back.
        OSError: the file cannot be read.
    """
    if path.suffix == ".onnx":
        return restore(path)
    if path.suffix == ".ckpt":
        return _imported(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=False)
        config, weights = saved["config"], best_weights(saved)
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is no checkpoint of a training here; wanted checkpoint.pt, a model file .onnx or a metatrain "
            "checkpoint .ckpt"
        ) from error
    model = build(config)
    load_weights(model, weights, path)
    return model


def begin_from(path: Path, model: nn.Module) -> list[str]:
    """Load the weights of a start.

    Args:
        path: of the start.
        model: which gets them; its settings say the species of the data.

    Returns:
        Symbols of elements that the start does not know.

    Raises:
        ValueError: it is a start of another model.
        OSError: the file cannot be read.
    """
    start = read_start(path)
    known, wanted = list(start.config.species), list(model.config.species)
    _check_settings(path, start, model)
    weights, ours = start.state_dict(), model.state_dict()
    if known != wanted:
        if not any(isinstance(part, PET) for part in model.modules()):
            raise ValueError(
                f"{path} knows {', '.join(known)}, the data holds {', '.join(wanted)}; wanted the same elements in the "
                "same order, as only PET can have others than its start"
            )
        weights = _for_species(start, known, wanted)
    weights |= {name: value for name, value in ours.items() if name.rpartition(".")[2] in CALIBRATED}
    for unit in _growing_units(model):
        weights[unit] = weights[unit] * (model.config.stride_fs / start.config.stride_fs)
    load_weights(model, weights, path)
    return [symbol for symbol in wanted if symbol not in known]


def _imported(path: Path) -> nn.Module:
    """Our module of a metatrain checkpoint."""
    from flashmd_train.convert.checkpoint import read_checkpoint
    from flashmd_train.convert.errors import ConversionError
    from flashmd_train.convert.modules import MODULES

    try:
        source = read_checkpoint(path)
        return MODULES[source.architecture](source)
    except ConversionError as error:
        raise ValueError(str(error)) from None


def _check_settings(path: Path, start: nn.Module, model: nn.Module) -> None:
    there, here = _settings(start), _settings(model)
    differ = [
        f"{name} {there.get(name)!r}, here {here.get(name)!r}"
        for name in {**here, **there}
        if name not in FREE and there.get(name) != here.get(name)
    ]
    if differ:
        raise ValueError(
            f"{path} is of another model: {'; '.join(differ)}. `flashmd-train config KIND --start {path.name}` prints "
            "settings that go with it"
        )


def _growing_units(model: nn.Module) -> list[str]:
    """Units of outputs that grow with the stride."""
    if not isinstance(getattr(model, "prior", None), NoPrior):
        return []
    return ["prior.position_unit", *["prior.momentum_unit"] * model.prior.momenta_as_difference]


def _settings(model: nn.Module) -> dict[str, Any]:
    """What fixes a model, with each setting of PET by its name however it was given."""
    found = {"kind": type(model).__name__} | model.config.model_dump(mode="json")
    for pet in (part for part in model.modules() if isinstance(part, PET)):
        del found["options"]
        found |= {f"options.{name}": x for name, x in asdict(pet.config).items() if name != "species"}
    return found


def _for_species(start: nn.Module, known: list[str], wanted: list[str]) -> dict[str, Tensor]:
    """The weights of a start with their entries per species in the order ``wanted``."""
    tables = {f"{name}.weight" for name, part in start.named_modules() if isinstance(part, nn.Embedding)}
    found = {}
    for name, value in start.state_dict().items():
        axis = 0 if name in tables else PER_SPECIES.get(name.rpartition(".")[2])
        if axis is None or not value.ndim:  # the scale of an action is one for all
            found[name] = value
            continue
        mean = value.mean(axis, keepdim=True)
        rows = [value.narrow(axis, known.index(s), 1) if s in known else mean for s in wanted]
        found[name] = torch.cat(rows, axis)
    if "noise.weight" in found:  # its last inputs say the species
        features, own = found["noise.weight"].split([found["noise.weight"].shape[1] - len(known), len(known)], 1)
        mean = own.mean(1, keepdim=True)
        columns = [own[:, known.index(s), None] if s in known else mean for s in wanted]
        found["noise.weight"] = torch.cat([features, *columns], 1)
    return found
