"""Calculators and structures as people bring them: this file is also named as ``own_calculators.py:name``."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Remembering(EMT):
    """Sums in an order that depends on how often it was asked, as with neighbour lists that have a past."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        Calculator.calculate(self, atoms, properties, system_changes)
        order = np.random.default_rng(self.asked).permutation(len(atoms))
        self.asked += 1
        other, forces = atoms[order], np.empty((len(atoms), 3))
        other.calc = EMT()
        forces[order] = other.get_forces()
        self.results = {"energy": other.get_potential_energy(), "forces": forces}


class Noisy(EMT):
    """Forces that differ from one evaluation to the next by some ``noise``, eV/Å."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] += self.noise * np.random.default_rng().uniform(-1, 1, self.results["forces"].shape)


class EnergyAlone(Calculator):
    """No forces."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0}


class Infinite(EMT):
    """Forces that are not finite."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"][0, 0] = np.nan


def failing() -> EMT:
    """Raise what no one foresees."""
    raise RuntimeError("no licence")


def structures(count: int = 2) -> list[Atoms]:
    """Copper, differently rattled."""
    made = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.rattle(0.05, seed=k)
        made.append(atoms)
    return made


number = 7
