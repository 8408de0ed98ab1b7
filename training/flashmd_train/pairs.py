"""Pair forces from tables: what a hybrid model's drifts integrate beside bonds and angles, as the contract names it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashmd_train.graph import Graph, gather_rows, norm
from flashmd_train.prior import Molecules

# Where the tables begin, and how far their entries are apart at most.
FIRST_A, SPACING_A = 0.8, 0.05


class PairTables(nn.Module):
    """E(r) and dE/dr of each unordered pair of species [P, G] (eV, eV/Å) from :data:`FIRST_A` to the cutoff.

    Between two entries E is the cubic that has the energies and slopes of both; nearer than the first the force stays.
    """

    def __init__(self, kinds: int, cutoff: float) -> None:
        super().__init__()
        intervals = math.ceil((cutoff - FIRST_A) / SPACING_A)
        self.spacing = (cutoff - FIRST_A) / intervals
        first, second = torch.triu_indices(kinds, kinds)
        pair_of = torch.zeros(kinds, kinds, dtype=torch.long)
        pair_of[first, second] = pair_of[second, first] = torch.arange(len(first))
        self.register_buffer("pair_of", pair_of)
        self.register_buffer("distances", FIRST_A + self.spacing * torch.arange(intervals + 1, dtype=torch.float64))
        self.register_buffer("energies", torch.zeros(len(first), intervals + 1, dtype=torch.float64))
        self.register_buffer("slopes", torch.zeros(len(first), intervals + 1, dtype=torch.float64))

    def forward(self, graph: Graph, molecules: Molecules) -> Tensor:
        """Forces [N, 3] (eV/Å) on each atom by all that are not of its own molecule; local to a row."""
        d = norm(graph.edge_vectors).squeeze(-1)
        place = ((d - FIRST_A) / self.spacing).clamp(min=0.0)
        interval = place.detach().long().clamp(max=self.energies.shape[1] - 2)
        s = place - interval
        m, step = self.slopes, self.energies.diff(dim=1) / self.spacing
        m0, m1 = m[:, :-1], m[:, 1:]
        # d/dr of the cubic, by powers of s, as the runtime has it.
        powers = torch.stack([m0, 6 * step - 4 * m0 - 2 * m1, 3 * (m0 + m1) - 6 * step], -1).to(d.dtype)
        pair = self.pair_of[graph.species[:, None], gather_rows(graph.species, graph.neighbors)]
        c = powers.flatten(0, 1)[pair * powers.shape[1] + interval]
        reach = self.distances[-1].to(d.dtype)
        counts = graph.mask & ~molecules.intra & (d < reach)
        slope = torch.where(counts, c[..., 0] + s * (c[..., 1] + s * c[..., 2]), 0.0)
        return (graph.edge_vectors * (slope / d)[..., None]).sum(1)

    def entries(self, species: tuple[str, ...]) -> list[dict]:
        """The tables as the contract names them."""
        first, second = torch.triu_indices(len(species), len(species)).tolist()
        return [
            dict(
                species=[species[a], species[b]],
                energies_eV=[float(f"{x:.7g}") for x in self.energies[k].tolist()],
                slopes_eV_per_A=[float(f"{x:.7g}") for x in self.slopes[k].tolist()],
            )
            for k, (a, b) in enumerate(zip(first, second))
        ]
