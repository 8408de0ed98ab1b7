"""Solid solutions of two of EMT's metals, half of each."""

import numpy as np
from ase import Atoms
from ase.build import bulk

LATTICE_A = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}


def alloy(elements: str = "Cu,Ag") -> Atoms:
    """32 atoms of two ``elements``, which a comma separates, at random sites of fcc."""
    first, second = elements.split(",")
    atoms = bulk(first, "fcc", a=1.01 * (LATTICE_A[first] + LATTICE_A[second]) / 2, cubic=True) * (2, 2, 2)
    atoms.symbols[np.random.default_rng(0).permutation(len(atoms))[: len(atoms) // 2]] = second
    atoms.set_masses(None)
    return atoms
