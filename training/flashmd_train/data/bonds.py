"""The bonds of a data set, for the contract's ``domain``: pairs of species with a gap in their distances."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from flashmd_rs.neighbors import neighbor_list
from flashmd_train.data.dataset import Dataset

# No bond is longer, Å.
REACH_A = 3.5
# Distances are told apart by so much, Å.
BIN_A = 0.01
# The shortest distance that is no bond is longer than the longest bond by more than this factor.
GAP = 1.15


def bonds(data: Dataset, frames: int = 1000) -> list[dict]:
    """Bonds that every atom of the data has, as the contract's ``domain.bonds``; empty where there are none.

    Two species are bonded if no pair of them is in a gap of 15 % of its distance, and all atoms of one have the same
    number of the other below it. What joins more than half of a periodic structure is a solid, without bonds.

    Args:
        data: what a model was trained on.
        frames: number of segments, evenly over the data, whose first frames are looked at.
    """
    found = [_Pair(pair) for pair in combinations_with_replacement(data.symbols, 2)]
    structures = [_structure(data, f, segment) for f, segment in data.evenly(frames)]
    for atoms in structures:
        i, j, d = neighbor_list("ijd", atoms, REACH_A)
        for pair in found:
            pair.see(d[pair.joins(atoms, i, j)])
    found = [pair for pair in found if pair.close_gap()]
    for atoms in structures:
        i, j, d = neighbor_list("ijd", atoms, REACH_A)
        bonded = np.zeros(len(d), dtype=bool)
        for pair in found:
            own = pair.joins(atoms, i, j) & (d < pair.longest_A)
            pair.count(atoms, i[own], j[own])
            bonded |= own
        joined = coo_matrix((np.ones(bonded.sum()), (i[bonded], j[bonded])), shape=(len(atoms), len(atoms)))
        if atoms.pbc.any() and 2 * np.bincount(connected_components(joined)[1]).max() > len(atoms):
            return []
    return [pair.entry() for pair in found if pair.is_constant()]


@dataclass
class _Pair:
    """Distances of two species, and how many of one the atoms of the other have."""

    species: tuple[str, str]
    occupied: np.ndarray = field(default_factory=lambda: np.zeros(round(REACH_A / BIN_A), dtype=bool))
    longest_A: float = 0.0
    counts: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))

    def joins(self, atoms: Atoms, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Which pairs of atoms are of these species, seen from either."""
        symbols = np.array(atoms.get_chemical_symbols())
        first, second = self.species
        return ((symbols[i] == first) & (symbols[j] == second)) | ((symbols[i] == second) & (symbols[j] == first))

    def see(self, distances: np.ndarray) -> None:
        self.occupied[(distances / BIN_A).astype(int)] = True

    def close_gap(self) -> bool:
        """Put the longest bond into the first gap, at most 20 % beyond what was seen; False if there is none."""
        edges = np.flatnonzero(self.occupied) * BIN_A
        beyond = np.append(edges[1:], REACH_A)
        gaps = np.flatnonzero(beyond > GAP * (edges + BIN_A))
        if not len(gaps):
            return False
        longest, next_A = edges[gaps[0]] + BIN_A, beyond[gaps[0]]
        self.longest_A = round(float(min(1.2 * longest, np.sqrt(longest * next_A))), 3)
        return True

    def count(self, atoms: Atoms, i: np.ndarray, j: np.ndarray) -> None:
        symbols = np.array(atoms.get_chemical_symbols())
        for side, (own, other) in enumerate((self.species, self.species[::-1])):
            partners = np.bincount(i[symbols[j] == other], minlength=len(atoms))
            self.counts[side].update(partners[symbols == own].tolist())

    def is_constant(self) -> bool:
        """True if every atom has the same number of partners, and has some."""
        return all(len(counts) == 1 and min(counts) > 0 for counts in self.counts)

    def entry(self) -> dict:
        return dict(species=list(self.species), longest_A=self.longest_A, counts=[min(c) for c in self.counts])


def _structure(data: Dataset, f: int, segment: int) -> Atoms:
    file = data.files[f]
    return Atoms(file.numbers, file.positions[segment, 0], cell=file.cell, pbc=file.periodic)
