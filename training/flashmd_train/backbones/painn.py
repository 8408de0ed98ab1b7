"""PaiNN (Schütt, Unke, Gastegger, ICML 2021): equivariant messages of scalars and vectors, with velocities as vectors.

It has no notion of molecules: bonds are learned from the edges like everything else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.backbone import Prior
from flashmd_train.backbones.layers import Swish
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph


def bessel(distances: Tensor, cutoff: float, count: int) -> Tensor:
    """√(2/r_c) sin(nπd/r_c)/d, n = 1…count (Gasteiger et al., ICLR 2020): [N, K, 1] to [N, K, count]."""
    frequencies = torch.arange(1, count + 1, device=distances.device, dtype=distances.dtype) * (math.pi / cutoff)
    return math.sqrt(2 / cutoff) * torch.sin(frequencies * distances) / distances


class Message(nn.Module):
    """Messages of the neighbours: scalars [N, F] and vectors [N, 3, F], both summed over the edges."""

    def __init__(self, features: int, radial: int) -> None:
        super().__init__()
        self.content = nn.Sequential(nn.Linear(features, features), Swish(), nn.Linear(features, 3 * features))
        self.filter = nn.Linear(radial, 3 * features)

    def forward(
        self, s: Tensor, v: Tensor, basis: Tensor, envelope: Tensor, unit: Tensor, j: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What is added to s and v; basis [N, K, R], envelope [N, K, 1], unit [N, K, 3], neighbours j [N, K]."""
        weight = (basis @ self.filter.weight.T + self.filter.bias) * envelope
        scalar, along, carried = (gather_rows(self.content(s), j) * weight).chunk(3, -1)
        theirs = gather_rows(v, j)
        vectors = (theirs * carried[:, :, None]).sum(1) + unit.transpose(1, 2) @ along
        return scalar.sum(1), vectors


class Update(nn.Module):
    """Scalars and vectors of one atom, mixed."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.left = nn.Linear(features, features, bias=False)
        self.right = nn.Linear(features, features, bias=False)
        self.gates = nn.Sequential(nn.Linear(2 * features, features), Swish(), nn.Linear(features, 3 * features))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to s [N, F] and v [N, 3, F]."""
        left, right = self.left(v), self.right(v)
        a, b, c = self.gates(torch.cat([s, norm(right, 1).squeeze(1)], -1)).chunk(3, -1)
        return a + b * (left * right).sum(1), c[:, None] * left


class PaiNN(nn.Module):
    """Legendre coefficients of the slow force, features and last vectors from ``layers`` layers of message passing.

    Args:
        species: number of species.
        cutoff: Å.
        orders: Legendre coefficients.
        features: length F of scalars and vectors.
        layers: of message passing.
        radial: number of Bessel functions.
        width: of the cutoff's flank, Å.
        velocity_scale: typical velocity of the lightest atom, √(eV/u).
        force_scale: typical force, eV/Å.
    """

    equivariant = True
    looks_ahead = False

    def __init__(
        self,
        species: int,
        cutoff: float,
        orders: int = 5,
        features: int = 32,
        layers: int = 2,
        radial: int = 16,
        width: float = 1.0,
        velocity_scale: float = 0.15,
        force_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.reach = layers
        self.cutoff, self.width, self.radial, self.orders = cutoff, width, radial, orders
        self.features = self.last_features = features
        self.velocity_scale, self.force_scale = velocity_scale, force_scale
        self.scalars = nn.Embedding(species, features)
        self.vectors = nn.Embedding(species, features)
        self.messages = nn.ModuleList(Message(features, radial) for _ in range(layers))
        self.updates = nn.ModuleList(Update(features) for _ in range(layers))
        self.gates = nn.Sequential(nn.Linear(features, features), Swish())
        self.coefficients = nn.Linear(features, features * orders)
        self.mix = nn.Linear(features, features, bias=False)

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3] in eV/Å, features [N, F], and the vectors that they weigh [N, 3, F]."""
        species = graph.species.long()
        velocity = graph.momenta / graph.masses.sqrt()[:, None] / self.velocity_scale
        s, v = self.scalars(species), velocity[:, :, None] * self.vectors(species)[:, None]
        d = norm(graph.edge_vectors)
        unit, basis = graph.edge_vectors / d, bessel(d, self.cutoff, self.radial)
        counts = graph.mask & ~prior.intra_mask(bound)
        envelope = torch.where(counts[..., None], cosine_cutoff(d, self.cutoff, self.width), 0.0)
        for message, update in zip(self.messages, self.updates):
            ds, dv = message(s, v, basis, envelope, unit, graph.neighbors)
            s, v = s + ds, v + dv
            ds, dv = update(s, v)
            s, v = s + ds, v + dv
        h = self.gates(s)
        weights = self.coefficients(h).unflatten(-1, (self.features, self.orders))
        last = self.mix(v)
        return self.force_scale * (last @ weights).transpose(1, 2) / self.features**0.5, h, last
