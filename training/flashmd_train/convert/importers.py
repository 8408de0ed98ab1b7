"""One importer per architecture: build our module, prove it against metatrain, export it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ase
import onnx

from flashmd_train.convert.checkpoint import Source
from flashmd_train.convert.modules import MOVES, build_flashmd, build_pet, build_symplectic, energy_target, masses
from flashmd_train.convert.proof import prove_action, prove_direct, prove_energy
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.structures import graph_of, random_structure
from flashmd_train.model_files.contract import ACTION_OUTPUTS, DIRECT_INPUTS, ENERGY_OUTPUTS, PAIR_INPUTS
from flashmd_train.model_files.onnx_graph import export_forward, export_gradients
from flashmd_train.models.config import ActionConfig, DirectConfig, EnergyConfig

# Spacing of the lattices on which exports are proved, Å.
SPACING_A = 2.2


@dataclass
class Imported:
    """An exported model.

    Attributes:
        kind: of the contract.
        targets: of the checkpoint that are in it.
        config: everything that fixes the model.
        receptive_field_A: Å.
        graph: the ONNX graph.
        masses_u: of the species, of kinds that move atoms, u.
        onnx_parity: ONNX Runtime against our module, of the largest value.
        metatrain_parity: our module against metatrain's, of the largest value, by name.
    """

    kind: str
    targets: list[str]
    config: DirectConfig | EnergyConfig | ActionConfig
    receptive_field_A: float
    graph: onnx.ModelProto
    masses_u: list[float] | None
    onnx_parity: float
    metatrain_parity: dict[str, float]


def import_flashmd(source: Source) -> Imported:
    """``experimental.flashmd`` as kind ``direct``."""
    module, u = build_flashmd(source), masses(source)
    graphs, structure = _examples(source, module.config.cutoff_A, u)
    proof = prove_direct(source, module, structure)
    graph, error = export_forward(module, DIRECT_INPUTS, module.outputs, graphs)
    field = module.backbone.reach * module.config.cutoff_A
    return Imported("direct", MOVES, module.config, field, graph, u, error, proof)


def import_pet(source: Source) -> Imported:
    """``pet`` with one energy as kind ``energy``, with the gradient by the edges."""
    module, name = build_pet(source), energy_target(source)
    graphs, structure = _examples(source, module.config.cutoff_A, [1.0] * len(source.symbols))
    proof = prove_energy(source, name, module, structure)
    graph, error = export_gradients(module, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, graphs)
    return Imported("energy", [name], module.config, module.receptive_field_A, graph, None, error, proof)


def import_symplectic(source: Source) -> Imported:
    """``experimental.flashmd_symplectic`` as kind ``action``, with the gradients by edges and momenta."""
    module, u = build_symplectic(source), masses(source)
    graphs, structure = _examples(source, module.config.cutoff_A, u)
    proof = prove_action(source, module, structure)
    graph, error = export_gradients(module, DIRECT_INPUTS, ("edge_vectors", "momenta"), ACTION_OUTPUTS, graphs)
    return Imported("action", MOVES, module.config, module.receptive_field_A, graph, u, error, proof)


IMPORTERS: dict[str, Callable[[Source], Imported]] = {
    "experimental.flashmd": import_flashmd,
    "experimental.flashmd_symplectic": import_symplectic,
    "pet": import_pet,
}


def _examples(source: Source, cutoff_A: float, masses_u: list[float]) -> tuple[list[Graph], ase.Atoms]:
    """Graphs of several N and K to prove the export on, and the structure to compare with metatrain on."""
    structures = [
        random_structure(source.symbols, masses_u, atoms, spacing, seed)
        for seed, (atoms, spacing) in enumerate([(8, 0.7 * cutoff_A), (64, SPACING_A), (27, SPACING_A)])
    ]
    return [graph_of(s, source.symbols, cutoff_A) for s in structures], structures[1]
