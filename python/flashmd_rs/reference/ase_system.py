"""Reference systems whose forces come from an ASE calculator.

ASE's ``VelocityVerlet`` stores momenta at the instant of the positions.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Frame, Reference


class ASEReference(Reference):
    """``ase.Atoms`` with a calculator.

    Args:
        atoms: the first structure, periodic along every axis; a surface has vacuum in its box.
        timestep_fs: time step of velocity Verlet, fs; None for the system's default.
    """

    def __init__(self, atoms: Atoms, timestep_fs: float | None = None) -> None:
        self.timestep_fs = timestep_fs or type(self).timestep_fs
        self._first = atoms.get_positions()
        self._atoms = atoms
        self.numbers, self.masses, self.cell = atoms.numbers, atoms.get_masses(), atoms.cell.array.copy()
        self.molecules = np.arange(len(atoms))

    @abstractmethod
    def calculator(self) -> Calculator:
        """A new calculator, without stored results or neighbour lists."""

    def start(self, rng: np.random.Generator) -> None:
        """Set the first structure, with all atoms at rest."""
        self.set(self._first, np.zeros_like(self._first))

    def set(self, positions: F64, momenta: F64) -> None:
        """Set positions and momenta, with a new calculator."""
        self._atoms.calc = self.calculator()
        self._atoms.set_positions(positions)
        self.set_momenta(momenta)

    def get(self) -> Frame:
        """The current frame."""
        atoms = self._atoms
        return Frame(
            atoms.get_positions(), atoms.get_momenta(), atoms.get_forces(), float(atoms.get_potential_energy())
        )

    def energy(self, positions: F64, cell: F64 | None = None) -> float:
        """Potential energy (eV) at positions (Å) [A, 3], in another cell (Å) if one is given."""
        self._atoms.set_positions(positions)
        self._atoms.set_cell(self.cell if cell is None else cell)
        energy = float(self._atoms.get_potential_energy())
        self._atoms.set_cell(self.cell)
        return energy

    def energy_source(self) -> Calculator:
        """A calculator of its own, independent of the simulation's."""
        return self.calculator()

    def momenta(self) -> F64:
        """Momenta [A, 3], √(eV·u)."""
        momenta: F64 = self._atoms.get_momenta()
        return momenta

    def set_momenta(self, momenta: F64) -> None:
        """Set momenta [A, 3], √(eV·u)."""
        self._atoms.set_momenta(momenta)

    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        """Advance by ``time_fs`` with velocity Verlet."""
        timestep = timestep_fs or self.timestep_fs
        VelocityVerlet(self._atoms, timestep * units.fs).run(round(time_fs / timestep))
