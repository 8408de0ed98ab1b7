"""Scalars of PET: an energy, an action. Inputs and outputs are those of the model contract.

Action models (arXiv 2508.01068) give S(q̄, p̄) at the midpoint of a stride, whose derivatives are the stride:

=====  =======================================  ===============
q̄, p̄   midpoint, (q + q')/2 and (p + p')/2      Å, √(eV·u)
Δq     q' − q = ∂S/∂p̄                           Å
Δp     p' − p = −∂S/∂q̄                          √(eV·u)
S      sum over atoms of the network's scalar   Å·√(eV·u)
=====  =======================================  ===============

They are trained where both ends of a stride, and so its midpoint, are known. The runtime solves these implicit
equations by fixed-point iterations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.pet import PET
from flashmd_train.backbones.pet_sizes import pet_config
from flashmd_train.graph.nef import Graph, displaced
from flashmd_train.models.config import ActionConfig, EnergyConfig
from flashmd_train.models.stride import Prediction

# Both scalars are differentiated twice in training, which a cutoff function with a corner would not allow.
SMOOTH = {"cutoff_function": "bump"}


class PETEnergy(nn.Module):
    """Energy model: one scalar per atom, scaled, plus a constant per species.

    Args:
        config: everything that fixes the model.

    Attributes:
        scale: of the network's scalar by species [S], eV; set before training.
        baseline: energy of an atom of each species beside its surroundings' [1, S], eV; it follows the data in
            training.
        share: the scalar's share of the energy [1], one.

    Raises:
        ValueError: the options are not PET's.
    """

    equivariant = False

    def __init__(self, config: EnergyConfig) -> None:
        super().__init__()
        self.config = config
        kinds = len(config.species)
        self.pet = PET(pet_config(kinds, config.cutoff_A, SMOOTH | config.options, sees_momenta=False), [1])
        self.register_buffer("scale", torch.ones(kinds))
        self.register_buffer("baseline", torch.zeros(1, kinds))
        self.register_buffer("share", torch.ones(1), persistent=False)

    @property
    def receptive_field_A(self) -> float:
        """Distance beyond which no atom changes an atom's energy, Å."""
        return self.pet.config.receptive_field_A

    def forward(
        self, species: Tensor, edge_vectors: Tensor, mask: Tensor, neighbors: Tensor, reverse: Tensor
    ) -> Tensor:
        """``energy`` [N], eV."""
        unused = edge_vectors.detach()[:, 0]
        (energy,) = self.pet(Graph(species, unused, unused[:, 0], edge_vectors, mask, neighbors, reverse))
        kinds = species.long()
        return energy.squeeze(-1) * self.scale[kinds] + self.baseline[0, kinds]

    def per_atom(self, graph: Graph) -> Tensor:
        """Energies of the atoms of a graph [N], eV."""
        return self(graph.species, graph.edge_vectors, graph.mask, graph.neighbors, graph.reverse)


class PETAction(nn.Module):
    """Action model: each atom's share of S(q̄, p̄); see the equations above.

    Args:
        config: everything that fixes the model.

    Attributes:
        scale: of the network's scalar, Å·√(eV·u); set before training.

    Raises:
        ValueError: the options are not PET's.
    """

    def __init__(self, config: ActionConfig) -> None:
        super().__init__()
        self.config = config
        self.pet = PET(pet_config(len(config.species), config.cutoff_A, SMOOTH | config.options), [1])
        # Only derivatives of S matter: constants of atoms have none, and would wait for gradients for ever.
        for head in self.pet.outputs[0]:
            head.node[-1].bias.requires_grad_(False)
        self.register_buffer("scale", torch.ones(()))

    @property
    def receptive_field_A(self) -> float:
        """Distance beyond which no atom changes an atom's share, Å."""
        return self.pet.config.receptive_field_A

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

    def predict(self, graph: Graph) -> Prediction:
        """The stride whose midpoint ``graph`` is: √m Δq [N, 3], and p'/√m = (p̄ + Δp/2)/√m [N, 3]."""
        train = torch.is_grad_enabled() and self.training
        root = graph.masses.sqrt()[:, None]
        with torch.enable_grad():
            u = torch.zeros_like(graph.momenta).requires_grad_(True)
            p = graph.momenta.detach().requires_grad_(True)
            total = self(*displaced(graph, u * root, p)[:7]).sum()
            by_position, by_momentum = torch.autograd.grad(total, (u, p), create_graph=train)
        return Prediction(by_momentum, graph.momenta - 0.5 * by_position / root)


class Solved:
    """The strides of an action model from where they start, by fixed-point iterations as in the runtime.

    Args:
        model: whose equations are solved.
    """

    # As many as the runtime allows, and its tolerance, of the largest displacement.
    ITERATIONS, TOLERANCE = 50, 1e-6

    def __init__(self, model: PETAction) -> None:
        self.model, self.config = model, model.config

    @torch.no_grad()
    def predict(self, graph: Graph) -> Prediction:
        """One stride; where the iterations do not settle, as far as they got."""
        stride = Prediction(torch.zeros_like(graph.momenta), graph.momenta)
        for _ in range(self.ITERATIONS):
            middle = displaced(graph, 0.5 * stride.displacement, 0.5 * (graph.momenta + stride.momenta))
            before, stride = stride, self.model.predict(middle)
            # The midpoint's momentum was a guess; its change counts from the start.
            change = 2 * (stride.momenta - middle.momenta)
            stride = Prediction(stride.displacement, graph.momenta + change)
            moved = (stride.displacement - before.displacement).abs().max()
            if moved <= self.TOLERANCE * stride.displacement.abs().max():
                break
        return stride
