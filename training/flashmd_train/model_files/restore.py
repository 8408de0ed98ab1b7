"""The model that a file of ours was exported from, weights and all.

Exporters rename, transpose and split weights, always alike. So the same settings are exported once more with a number
of its own as each weight: what then stands where in the graph says which weight the file's graph holds there.

Graphs with gradients hold two matrices of each layer of PET, one after the other on the same numbers, as their product
alone. Such a layer comes back with other matrices of the same product: it does the same and can learn the same.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from flashmd_train.backbones.pet import PET
from flashmd_train.backbones.pet_forces import PETForces
from flashmd_train.model_files.contract import ACTION_OUTPUTS, DIRECT_INPUTS, ENERGY_OUTPUTS, PAIR_INPUTS, read_model
from flashmd_train.model_files.exports import probes
from flashmd_train.model_files.onnx_graph import trace_forward, trace_gradients
from flashmd_train.models.build import build, kind_of
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy

# Weights are numbered from here, beyond constants that graphs hold anyway, to where 32-bit floats tell numbers apart.
FIRST, LAST = 2**12, 2**24
# Set again at every export.
CALIBRATED = ("momentum_scale", "llpr_factor", "llpr_scale")


def restore(path: Path) -> nn.Module:
    """The model of a file whose network is PET, from its provenance and its graph.

    Raises:
        ValueError: the file holds no settings, another network, or a graph that these settings do not give.
    """
    graph, metadata = read_model(path)
    config = metadata["provenance"].get("config")
    if config is None:
        raise ValueError(
            f"{path} does not hold the settings of its network: import its checkpoint anew, or start from that"
        )
    model = build(config)
    if not (isinstance(model, PETEnergy | PETAction) or isinstance(getattr(model, "backbone", None), PETForces)):
        raise ValueError(
            f"{path} is of kind {kind_of(config)!r} without PET: its weights cannot be read back. Start from the "
            "checkpoint.pt of its training"
        )
    uncertain = isinstance(model, Direct) and "uncertainty" in {output.name for output in graph.graph.output}
    numbered = copy.deepcopy(model)
    count = _number(numbered, uncertain)
    if not isinstance(model, Direct):
        _make_products_readable(numbered.pet)
    values = np.full(count, np.nan, np.float32)
    for key, value in _matched(path, _trace(numbered, metadata.get("masses_u")), graph):
        own = (key >= FIRST) & (key < FIRST + count) & (key == np.round(key))
        values[key[own].astype(int) - FIRST] = value[own]
    _fill(path, model, numbered, values, uncertain)
    return model


def _state(model: nn.Module, uncertain: bool) -> list[tuple[str, torch.Tensor]]:
    """What a graph holds of a model, in a fixed order, under one name each."""
    absent = CALIBRATED[1:] if not uncertain else ()
    state = {name: x for name, x in model.state_dict().items() if x.is_floating_point() and name not in absent}
    once = {x.data_ptr(): name for name, x in reversed(state.items())}
    return [(name, x) for name, x in state.items() if once[x.data_ptr()] == name]


def _number(model: nn.Module, uncertain: bool) -> int:
    """Number a model's weights; returns how many there are."""
    number = FIRST
    for _, tensor in _state(model, uncertain):
        tensor.copy_(torch.arange(number, number + tensor.numel(), dtype=torch.float64).view(tensor.shape))
        number += tensor.numel()
    if number > LAST:
        raise ValueError(f"the model has {number - FIRST} weights; more than {LAST - FIRST} cannot be read back")
    return number - FIRST


@torch.no_grad()
def _make_products_readable(pet: PET) -> None:
    """Give the second of two matrices the numbers of their product, and the first ones and zeros."""
    for layer in pet.layers:
        first, d = layer.compress[0].weight, layer.geometry.out_features
        first[:, 4:d] = 0.0
        layer.geometry.weight.copy_(torch.eye(d, 4))
        layer.geometry.bias.zero_()
        if layer.species is not None:
            first[:, d : 2 * d] = torch.eye(d)


def _trace(model: nn.Module, masses: list[float] | None) -> onnx.ModelProto:
    cutoff, kinds = model.config.cutoff_A, len(model.config.species)
    example = probes("free", cutoff, tuple(masses or [1.0] * kinds))[-1]
    if isinstance(model, Direct):
        return trace_forward(model, DIRECT_INPUTS, model.outputs, example)
    if isinstance(model, PETEnergy):
        return trace_gradients(model, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, example)
    return trace_gradients(model, DIRECT_INPUTS, ("edge_vectors", "momenta"), ACTION_OUTPUTS, example)


def _matched(path: Path, numbered: onnx.ModelProto, file: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]]:
    """Constants of the numbered graph beside those in their places in the file's."""
    pairs = list(zip(numbered.graph.node, file.graph.node))
    if len(numbered.graph.node) != len(file.graph.node) or any(a.op_type != b.op_type for a, b in pairs):
        raise ValueError(
            f"{path} was exported by other versions than are installed here: its weights cannot be read back. "
            "Start from the checkpoint it comes from"
        )
    keys, values = ({x.name: x for x in model.graph.initializer} for model in (numbered, file))
    found = []
    for a, b in pairs:
        for name, other in zip(a.input, b.input):
            if name in keys and other in values:
                key, value = (onnx.numpy_helper.to_array(x) for x in (keys[name], values[other]))
                if key.shape == value.shape and key.dtype == np.float32:
                    found.append((key, value))
    return found


def _fill(path: Path, model: nn.Module, numbered: nn.Module, values: np.ndarray, uncertain: bool) -> None:
    """Put the values into the model where it is numbered, what is there elsewhere, calibrations at their beginnings.

    Raises:
        ValueError: a weight is not among them.
    """
    first, lost = 0, []
    for (name, tensor), (_, known) in zip(_state(model, uncertain), _state(numbered, uncertain)):
        number = torch.arange(first, first + tensor.numel()).view(tensor.shape)
        first += tensor.numel()
        if name in CALIBRATED:
            continue
        found = torch.where(known == FIRST + number, torch.tensor(values)[number], known)
        if found.isnan().any():
            lost.append(name)
        else:
            tensor.copy_(found)
    if lost:
        raise ValueError(f"{path}: not all weights can be read back, such as {lost[0]}; start from its checkpoint")
