"""What the outputs of PET mean: a stride, an energy, an action. Inputs and outputs are those of the model contract.

Action models (arXiv 2508.01068) give S(q̄, p̄) at the midpoint of a stride, whose derivatives are the stride:

=====  =======================================  ===============
q̄, p̄   midpoint, (q + q')/2 and (p + p')/2      Å, √(eV·u)
Δq     q' − q = ∂S/∂p̄                           Å
Δp     p' − p = −∂S/∂q̄                          √(eV·u)
S      sum over atoms of the network's scalar   Å·√(eV·u)
=====  =======================================  ===============

The runtime solves these implicit equations by fixed-point iterations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.pet import PET, PETConfig
from flashmd_train.graph.nef import Graph


class PETStride(nn.Module):
    """Direct model: the network gives q' − q and p' (or p' − p), each in one unit per species.

    Args:
        config: of the network.
        momenta_as_difference: if the second output is p' − p.
    """

    def __init__(self, config: PETConfig, momenta_as_difference: bool) -> None:
        super().__init__()
        self.pet = PET(config, [3, 3])
        self.momenta_as_difference = momenta_as_difference
        self.register_buffer("position_unit", torch.ones(config.species))  # Å
        self.register_buffer("momentum_unit", torch.ones(config.species))  # √(eV·u)

    def forward(
        self,
        species: Tensor,
        momenta: Tensor,
        masses: Tensor,
        edge_vectors: Tensor,
        mask: Tensor,
        neighbors: Tensor,
        reverse: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``displacement`` [N,3] (Å·√u) and ``momenta_out`` [N,3] (√eV)."""
        root = masses.sqrt()[:, None]
        graph = Graph(species, momenta * root, masses, edge_vectors, mask, neighbors, reverse)
        displacement, change = self.pet(graph)
        momenta_out = change * self.momentum_unit[species.long()][:, None] / root
        if self.momenta_as_difference:
            momenta_out = momenta + momenta_out
        return root * displacement * self.position_unit[species.long()][:, None], momenta_out


class PETEnergy(nn.Module):
    """Energy model: one scalar per atom, scaled, plus a constant per species."""

    def __init__(self, config: PETConfig) -> None:
        super().__init__()
        self.pet = PET(config, [1])
        self.register_buffer("scale", torch.ones(config.species))  # eV
        self.register_buffer("constant", torch.zeros(config.species))  # eV

    def forward(
        self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor, reverse: Tensor
    ) -> Tensor:
        """``energy`` [N], eV."""
        unused = edge_vectors.detach()[:, 0]
        (energy,) = self.pet(Graph(species, unused, unused[:, 0], edge_vectors, mask, neighbors, reverse))
        kinds = species.long()
        return energy.squeeze(-1) * self.scale[kinds] + self.constant[kinds]


class PETAction(nn.Module):
    """Action model: each atom's share of S(q̄, p̄); see the equations above."""

    def __init__(self, config: PETConfig) -> None:
        super().__init__()
        self.pet = PET(config, [1])
        self.register_buffer("scale", torch.ones(()))  # Å·√(eV·u)

    def forward(
        self,
        species: Tensor,
        momenta: Tensor,
        masses: Tensor,
        edge_vectors: Tensor,
        mask: Tensor,
        neighbors: Tensor,
        reverse: Tensor,
    ) -> Tensor:
        """Each atom's share of S [N], Å·√(eV·u); ``momenta`` are p̄/√m."""
        raw = momenta * masses.sqrt()[:, None]
        (action,) = self.pet(Graph(species, raw, masses, edge_vectors, mask, neighbors, reverse))
        return action.squeeze(-1) * self.scale
