"""Calculators of a few atoms that take next to nothing, for `fit` to be tried on."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

BOND_A, CONSTANT_EV_PER_A2 = 1.1, 100.0


def dimers(count: int = 200) -> Atoms:
    """Molecules of nitrogen in a row, without a cell."""
    first = np.array([[3.0 * k, 0.0, 0.0] for k in range(count)])
    both = np.stack([first, first + np.array([0.0, 0.0, BOND_A])], 1).reshape(-1, 3)
    return Atoms("N" * 2 * count, both)


class Springs(Calculator):
    """A spring within each molecule, and nothing between them."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        bonds = self.atoms.positions[1::2] - self.atoms.positions[::2]
        lengths = np.linalg.norm(bonds, axis=1)[:, None]
        pull = CONSTANT_EV_PER_A2 * (lengths - BOND_A) * bonds / lengths
        forces = np.stack([pull, -pull], 1).reshape(-1, 3)
        self.results = {"energy": 0.5 * CONSTANT_EV_PER_A2 * float(((lengths - BOND_A) ** 2).sum()), "forces": forces}


class WeakForces(EMT):
    """Effective-medium theory whose forces are three per cent short of the energy's gradient."""

    def calculate(self, *arguments, **named) -> None:
        super().calculate(*arguments, **named)
        self.results["forces"] = 0.97 * self.results["forces"]


class NoForces(Calculator):
    """An energy alone."""

    implemented_properties = ("energy",)

    def calculate(self, *arguments, **named) -> None:
        super().calculate(*arguments, **named)
        self.results = {"energy": 0.0}
