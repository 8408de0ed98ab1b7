"""Exports of the models of this package."""

from __future__ import annotations

import onnx
import torch

from flashmd_train.graph.nef import Graph
from flashmd_train.graph.structures import solid_graph, water_graph
from flashmd_train.model_files.contract import (
    ACTION_OUTPUTS,
    DIRECT_INPUTS,
    ENERGY_INPUTS,
    ENERGY_OUTPUTS,
    PAIR_INPUTS,
    SPLITTING_INPUTS,
)
from flashmd_train.model_files.onnx_graph import export_forward, export_gradients
from flashmd_train.models.direct import Direct
from flashmd_train.models.energy import Energy
from flashmd_train.models.pet import PETAction, PETEnergy
from flashmd_train.models.splitting import Splitting


def export_direct(module: Direct, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of a direct model, and its parity error."""
    graphs = probes(module.config.prior, module.config.cutoff_A, masses)
    return export_forward(module, DIRECT_INPUTS, module.outputs, graphs)


def export_energy(module: Energy | PETEnergy, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of an energy model with its gradient, and its parity error."""
    graphs = probes(module.config.prior, module.config.cutoff_A, masses)
    inputs = PAIR_INPUTS if isinstance(module, PETEnergy) else ENERGY_INPUTS
    return export_gradients(module, inputs, ("edge_vectors",), ENERGY_OUTPUTS, graphs)


def export_action(module: PETAction, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of an action model with its gradients, and its parity error."""
    graphs = probes("free", module.config.cutoff_A, masses)
    return export_gradients(module, DIRECT_INPUTS, ("edge_vectors", "momenta"), ACTION_OUTPUTS, graphs)


def export_splitting(module: Splitting, masses: tuple[float, ...]) -> tuple[onnx.ModelProto, float]:
    """ONNX graph of a splitting's scalars with their gradient, and its parity error over all of them."""
    graphs = probes(module.config.scalar.prior, module.config.cutoff_A, masses)
    heads = torch.eye(len(module.scalar.share))
    graphs = [graph._replace(head=head) for graph in graphs for head in heads]
    return export_gradients(module, SPLITTING_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, graphs)


def probes(prior: str, cutoff: float, masses: tuple[float, ...]) -> list[Graph]:
    """Random structures that a model is traced and proved on: waters where bonds are known, else a solid.

    ``cutoff`` in Å, ``masses`` of the species in u.
    """
    make = water_graph if prior == "bonded" else solid_graph
    return [make(n, cutoff, n, masses) for n in (3, 5, 4)]
