"""The bonds and angles of a graph's atoms, as lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class BondedAtoms(NamedTuple):
    """B bonds and A angles of N atoms with K slots each.

    Attributes:
        pairs: atoms of each bond [B, 2].
        vectors: from the first of them to the second [B, 3], Å.
        bond_kinds: kind of each bond [B].
        arms: bonds along the two arms of each angle [A, 2].
        signs: 1 where such a bond starts at the angle's middle, −1 where it ends there [A, 2].
        angle_kinds: kind of each angle [A].
        joined: True on edges between the ends of a bond or of an angle [N, K].
    """

    pairs: Tensor
    vectors: Tensor
    bond_kinds: Tensor
    arms: Tensor
    signs: Tensor
    angle_kinds: Tensor
    joined: Tensor

    def moved(self, displacement: Tensor) -> Tensor:
        """The vectors [B, 3] after the atoms moved by ``displacement`` [N, 3], Å."""
        first, second = displacement[self.pairs].unbind(1)
        return self.vectors + second - first

    def to_atoms(self, gradient: Tensor) -> Tensor:
        """Forces on the atoms [N, 3] of ∂E/∂vectors [B, 3], eV/Å."""
        forces = gradient.new_zeros(len(self.joined), 3)
        return forces.index_add(0, self.pairs.T.flatten(), torch.cat([gradient, -gradient]))


def join_bonded(parts: Sequence[BondedAtoms]) -> BondedAtoms:
    """Those of graphs that are stacked along N, all with as many slots."""
    atoms = bonds = 0
    shifted = []
    for part in parts:
        shifted.append(part._replace(pairs=part.pairs + atoms, arms=part.arms + bonds))
        atoms, bonds = atoms + len(part.joined), bonds + len(part.pairs)
    return BondedAtoms(*(torch.cat(tensors) for tensors in zip(*shifted)))
