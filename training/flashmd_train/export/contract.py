"""Names and types of the model contract's tensors, and its files: ONNX with metadata under the key ``flashmd``."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from torch import Tensor

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.graph.nef import Graph

DIRECT_INPUTS = ("species", "momenta", "masses", "edge_vectors", "mask", "neighbors", "reverse")
ENERGY_INPUTS = ("species", "edge_vectors", "mask", "neighbors")
ENERGY_OUTPUTS = ("energy", "edge_gradient")
SPLITTING_INPUTS = (*ENERGY_INPUTS, "head")
# Inputs of shape [N, K, …], and inputs of type int32.
HAS_SLOTS = ("edge_vectors", "mask", "neighbors", "reverse")
INTEGERS = ("species", "neighbors", "reverse")


def contract_inputs(graph: Graph, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """The inputs ``names`` of a network, with the contract's types."""
    return tuple(getattr(graph, n).to(torch.int32) if n in INTEGERS else getattr(graph, n) for n in names)


def read_model(path: Path) -> tuple[onnx.ModelProto, dict]:
    """Graph and metadata of a model file."""
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    return model, json.loads(entries["flashmd"])


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
