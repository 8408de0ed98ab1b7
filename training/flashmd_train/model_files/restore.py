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
from flashmd_train.model_files.contract import ACTION_OUTPUTS, DIRECT_INPUTS, ENERGY_OUTPUTS, PAIR_INPUTS, read_model
from flashmd_train.model_files.exports import probes
from flashmd_train.model_files.onnx_graph import trace_forward, trace_gradients
from flashmd_train.models.build import build, kind_of
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy

# 32-bit floats tell 2²⁴ numbers apart, fewer than there may be weights. So there are two exports, with the remainders
# of the numbers by two primes. They begin beyond constants that graphs hold anyway, and one later than the other, so
# that a constant, which is the same in both, is no weight.
PRIMES, FIRST = (2**22 - 3, 2**22 - 17), (2**12, 2**13)
# Set again at every export.
CALIBRATED = ("momentum_scale", "llpr_factor", "llpr_scale")


def restore(path: Path) -> nn.Module:
    """The model of a file whose network is PET, from its provenance and its graph.

    Raises:
        ValueError: the file holds no settings, another network, or a graph that these settings do not give.
    """
    graph, metadata = read_model(path)
    config = metadata.get("provenance", {}).get("config")
    if config is None:
        raise ValueError(
            f"{path} does not hold the settings of its network: import its checkpoint anew, or start from that"
        )
    model = build(config)
    if not any(isinstance(part, PET) for part in model.modules()) or getattr(model.config, "prior", "") == "bonded":
        raise ValueError(
            f"{path} is of kind {kind_of(config)!r} without PET, or with bonds: its weights cannot be read back. Start "
            "from the checkpoint.pt of its training"
        )
    if not any(_read_back(path, model, metadata, graph, unit) for unit in (False, True)):
        raise ValueError(
            f"{path} was exported by other versions than are installed here: its weights cannot be read back. Start "
            "from the checkpoint it comes from"
        )
    return model


def _read_back(path: Path, model: nn.Module, metadata: dict, graph: onnx.ModelProto, unit: bool) -> bool:
    """Read the weights into the model; False if its graph has other operators than the file's.

    Args:
        path: of the file.
        model: of its settings.
        metadata: of the file.
        graph: of the file.
        unit: if an action's scale is one, which exporters leave out.
    """
    uncertain = isinstance(model, Direct) and "uncertainty" in {output.name for output in graph.graph.output}
    numbered = [_numbered(model, uncertain, k, unit) for k in range(2)]
    found = [_matched(_trace(each, metadata.get("masses_u")), graph) for each in numbered]
    if found[0] is None or found[1] is None:
        return False
    values = np.full(sum(x.numel() for _, x in _state(model, uncertain)), np.nan, np.float32)
    for (first, value), (second, _) in zip(*found):
        number = _of_remainders(first, second)
        own = (number >= 0) & (number < len(values))
        values[number[own]] = value[own]
    _fill(path, model, numbered[0], values, uncertain)
    if unit and isinstance(model, PETAction):
        model.scale.fill_(1.0)
    return True


def _state(model: nn.Module, uncertain: bool) -> list[tuple[str, torch.Tensor]]:
    """What a graph holds of a model, in a fixed order, under one name each."""
    absent = CALIBRATED[1:] if not uncertain else ()
    state = {name: x for name, x in model.state_dict().items() if x.is_floating_point() and name not in absent}
    once = {x.data_ptr(): name for name, x in reversed(state.items())}
    return [(name, x) for name, x in state.items() if once[x.data_ptr()] == name]


def _numbered(model: nn.Module, uncertain: bool, k: int, unit: bool) -> nn.Module:
    """A copy with the remainders of their numbers as weights, by the ``k``-th prime."""
    model, number = copy.deepcopy(model), 0
    for _, tensor in _state(model, uncertain):
        numbers = torch.arange(number, number + tensor.numel()).view(tensor.shape)
        tensor.copy_(FIRST[k] + numbers % PRIMES[k])
        number += tensor.numel()
    if not isinstance(model, Direct):
        _make_products_readable(model.pet)
    if unit and isinstance(model, PETAction):
        model.scale.fill_(1.0)
    return model


def _of_remainders(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Numbers from their remainders (Chinese remainder theorem); −1 where there are none."""
    p, q = PRIMES
    a, b = (np.where(x == np.round(x), x, 0).astype(np.int64) - start for x, start in zip((first, second), FIRST))
    number = a + p * ((b - a) * pow(p, -1, q) % q)
    return np.where((a >= 0) & (a < p) & (b >= 0) & (b < q), number, -1)


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


def _matched(numbered: onnx.ModelProto, file: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Constants of the numbered graph beside those in their places in the file's; None if operators differ."""
    (ours, keys), (theirs, values) = (_constants(model) for model in (numbered, file))
    if [node.op_type for node in ours] != [node.op_type for node in theirs]:
        return None
    found = []
    for a, b in zip(ours, theirs):
        for name, other in zip(a.input, b.input):
            key, value = keys.get(name), values.get(other)
            if key is not None and value is not None and key.shape == value.shape and key.dtype == np.float32:
                found.append((key, value))
    return found


def _constants(model: onnx.ModelProto) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """The operators of a graph and its constants; exporters give equal ones a second name by an identity."""
    constants = {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}
    operators = []
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        else:
            operators.append(node)
    return operators, constants


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
        found = torch.where(known == FIRST[0] + number % PRIMES[0], torch.tensor(values)[number], known)
        if found.isnan().any():
            lost.append(name)
        else:
            tensor.copy_(found)
    if lost:
        raise ValueError(f"{path}: not all weights can be read back, such as {lost[0]}; start from its checkpoint")
