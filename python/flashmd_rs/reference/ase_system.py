"""Reference systems whose forces come from an ASE calculator.

ASE's ``VelocityVerlet`` keeps momenta at the instant of the positions.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from flashmd_rs.reference.base import Frame, Reference


class ASEReference(Reference):
    """Atoms with a calculator.

    Args:
        atoms: the first structure; periodic along every axis, a surface by its vacuum.
        timestep_fs: step of velocity Verlet; None for the system's default.
    """

    def __init__(self, atoms: Atoms, timestep_fs: float | None = None) -> None:
        self.timestep_fs = timestep_fs or type(self).timestep_fs
        self._first = atoms.get_positions()
        self._atoms = atoms
        self.numbers, self.masses, self.cell = atoms.numbers, atoms.get_masses(), atoms.cell[:]
        self.molecules = np.arange(len(atoms))

    @abstractmethod
    def calculator(self) -> Calculator:
        """A calculator without a past."""

    def start(self, rng: np.random.Generator) -> None:
        self.set(self._first, np.zeros_like(self._first))

    def set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        self._atoms.calc = self.calculator()
        self._atoms.set_positions(positions)
        self.set_momenta(momenta)

    def get(self) -> Frame:
        atoms = self._atoms
        return Frame(
            atoms.get_positions(), atoms.get_momenta(), atoms.get_forces(), float(atoms.get_potential_energy())
        )

    def energy(self, positions: np.ndarray) -> float:
        self._atoms.set_positions(positions)
        return float(self._atoms.get_potential_energy())

    def energy_source(self) -> Calculator:
        return self.calculator()

    def momenta(self) -> np.ndarray:
        return self._atoms.get_momenta()

    def set_momenta(self, momenta: np.ndarray) -> None:
        self._atoms.set_momenta(momenta)

    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        timestep = timestep_fs or self.timestep_fs
        VelocityVerlet(self._atoms, timestep * units.fs).run(round(time_fs / timestep))
