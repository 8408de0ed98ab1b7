"""Water molecules in a graph, found by distances."""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd_train.graph.distances import norm
from flashmd_train.graph.gather import gather_rows, gather_slot, slots_last
from flashmd_train.graph.nef import Graph

# An O-H pair closer than this is a bond; hydrogen bonds start at 1.45 Å.
BOND_LENGTH_MAX_A = 1.35


class Molecules:
    """The water molecule of each row: (O, own H, other H) on hydrogen rows, (O, H, H) on oxygen rows.

    An oxygen's two nearest hydrogens are its own, and a hydrogen's nearest oxygen, if nearer than
    :data:`BOND_LENGTH_MAX_A`. An atom without a complete molecule has ``bonded`` 0 and finite dummy bonds.

    Args:
        graph: species 0 is oxygen, 1 hydrogen; only masked-in edges count.

    Attributes:
        oxygen: True on oxygen rows [N, 1].
        first: atom at the other end of the row's first bond [N]: the oxygen of hydrogen rows.
        second: an oxygen's other hydrogen [N].
        is_first: True on the slot of the first bond [N, K].
        is_second: True on the slot of an oxygen's second bond [N, K].
        bonds: vectors from the oxygen to the row's two hydrogens, a hydrogen row's own first [N, 2, 3], Å.
        bonded: 1.0 where the molecule is complete [N, 1, 1].
        intra: True on edges inside a complete molecule [N, K].
    """

    def __init__(self, graph: Graph) -> None:
        oxygen = graph.species == 0
        self.oxygen = oxygen[:, None]
        other = gather_rows(graph.species, graph.neighbors) != graph.species[:, None]
        edges = slots_last(graph.edge_vectors)
        d = norm(edges, 1).squeeze(1)
        far = torch.full_like(d, 1e3)
        d = torch.where(other & graph.mask, d, far)
        first = d.argmin(1)
        slots = torch.arange(d.shape[1], device=d.device)[None]
        is_first = slots == first[:, None]
        d2 = torch.where(is_first, far, d)
        second = d2.argmin(1)
        is_second = (slots == second[:, None]) & self.oxygen
        self.is_first, self.is_second = is_first, is_second
        self.first = torch.gather(graph.neighbors, 1, first[:, None]).squeeze(1).long()
        self.second = torch.gather(graph.neighbors, 1, second[:, None]).squeeze(1).long()
        to_first = gather_slot(graph.edge_vectors, first)
        to_second = gather_slot(graph.edge_vectors, second)
        bonded_1 = (d.amin(1) < BOND_LENGTH_MAX_A)[:, None]
        bonded_2 = (d2.amin(1) < BOND_LENGTH_MAX_A)[:, None]
        # On oxygen rows: the sum of the vectors to both hydrogens, from which a hydrogen gets the other one's.
        total = torch.where(self.oxygen, to_first + to_second, torch.zeros_like(to_first))
        both = bonded_1 & bonded_2 & self.oxygen
        theirs = gather_rows(torch.cat([total, both.to(total.dtype)], 1), self.first)
        own = torch.where(self.oxygen, to_first, -to_first)
        rest = torch.where(self.oxygen, to_second, theirs[:, :3] + to_first)
        complete = both | (~self.oxygen & (theirs[:, 3:] > 0.5) & bonded_1)
        # Without a complete molecule an atom moves under its slow force alone; dummy bonds keep the arithmetic finite.
        dummy = torch.eye(3, dtype=own.dtype, device=own.device)[:2]
        self.bonds = torch.where(complete[..., None], torch.stack([own, rest], 1), dummy)
        self.bonded = complete[..., None].to(own.dtype)
        # The edge to the other hydrogen is the one that equals the difference of the bonds, to 0.01 Å.
        difference = edges - (self.bonds[:, 1] - self.bonds[:, 0])[..., None]
        hh = ((difference * difference).sum(1) < 1e-4) & ~self.oxygen
        self.intra = (is_first | is_second | hh) & complete & graph.mask

    def collect(self, rows: Tensor) -> Tensor:
        """[N, C] of atoms to [N, 3, C] of each row's molecule (O, H, H)."""
        one, two = gather_rows(rows, self.first), gather_rows(rows, self.second)
        pair = torch.where(self.oxygen, one + two, torch.zeros_like(one))
        return torch.stack(
            [
                torch.where(self.oxygen, rows, one),
                torch.where(self.oxygen, one, rows),
                torch.where(self.oxygen, two, gather_rows(pair, self.first) - rows),
            ],
            1,
        )

    def own(self, molecule: Tensor) -> Tensor:
        """[N, 3, C] of each row's molecule to the row's own atom [N, C]."""
        return torch.where(self.oxygen, molecule[:, 0], molecule[:, 1])
