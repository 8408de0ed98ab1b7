"""EdgeMP: a thin, unconstrained edge network (Cartesian components in, Cartesian components out).

m_i = W₂ Σ_j f_c(r_ij) act(A h_i + B h_j + C e_ij): one thin matrix product per edge, W₂ after the sum.
Rotational symmetry is learned from augmentation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.painn import bessel
from flashmd_train.graph import Graph, cosine_cutoff, gather_rows, norm


class EdgeMP(nn.Module):
    """Slow-force modes and features from rounds of edge messages."""

    equivariant = False
    looks_ahead = False

    def __init__(
        self,
        species: int,
        cutoff: float,
        modes: int = 5,
        features: int = 64,
        layers: int = 2,
        radial: int = 8,
        width: float = 1.0,
        velocity_scale: float = 0.15,
    ) -> None:
        super().__init__()
        self.species, self.cutoff, self.width = species, cutoff, width
        self.modes, self.radial, self.velocity_scale = modes, radial, velocity_scale
        self.features = self.last_features = features
        self.embed = nn.Linear(species + 3 + 12, features)
        self.center = nn.ModuleList(nn.Linear(features, features) for _ in range(layers))
        self.neighbor = nn.ModuleList(nn.Linear(features, features, bias=False) for _ in range(layers))
        self.edge = nn.ModuleList(nn.Linear(4 * radial + 3, features, bias=False) for _ in range(layers))
        self.update = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, features))
            for _ in range(layers)
        )
        self.head = nn.Linear(features, 3 * modes)
        # Without slow forces to begin with: a random start would be hundreds of eV/Å away.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, graph: Graph, prior: nn.Module, bound: object) -> tuple[Tensor, Tensor, Tensor]:
        """Slow-force modes [N, P, 3] in eV/Å, features [N, F], and these [N, 1, F] as what the last layer takes."""
        one_hot = nn.functional.one_hot(graph.species.long(), self.species).to(graph.momenta.dtype)
        velocity = graph.momenta / graph.masses.sqrt()[:, None] / self.velocity_scale
        partners = prior.partner_vectors(graph, bound, velocity).flatten(1)
        h = self.embed(torch.cat([one_hot, velocity, partners], -1))
        d = norm(graph.edge_vectors)
        fc = cosine_cutoff(d, self.cutoff, self.width)
        intra = prior.intra_mask(graph, bound)
        fc = torch.where((graph.mask & ~intra)[..., None], fc, 0.0)
        relative = gather_rows(velocity, graph.neighbors) - velocity[:, None]
        basis = bessel(d, self.cutoff, self.radial)
        towards = ((graph.edge_vectors / d)[..., None] * basis[:, :, None]).flatten(2)
        edge = torch.cat([basis, towards, relative], -1)
        for center, neighbor, of_edge, update in zip(self.center, self.neighbor, self.edge, self.update):
            message = center(h)[:, None] + gather_rows(neighbor(h), graph.neighbors) + of_edge(edge)
            total = (nn.functional.silu(message) * fc).sum(1)
            h = h + update(torch.cat([h, total], -1))
        return self.head(h).unflatten(-1, (self.modes, 3)), h, h[:, None]
