"""Rigid molecules by their momenta: distances along which the atoms do not move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import kB
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.neighbors import neighbor_list

if TYPE_CHECKING:
    import ase

# Longest bond of a hydrogen that is looked at, Å, and the part of the temperature below which bonds are rigid: what
# velocities half a step off, and positions of three decimals, leave.
_HYDROGEN_BOND_A = 1.25
_RIGID = 0.02
_FEWEST_BONDS = 6
_LEAST_K = 1e-9  # below is round-off


def rigid_distances(atoms: ase.Atoms, momenta: F64, temperature_K: float) -> int:
    """How many distances are rigid: of hydrogens to what they are bonded to, and between the two of a water.

    Args:
        atoms: the structure.
        momenta: [N,3], √(eV·u).
        temperature_K: of all of them, K.
    """
    if temperature_K < _LEAST_K or not np.any(atoms.numbers == 1):
        return 0
    i, j, vectors = neighbor_list("ijD", atoms, _HYDROGEN_BOND_A)
    bonds = (atoms.numbers[i] == 1) & (atoms.numbers[j] > 1)
    hydrogens, partners, vectors = i[bonds], j[bonds], vectors[bonds]
    if len(hydrogens) < _FEWEST_BONDS or not _is_rigid(atoms, momenta, hydrogens, partners, vectors, temperature_K):
        return 0
    order = np.argsort(partners, kind="stable")
    hydrogens, partners, vectors = hydrogens[order], partners[order], vectors[order]
    oxygens, first, counts = np.unique(partners, return_index=True, return_counts=True)
    waters = first[(counts == 2) & (atoms.numbers[oxygens] == 8)]
    across = vectors[waters] - vectors[waters + 1]
    if len(waters) and _is_rigid(atoms, momenta, hydrogens[waters], hydrogens[waters + 1], across, temperature_K):
        return len(hydrogens) + len(waters)
    return len(hydrogens)


def _is_rigid(
    atoms: ase.Atoms, momenta: F64, i: NDArray[np.int64], j: NDArray[np.int64], vectors: F64, temperature_K: float
) -> bool:
    """True if μ·v²/k_B along the vectors, on average the temperature of that motion, is next to nothing."""
    masses = atoms.get_masses()
    along = np.sum((momenta[j] / masses[j, None] - momenta[i] / masses[i, None]) * vectors, axis=1)
    squared = along**2 / np.sum(vectors**2, axis=1)
    reduced = masses[i] * masses[j] / (masses[i] + masses[j])
    return bool(np.mean(reduced * squared) / kB < _RIGID * temperature_K)
