"""A harmonic crystal: springs between the neighbours of a simple cubic lattice, the same along x, y and z."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

EDGE, SPACING_A = 6, 3.0
SPRING_EV_PER_A2 = 2.0


def crystal() -> Atoms:
    """216 atoms of three species at random."""
    atoms = Atoms(cell=3 * [EDGE * SPACING_A], pbc=True, positions=sites(), symbols=EDGE**3 * ["Al"])
    order = np.random.default_rng(1).permutation(EDGE**3)
    atoms.symbols[order[:72]], atoms.symbols[order[72:144]] = "Ag", "Au"
    atoms.set_masses(None)
    return atoms


def sites() -> np.ndarray:
    return SPACING_A * np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij"), -1).reshape(-1, 3)


def forces(positions: np.ndarray) -> np.ndarray:
    u = positions - sites()
    u = (u - EDGE * SPACING_A * np.round(u / (EDGE * SPACING_A))).reshape(EDGE, EDGE, EDGE, 3)
    around = sum(np.roll(u, shift, axis) for shift in (1, -1) for axis in range(3))
    return SPRING_EV_PER_A2 * (around - 6 * u).reshape(-1, 3)


class Springs(Calculator):
    """The crystal's calculator, of springs ``softer`` times as hard."""

    implemented_properties = ("energy", "forces")

    def __init__(self, softer: float = 1.0) -> None:
        super().__init__()
        self.softer = softer

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        u = self.atoms.positions - sites()
        u -= EDGE * SPACING_A * np.round(u / (EDGE * SPACING_A))
        f = self.softer * forces(self.atoms.positions)
        self.results = {"forces": f, "energy": float(-0.5 * (f * u).sum())}
