"""Neighbour lists with ASE's letters, from the Rust core."""

from __future__ import annotations

from typing import Any

import numpy as np

from flashmd_rs import _checks, _core
from flashmd_rs._structure import check_is_atoms, geometry
from flashmd_rs.errors import InputError

_LETTERS = "ijdDS"


def neighbor_list(quantities: str, atoms: Any, cutoff: float) -> Any:
    """Every pair of atoms closer than ``cutoff``, each seen from both sides.

    Args:
        quantities: letters of what to return, in any order: ``i`` and ``j`` the atoms' indices [P], ``d`` the
            distance [P] in Å, ``D`` the vector r_j − r_i + S·cell [P,3] in Å, ``S`` the shift [P,3] in cells.
        atoms: ``ase.Atoms``, with any mix of periodic axes; atoms may lie outside the cell.
        cutoff: radius in Å; a pair counts if d < cutoff.

    Returns:
        One array for one letter, else a tuple of arrays, sorted by i, then j, then S. Types are those of
        ``ase.neighborlist.neighbor_list``.

    Raises:
        InputError: an unknown letter, a cutoff that is not a positive number, or an unusable structure.

    Example:
        >>> from ase import Atoms
        >>> neighbor_list("ijd", Atoms("HH", [[0, 0, 0], [0, 0, 0.74]]), 2.0)
        (array([0, 1]), array([1, 0]), array([0.74, 0.74]))
    """
    if not isinstance(quantities, str) or not quantities or any(letter not in _LETTERS for letter in quantities):
        raise InputError(f"got quantities {quantities!r}, wanted letters out of {_LETTERS!r}")
    radius = _checks.positive("cutoff", cutoff, "Å")
    check_is_atoms(atoms)
    if len(atoms) == 0:
        positions, cell, pbc = np.zeros((0, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool)
    else:
        arrays = geometry(atoms)
        positions, cell, pbc = arrays.positions, arrays.cell, arrays.pbc
    found = _core.neighbor_list(quantities, positions, cell, pbc, radius)
    return found[0] if len(found) == 1 else found
