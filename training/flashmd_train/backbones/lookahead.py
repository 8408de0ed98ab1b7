"""LookaheadNet: a light O(3)-equivariant network that evaluates the geometry inside the stride.

The first stage computes pair fields from the edges at the start of the stride and proposes a slow force. The prior
moves the atoms under it to a few instants inside the stride, and the second stage computes the pair fields again from
the edges there, as a multi-stage Runge–Kutta method does. Together with one layer of message passing these give a
correction. Every pair field is one sum over neighbours of radial functions times vectors, a batched matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.backbone import Prior
from flashmd_train.backbones.pair_field import BySpecies, EdgeBasis, PairField, channels, species_edges
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_edges, slots_last
from flashmd_train.graph.nef import Graph

# Width of the invariant layers, and of the features that heads may read.
HIDDEN = 64
# Vectors of a prior's partners: two bonds and their velocities.
PARTNER_VECTORS = 4
# Legendre coefficients of the first stage.
FIRST_ORDERS = 3


class VectorMessages(nn.Module):
    """One layer of message passing: Σ_j g_a(r_ij) {V_j, r̂(r̂·V_j)}, [N, 3, channels].

    The V_j are a few learned vectors per atom (its dipole, the field on it, and their rates). In a polar liquid this
    layer nearly halves the force error that a cutoff leaves, at the cost of one pair field.

    Args:
        species: number of species.
        fan_in: vectors per atom of which the V_j are made.
        vectors: how many V_j.
        radial: number of radial functions g_a.
    """

    def __init__(self, species: int, fan_in: int, vectors: int, radial: int) -> None:
        super().__init__()
        self.vectors = BySpecies(species, fan_in, vectors)
        self.channels = 2 * vectors * radial

    def forward(self, edges: EdgeBasis, field: Tensor, one_hot: Tensor, neighbors: Tensor) -> Tensor:
        """field [N, 3, fan_in] at the start of the stride; one_hot [N, S]; neighbors [N, K]."""
        vectors = self.vectors(field, one_hot).transpose(1, 2).flatten(1)
        theirs = (gather_edges(vectors, neighbors) * edges.envelope).unflatten(1, (-1, 3))
        along = (theirs * edges.unit[:, None]).sum(2, keepdim=True) * edges.unit[:, None]
        radial = edges.radial.transpose(1, 2)
        return channels(torch.cat([torch.bmm(part.flatten(1, 2), radial) for part in (theirs, along)], 1))


class GatedReadout(nn.Module):
    """Vectors to Legendre coefficients of the slow force: a linear map plus vectors gated by invariants.

    Args:
        species: number of species.
        fan_in: channels C of the fields.
        extra: further vectors E per atom.
        hidden: vectors that the fields are reduced to before they are gated.
        orders: Legendre coefficients P.
    """

    def __init__(self, species: int, fan_in: int, extra: int, hidden: int, orders: int) -> None:
        super().__init__()
        self.orders, self.hidden = orders, hidden
        self.linear = BySpecies(species, fan_in, orders, scale=0.01)
        self.down = BySpecies(species, fan_in, hidden, scale=0.2)
        vectors = hidden + extra
        self.invariants = nn.Sequential(
            nn.Linear(vectors + hidden * extra + species, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.gates = nn.Linear(HIDDEN, orders * vectors)
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)

    def forward(self, field: Tensor, extra: Tensor, one_hot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3], invariants [N, 64] and the vectors that they gate [N, 3, V].

        From field [N, 3, C], extra vectors [N, 3, E] and one_hot [N, S].
        """
        down = self.down(field, one_hot)
        vectors = torch.cat([down, extra], -1)
        squares = (vectors * vectors).sum(1)
        dots = (down.transpose(1, 2) @ extra).flatten(1)
        h = self.invariants(torch.cat([squares, dots, one_hot], -1))
        gates = self.gates(h).unflatten(-1, (vectors.shape[-1], self.orders))
        return (self.linear(field, one_hot) + vectors @ gates).transpose(1, 2), h, vectors


class LookaheadNet(nn.Module):
    """Legendre coefficients of the slow force from two stages of pair fields; see the module docstring.

    Args:
        species: number of species.
        cutoff: Å.
        orders: Legendre coefficients after the second stage; the first predicts 3.
        nodes: instants at which the second stage evaluates the edges, as fractions of the stride.
        radial: number of radial functions.
        hidden: gated vectors of the first stage; the second has twice as many.
        width: of the cutoff's flank, Å.
        message_vectors: vectors per atom that are passed to the neighbours.
        velocity_scale: typical velocity of the lightest atom, √(eV/u).
    """

    equivariant = True
    reach = 2
    looks_ahead = True
    features = HIDDEN

    def __init__(
        self,
        species: int,
        cutoff: float,
        orders: int = 5,
        nodes: tuple[float, ...] = (0.375, 0.75),
        radial: int = 12,
        hidden: int = 16,
        width: float = 1.0,
        message_vectors: int = 6,
        velocity_scale: float = 0.15,
    ) -> None:
        super().__init__()
        self.species, self.cutoff, self.width, self.nodes = species, cutoff, width, nodes
        self.orders, self.velocity_scale = orders, velocity_scale
        self.field = PairField(species, cutoff, radial, width)
        self.first = GatedReadout(species, self.field.channels, PARTNER_VECTORS, hidden, FIRST_ORDERS)
        self.messages = VectorMessages(species, self.field.channels + PARTNER_VECTORS, message_vectors, radial)
        fan_in = (1 + len(nodes)) * self.field.channels + self.messages.channels
        self.last = GatedReadout(species, fan_in, PARTNER_VECTORS, 2 * hidden, orders)
        self.last_features = 2 * hidden + PARTNER_VECTORS

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3] in eV/Å, invariants of the last readout [N, 64], the vectors they gate [N, 3, V]."""
        one_hot, extra, start, second_stage = self.stages(graph, prior, bound)
        proposed, *_ = self.first(start, extra, one_hot)
        correction, features, vectors = self.last(second_stage(proposed), extra, one_hot)
        missing = self.orders - proposed.shape[1]
        return correction + nn.functional.pad(proposed, (0, 0, 0, missing)), features, vectors

    def stages(
        self, graph: Graph, prior: Prior, bound: Any
    ) -> tuple[Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Inputs of both stages.

        Returns:
            One-hot species [N, S], partner vectors [N, 3, E], the field at the start [N, 3, C], and a function of the
            first stage's coefficients [N, P, 3] that returns the second stage's fields, side by side [N, 3, C'].
        """
        one_hot = nn.functional.one_hot(graph.species.long(), self.species).to(graph.momenta.dtype)
        neighbor_species = species_edges(graph.species, graph.neighbors, self.species).to(one_hot.dtype)
        edges = slots_last(graph.edge_vectors)
        weight = cosine_cutoff(norm(edges, 1).squeeze(1), self.cutoff, self.width)
        weight = torch.where(graph.mask & ~prior.intra_mask(bound), weight, 0.0)
        velocity = graph.momenta / graph.masses.sqrt()[:, None] / self.velocity_scale
        extra = prior.partner_vectors(bound, velocity)
        at_start = self.field.edge_basis(edges, weight)
        relative = gather_edges(velocity, graph.neighbors) - velocity[..., None]
        start = self.field(at_start, relative, neighbor_species)

        def second_stage(coefficients: Tensor) -> Tensor:
            messages = self.messages(at_start, torch.cat([start, extra], -1), one_hot, graph.neighbors)
            fields = [start, messages]
            u, v = prior.flow(graph, bound, coefficients, self.nodes)
            both = torch.cat([u, v / self.velocity_scale], -1).flatten(1)
            changes = gather_edges(both, graph.neighbors) - both[..., None]
            for change in changes.split(6, 1):
                displacement, relative = change.split(3, 1)
                inside = self.field.edge_basis(edges + displacement, weight)
                fields.append(self.field(inside, relative, neighbor_species))
            return torch.cat(fields, -1)

        return one_hot, extra, start, second_stage
