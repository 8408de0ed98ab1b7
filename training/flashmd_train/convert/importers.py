"""One importer per architecture: build our module, prove it against metatrain, export it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ase
import onnx
import torch

from flashmd_train.backbones.pet import PETConfig
from flashmd_train.convert.checkpoint import (
    ANGSTROM,
    ELECTRONVOLT,
    MOMENTUM,
    Source,
    check_unit,
    target,
)
from flashmd_train.convert.errors import ConversionError
from flashmd_train.convert.proof import prove_action, prove_direct, prove_energy
from flashmd_train.convert.weights import constants, load_weights, network_config, scales
from flashmd_train.export.contract import DIRECT_INPUTS, ENERGY_INPUTS, ENERGY_OUTPUTS
from flashmd_train.export.onnx_graph import export_forward, export_gradients
from flashmd_train.graph.nef import Graph
from flashmd_train.graph.structures import graph_of, random_structure
from flashmd_train.models.pet import PETAction, PETEnergy, PETStride

MOVES = ["position", "momentum"]
DIRECT_OUTPUTS = ("displacement", "momenta_out")
PAIR_INPUTS = (*ENERGY_INPUTS, "reverse")
# The runtime does not read the action itself.
ACTION_OUTPUTS = ("action", "edge_gradient", "momentum_gradient")
# Spacing of the lattices on which exports are proved, Å.
SPACING_A = 2.2


@dataclass
class Imported:
    """An exported model.

    Attributes:
        kind: of the contract.
        targets: of the checkpoint that are in it.
        config: of the network.
        graph: the ONNX graph.
        stride_fs: of kinds that move atoms, fs.
        masses_u: of the species, of kinds that move atoms, u.
        onnx_parity: ONNX Runtime against our module, of the largest value.
        metatrain_parity: our module against metatrain's, of the largest value, by name.
    """

    kind: str
    targets: list[str]
    config: PETConfig
    graph: onnx.ModelProto
    onnx_parity: float
    metatrain_parity: dict[str, float]
    stride_fs: float | None = None
    masses_u: list[float] | None = None


def import_flashmd(source: Source) -> Imported:
    """``experimental.flashmd`` as kind ``direct``."""
    _check_targets(source)
    stride_fs, masses = _stride(source)
    config = network_config(source, "cosine", sees_momenta=True)
    module = PETStride(config, source.hypers["predict_momenta_as_difference"])
    load_weights(source, module.pet, MOVES)
    module.position_unit.copy_(scales(source, "position"))
    module.momentum_unit.copy_(scales(source, "momentum"))
    graphs, structure = _examples(source, config, masses)
    proof = prove_direct(source, module, structure)
    graph, error = export_forward(module, DIRECT_INPUTS, DIRECT_OUTPUTS, graphs)
    return Imported("direct", MOVES, config, graph, error, proof, stride_fs, masses)


def import_pet(source: Source) -> Imported:
    """``pet`` with one energy as kind ``energy``, with the gradient by the edges."""
    name = _energy_target(source)
    check_unit(source, "its energies", target(source, name).unit, ELECTRONVOLT, "eV")
    h = source.hypers
    config = network_config(source, h["cutoff_function"].lower(), sees_momenta=False)
    config.adaptive_neighbors = h["num_neighbors_adaptive"]
    config.adaptive_method = h["adaptive_cutoff_method"].lower()
    config.adaptive_width_A = float(h["cutoff_width_adaptive"])
    module = PETEnergy(config)
    load_weights(source, module.pet, [name])
    module.scale.copy_(scales(source, name))
    module.constant.copy_(constants(source, name))
    graphs, structure = _examples(source, config, [1.0] * config.species)
    proof = prove_energy(source, name, module, structure)
    graph, error = export_gradients(module, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, graphs)
    return Imported("energy", [name], config, graph, error, proof)


def import_symplectic(source: Source) -> Imported:
    """``experimental.flashmd_symplectic`` as kind ``action``, with the gradients by edges and momenta."""
    _check_targets(source)
    stride_fs, masses = _stride(source)
    config = network_config(source, "bump", sees_momenta=True)
    module = PETAction(config)
    load_weights(source, module.pet, ["mtt::S3"])
    module.scale.copy_(_common_scale(source))
    graphs, structure = _examples(source, config, masses)
    proof = prove_action(source, module, structure)
    by = ("edge_vectors", "momenta")
    graph, error = export_gradients(module, DIRECT_INPUTS, by, ACTION_OUTPUTS, graphs)
    return Imported("action", MOVES, config, graph, error, proof, stride_fs, masses)


IMPORTERS: dict[str, Callable[[Source], Imported]] = {
    "experimental.flashmd": import_flashmd,
    "experimental.flashmd_symplectic": import_symplectic,
    "pet": import_pet,
}


def _check_targets(source: Source) -> None:
    check_unit(source, "its positions", target(source, "position").unit, ANGSTROM, "A")
    check_unit(source, "its momenta", target(source, "momentum").unit, MOMENTUM, "(eV*u)^(1/2)")


def _stride(source: Source) -> tuple[float, list[float]]:
    """Time step, fs, and mass of each species, u."""
    stride_fs = float(source.model.timestep)
    masses = [float(source.model.masses[z]) for z in source.model.atomic_types]
    if not all(x > 0 for x in [stride_fs, *masses]):
        raise ConversionError(
            f"{source.path} does not say its time step and masses (got {stride_fs} fs and {masses} u); it comes from "
            "before `mtt train` wanted them. Restart its training for an epoch with timestep and masses in the options"
        )
    return stride_fs, masses


def _energy_target(source: Source) -> str:
    found = [
        name
        for name, info in source.targets.items()
        if info.quantity == "energy" and info.is_scalar and len(info.layout.block().properties) == 1
    ]
    if "energy" in found:
        return "energy"
    if len(found) != 1:
        raise ConversionError(
            f"{source.path} predicts {', '.join(sorted(source.targets))}; the import wants a target 'energy', or one "
            "alone that is an energy"
        )
    return found[0]


def _common_scale(source: Source) -> torch.Tensor:
    every = torch.cat([scales(source, "position"), scales(source, "momentum")])
    if not torch.allclose(every, every[0].expand_as(every)):
        raise ConversionError(
            f"{source.path} scales positions by {every[: len(every) // 2].tolist()} and momenta by "
            f"{every[len(every) // 2 :].tolist()}; only with one common scale are both derivatives of one action. "
            "Train with scale_targets: false, or with the same fixed_scaling_weights for both"
        )
    return every[0]


def _examples(source: Source, config: PETConfig, masses: list[float]) -> tuple[list[Graph], ase.Atoms]:
    """Graphs of several N and K to prove the export on, and the structure to compare with metatrain on."""
    structures = [
        random_structure(source.symbols, masses, atoms, spacing, seed)
        for seed, (atoms, spacing) in enumerate([(8, 0.7 * config.cutoff_A), (64, SPACING_A), (27, SPACING_A)])
    ]
    return [graph_of(s, source.symbols, config.cutoff_A) for s in structures], structures[1]
