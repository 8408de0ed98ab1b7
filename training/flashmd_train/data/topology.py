"""Which atoms of a data file are bonded, and by what kinds of bonds and angles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import complete_cell

from flashmd_rs import _core
from flashmd_train.data.segments import Segments
from flashmd_train.graph.bonded import BondedAtoms
from flashmd_train.graph.nef import Graph
from flashmd_train.models.config import BondedConfig

# Elements whose bonds are covalent: those of metals and salts are not kept.
COVALENT = {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Sb", "Te", "I"}
# Atoms nearer than this times the sum of their covalent radii are bonded.
BOND = 1.25
Reaches = list[tuple[str, str, float]]


def covalent_reaches(symbols: Sequence[str]) -> Reaches:
    """Up to which distance atoms of two elements are bonded, Å: by their covalent radii, where both make such bonds."""
    elements = [symbol for symbol in dict.fromkeys(symbols) if symbol in COVALENT]
    radius = {symbol: float(covalent_radii[atomic_numbers[symbol]]) for symbol in elements}
    pairs = combinations_with_replacement(elements, 2)
    return [(a, b, round(BOND * (radius[a] + radius[b]), 3)) for a, b in pairs]


class Connections(NamedTuple):
    """Bonds and angles of N atoms.

    Attributes:
        pairs: bonded atoms [B, 2], the smaller index first.
        environments: what surrounds each atom.
        arms: bonds along the two arms of each angle [A, 2].
        signs: 1 where such a bond starts at the middle, −1 where it ends there [A, 2].
        middles: atom in the middle of each angle [A].
        ends: the others [A, 2].
    """

    pairs: np.ndarray
    environments: list[str]
    arms: np.ndarray
    signs: np.ndarray
    middles: np.ndarray
    ends: np.ndarray

    def bond_names(self) -> list[tuple[str, str]]:
        """Environments of each bond's atoms, the same for all of a kind."""
        return [sorted_ends(tuple(self.environments[atom] for atom in pair)) for pair in self.pairs]

    def angle_names(self) -> list[tuple[str, str, str]]:
        """Environments of each angle's atoms, likewise."""
        atoms = zip(self.ends[:, 0], self.middles, self.ends[:, 1])
        return [sorted_ends(tuple(self.environments[atom] for atom in angle)) for angle in atoms]


def sorted_ends(names: tuple) -> tuple:
    """The names read in that direction in which the first is not behind the last."""
    return names if names[0] <= names[-1] else names[::-1]


def connect(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reaches: Reaches
) -> Connections:
    """Bonds by distance, and the angles between them.

    Args:
        numbers: atomic numbers [N].
        positions: [N, 3] Å.
        cell: [3, 3] Å.
        pbc: along which cell vectors it is periodic [3].
        reaches: up to which distance atoms of two elements are bonded, Å.

    Raises:
        ValueError: a bond is longer than half of the cell.
    """
    numbers = np.asarray(numbers, np.int64)
    positions, cell = np.asarray(positions, float), np.asarray(cell, float)
    pairs = _core.bonded_pairs(numbers, positions, cell, np.asarray(pbc, bool), reaches)
    of_atom: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for bond, (i, j) in enumerate(pairs.tolist()):
        of_atom[i].append((bond, 1, j))
        of_atom[j].append((bond, -1, i))
    angles = [(middle, one, other) for middle in sorted(of_atom) for one, other in combinations(of_atom[middle], 2)]
    table = np.array([(m, *one, *other) for m, one, other in angles], dtype=np.int64).reshape(-1, 7)
    environments = _core.environments(numbers, pairs)
    return Connections(pairs, environments, table[:, [1, 4]], table[:, [2, 5]], table[:, 0], table[:, [3, 6]])


class Topology:
    """The bonds and angles of a data file's atoms by the kinds of a model.

    Args:
        file: the segments; bonds are those of their first frame.
        bonded: the kinds.

    Raises:
        ValueError: a bond is of no kind.
    """

    def __init__(self, file: Segments, bonded: BondedConfig) -> None:
        self.cell, self.periodic = np.asarray(file.cell, float), np.asarray(file.periodic, bool)
        reaches = [(*(name.partition("[")[0] for name in kind.species), kind.longest_A) for kind in bonded.bonds]
        found = connect(file.numbers, file.positions[0, 0], self.cell, self.periodic, reaches)
        self.pairs = found.pairs
        kinds = {sorted_ends(kind.species): k for k, kind in enumerate(bonded.bonds)}
        if unknown := sorted(set(found.bond_names()) - kinds.keys()):
            raise ValueError(
                f"{file.path} has the bond {'–'.join(unknown[0])}, the model knows "
                f"{', '.join('–'.join(name) for name in kinds)}; fit its bonds to all of the data"
            )
        self.bond_kinds = np.array([kinds[name] for name in found.bond_names()], dtype=np.int64)
        kinds = {sorted_ends(kind.species): k for k, kind in enumerate(bonded.angles)}
        numbers = np.array([kinds.get(name, -1) for name in found.angle_names()], dtype=np.int64)
        known = numbers >= 0
        self.angle_kinds, self.arms, self.signs = numbers[known], found.arms[known], found.signs[known]
        atoms = len(file.numbers)
        joined = np.concatenate([self.pairs, found.ends[known]])
        self.joined = np.unique(np.concatenate([joined @ [atoms, 1], joined @ [1, atoms]]))

    def of(self, graph: Graph, positions: np.ndarray) -> BondedAtoms:
        """The bonds and angles of the graph of this file's atoms at ``positions`` [N, 3], Å."""
        vectors = positions[self.pairs[:, 1]] - positions[self.pairs[:, 0]]
        vectors = nearest_images(vectors, self.cell, self.periodic)
        atoms = len(positions)
        ends = np.arange(atoms)[:, None] * atoms + graph.neighbors.numpy()
        joined = np.isin(ends, self.joined) & graph.mask.numpy()
        return BondedAtoms(
            torch.tensor(self.pairs),
            torch.tensor(vectors, dtype=graph.edge_vectors.dtype),
            torch.tensor(self.bond_kinds),
            torch.tensor(self.arms),
            torch.tensor(self.signs, dtype=graph.edge_vectors.dtype),
            torch.tensor(self.angle_kinds),
            torch.tensor(joined),
        )


def nearest_images(vectors: np.ndarray, cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Vectors [B, 3] (Å) to the nearest images of their ends, of vectors shorter than half of the cell."""
    if not periodic.any():
        return vectors
    whole = complete_cell(np.where(periodic[:, None], cell, 0.0))
    fractions = np.round(np.linalg.solve(whole.T, vectors.T).T)
    return vectors - np.where(periodic, fractions, 0.0) @ whole
