"""Energy models by the name of their backbone, what they offer to training and export, and their forces."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energy import Energy
from flashmd_train.models.pet import PETEnergy

ENERGIES: dict[str, type[Energy | PETEnergy]] = {"moments": Energy, "pet": PETEnergy}


class EnergyModel(Protocol):
    """An energy model, a module.

    Attributes:
        equivariant: if energies do not change where everything turns, whatever the weights.
        baseline: energy of an atom of each species beside its surroundings' [H, S], eV.
        share: share of each of its H scalars of the energy.
    """

    equivariant: bool
    baseline: Tensor
    share: Tensor

    @property
    def config(self) -> EnergyConfig:
        """Its settings."""

    def per_atom(self, graph: Graph) -> Tensor:
        """Energies of the atoms of a graph [N], eV."""


def build_energy(config: EnergyConfig) -> Energy | PETEnergy:
    """An energy model with random weights.

    Raises:
        ValueError: options that its backbone does not have, or species that its prior does not know.
    """
    return ENERGIES[config.backbone](config)


def energy_and_forces(model: EnergyModel, graph: Graph, positions: Tensor, train: bool) -> tuple[Tensor, Tensor]:
    """Energies of the atoms [N] (eV) and forces −∂ΣE/∂q [N, 3] (eV/Å).

    Args:
        model: evaluated.
        graph: at ``positions``.
        positions: [N, 3] Å.
        train: if the forces shall be differentiated again.
    """
    positions = positions.detach().requires_grad_(True)
    own, theirs = positions[:, None], gather_rows(positions, graph.neighbors)
    shift = graph.edge_vectors - (theirs - own).detach()
    energy = model.per_atom(graph._replace(edge_vectors=theirs - own + shift))
    (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=train)
    return energy, -gradient
