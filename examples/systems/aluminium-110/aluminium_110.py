"""A slab of aluminium with two (110) faces."""

from ase import Atoms
from ase.build import fcc110

LATTICE_A = 4.05


def structure(cells: int = 4) -> Atoms:
    """7 layers, ``cells`` cells along [001] and about as wide, with 8 Å of vacuum at both faces."""
    return fcc110("Al", (cells, round(cells * 2**0.5), 7), a=LATTICE_A, vacuum=8.0)
