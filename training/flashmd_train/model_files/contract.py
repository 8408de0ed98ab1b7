"""Names and types of the model contract's tensors, and its files: ONNX with metadata under the key ``flashmd``."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.graph.nef import Graph

DIRECT_INPUTS = ("species", "momenta", "masses", "edge_vectors", "mask", "neighbors", "reverse")
ENERGY_INPUTS = ("species", "edge_vectors", "mask", "neighbors")
ENERGY_OUTPUTS = ("energy", "edge_gradient")
PAIR_INPUTS = (*ENERGY_INPUTS, "reverse")  # of energy models with messages between edges
SPLITTING_INPUTS = (*ENERGY_INPUTS, "head")
# The runtime does not read the action itself.
ACTION_OUTPUTS = ("action", "edge_gradient", "momentum_gradient")
# Inputs of shape [N, K, …], and inputs of type int32.
HAS_SLOTS = ("edge_vectors", "mask", "neighbors", "reverse")
INTEGERS = ("species", "neighbors", "reverse")


def contract_inputs(graph: Graph, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """The inputs ``names`` of a network, with the contract's types."""
    return tuple(getattr(graph, n).to(torch.int32) if n in INTEGERS else getattr(graph, n) for n in names)


def read_model(path: Path) -> tuple[onnx.ModelProto, dict]:
    """Graph and metadata of a model file.

    Raises:
        ValueError: the file is not ONNX, or has no metadata.
        OSError: the file cannot be read.
    """
    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ValueError(f"{path} is no ONNX file: {error}") from None
    entries = [entry for entry in model.metadata_props if entry.key == "flashmd"]
    if len(entries) != 1:
        raise ValueError(f"{path} has {len(entries)} entries of metadata `flashmd`, wanted one: it is no model")
    return model, json.loads(entries[0].value)


def restamp(path: Path, changes: dict) -> None:
    """Change the metadata of a model file, which stays as it is otherwise.

    Its SHA-256 changes too: models that name it as their reference energy model have to be restamped with the new one.

    Args:
        path: ONNX file with metadata under ``flashmd``.
        changes: new entries; those within another, such as ``domain``, are merged with what is there.

    Raises:
        ValueError: the file has no metadata.
        OSError: the file cannot be read or written.
    """
    model, metadata = read_model(path)
    write_model(model, merged(metadata, changes), path)


def merged(old: dict, new: dict) -> dict:
    """Metadata with new entries; those within another are merged with what is there."""
    both = {
        key: merged(old[key], value)
        for key, value in new.items()
        if isinstance(value, dict) and isinstance(old.get(key), dict)
    }
    return old | new | both


def write_model(model: onnx.ModelProto, metadata: dict, path: Path) -> None:
    """Put ``metadata`` into the model and write the file atomically.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
        OSError: the file cannot be written.
    """
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = "flashmd", json.dumps(metadata, ensure_ascii=False)
    model.producer_name, model.producer_version = "flashmd_train", ""
    onnx.checker.check_model(model)
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
