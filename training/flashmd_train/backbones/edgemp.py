"""EdgeMP: a small message-passing network without symmetry constraints (Cartesian components in and out).

m_i = W₂ Σ_j f_c(r_ij) SiLU(A h_i + B h_j + C e_ij): the only product per edge is with C, and W₂ acts after the sum.
Rotational symmetry is learned from augmented data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.backbone import Prior
from flashmd_train.backbones.painn import bessel
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph


class EdgeMP(nn.Module):
    """Legendre coefficients of the slow force and features from ``layers`` layers of message passing.

    Args:
        species: number of species.
        cutoff: Å.
        orders: Legendre coefficients.
        features: length F of an atom's features.
        layers: of message passing.
        radial: number of Bessel functions.
        width: of the cutoff's flank, Å.
        velocity_scale: typical velocity of the lightest atom, √(eV/u).
    """

    equivariant = False
    looks_ahead = False

    def __init__(
        self,
        species: int,
        cutoff: float,
        orders: int = 5,
        features: int = 64,
        layers: int = 2,
        radial: int = 8,
        width: float = 1.0,
        velocity_scale: float = 0.15,
    ) -> None:
        super().__init__()
        self.reach = layers
        self.species, self.cutoff, self.width = species, cutoff, width
        self.orders, self.radial, self.velocity_scale = orders, radial, velocity_scale
        self.features = self.last_features = features
        self.embed = nn.Linear(species + 3 + 12, features)
        self.center = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.neighbor = nn.ModuleList(nn.Linear(features, features, bias=False) for _ in range(layers))
        self.edge = nn.ModuleList(nn.Linear(4 * radial + 3, features, bias=False) for _ in range(layers))
        self.update = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, features))
            for _ in range(layers)
        )
        self.head = nn.Linear(features, 3 * orders)
        # The slow force starts at zero: a random one would be hundreds of eV/Å.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3] in eV/Å, features [N, F], and these as the last layer takes them [N, 1, F]."""
        one_hot = nn.functional.one_hot(graph.species.long(), self.species).to(graph.momenta.dtype)
        velocity = graph.momenta / graph.masses.sqrt()[:, None] / self.velocity_scale
        partners = prior.partner_vectors(bound, velocity).flatten(1)
        h = self.embed(torch.cat([one_hot, velocity, partners], -1))
        d = norm(graph.edge_vectors)
        fc = cosine_cutoff(d, self.cutoff, self.width)
        intra = prior.intra_mask(bound)
        fc = torch.where((graph.mask & ~intra)[..., None], fc, 0.0)
        relative = gather_rows(velocity, graph.neighbors) - velocity[:, None]
        basis = bessel(d, self.cutoff, self.radial)
        towards = ((graph.edge_vectors / d)[..., None] * basis[:, :, None]).flatten(2)
        edge = torch.cat([basis, towards, relative], -1)
        for center, neighbor, of_edge, update in zip(self.center, self.neighbor, self.edge, self.update):
            message = center(h)[:, None] + gather_rows(neighbor(h), graph.neighbors) + of_edge(edge)
            total = (nn.functional.silu(message) * fc).sum(1)
            h = h + update(torch.cat([h, total], -1))
        return self.head(h).unflatten(-1, (self.orders, 3)), h, h[:, None]
