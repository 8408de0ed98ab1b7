"""A random copper–gold alloy."""

import numpy as np
from ase import Atoms
from ase.build import bulk

# EMT's lattice constants are 3.61 Å of copper and 4.06 Å of gold at 0 K.
LATTICE_A = 3.87


def alloy(cells: int = 3, gold: float = 0.5, seed: int = 0) -> Atoms:
    """``cells``³ cubic cells of fcc, 4 atoms each, the share ``gold`` of them gold."""
    atoms = bulk("Cu", "fcc", a=LATTICE_A, cubic=True) * (cells, cells, cells)
    chosen = np.random.default_rng(seed).permutation(len(atoms))[: round(gold * len(atoms))]
    atoms.symbols[chosen] = "Au"
    atoms.set_masses(None)
    return atoms
