"""Pair forces from tables, which act within the drifts of a hybrid model beside bonds and angles.

=====  ==========================================  =====
E_k    energy at the k-th entry                    eV
m_k    slope dE/dr there                           eV/Å
d      distance between entries                    Å
x      (r − r_k)/d, from 0 to 1 in an interval
=====  ==========================================  =====

Between two entries E is the cubic that has both energies and both slopes (Hermite). With the mean slope
M = (E_{k+1} − E_k)/d, its derivative is dE/dr = m_k + x (6M − 4m_k − 2m_{k+1}) + x² (3(m_k + m_{k+1}) − 6M).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashmd_train.graph.distances import norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.graph.nef import Graph

# First distance of the tables, and the largest distance between entries.
FIRST_A, SPACING_A = 0.8, 0.05


class PairTables(nn.Module):
    """Tables of E(r) and dE/dr of each unordered pair of species, from :data:`FIRST_A` to the cutoff.

    Nearer than the first entry the force stays what it is there.

    Args:
        kinds: number of species.
        cutoff: Å.

    Attributes:
        pair_of: number of the pair of two species [S, S].
        distances: [G] Å.
        energies: [P, G] eV.
        slopes: [P, G] eV/Å.
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

    def forward(self, graph: Graph, joined: Tensor) -> Tensor:
        """Forces [N, 3] (eV/Å) on each atom by all that bonds and angles do not join to it; local to a row.

        Args:
            graph: of the atoms.
            joined: True on edges [N, K] that are left out.
        """
        d, pair, interval, x, counts = self._located(graph, joined)
        mean = self.energies.diff(dim=1) / self.spacing
        m0, m1 = self.slopes[:, :-1], self.slopes[:, 1:]
        # dE/dr by powers of x, in the runtime's order of operations.
        powers = torch.stack([m0, 6 * mean - 4 * m0 - 2 * m1, 3 * (m0 + m1) - 6 * mean], -1).to(d.dtype)
        c = powers.flatten(0, 1)[pair * powers.shape[1] + interval]
        slope = torch.where(counts, c[..., 0] + x * (c[..., 1] + x * c[..., 2]), 0.0)
        return (graph.edge_vectors * (slope / d)[..., None]).sum(1)

    def atom_energies(self, graph: Graph, joined: Tensor) -> Tensor:
        """Half of the energies of its pairs, of each atom [N], eV; as :meth:`forward` counts them."""
        d, pair, interval, x, counts = self._located(graph, joined)
        e0, e1 = self.energies[pair, interval], self.energies[pair, interval + 1]
        m0, m1 = self.slopes[pair, interval], self.slopes[pair, interval + 1]
        mean, x = (e1 - e0) / self.spacing, x.double()
        # The integral of dE/dr from the entry on; nearer than the first one, on its tangent.
        inside = x * (m0 + x * ((6 * mean - 4 * m0 - 2 * m1) / 2 + x * (3 * (m0 + m1) - 6 * mean) / 3))
        nearer = (d.double() - FIRST_A).clamp(max=0.0) * m0
        return 0.5 * torch.where(counts, e0 + self.spacing * inside + nearer, 0.0).sum(1).to(d.dtype)

    def _located(self, graph: Graph, joined: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of every edge [N, K]: its length, number of its pair, interval, place in it, and whether it counts."""
        d = norm(graph.edge_vectors).squeeze(-1)
        position = ((d - FIRST_A) / self.spacing).clamp(min=0.0)
        interval = position.detach().long().clamp(max=self.energies.shape[1] - 2)
        pair = self.pair_of[graph.species[:, None], gather_rows(graph.species, graph.neighbors)]
        counts = graph.mask & ~joined & (d < self.distances[-1].to(d.dtype))
        return d, pair, interval, position - interval, counts

    def entries(self, species: tuple[str, ...]) -> list[dict]:
        """The tables as the contract has them: seven digits, one entry per pair."""
        first, second = torch.triu_indices(len(species), len(species)).tolist()
        return [
            dict(
                species=[species[a], species[b]],
                energies_eV=[float(f"{value:.7g}") for value in self.energies[k].tolist()],
                slopes_eV_per_A=[float(f"{value:.7g}") for value in self.slopes[k].tolist()],
            )
            for k, (a, b) in enumerate(zip(first, second))
        ]
