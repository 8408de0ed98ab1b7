"""References whose forces come from an ASE calculator.

ASE's ``VelocityVerlet`` stores momenta at the instant of the positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Frame, Reference

# A start structure with a larger force than this is relaxed until none is, eV/Å.
LARGEST_START_FORCE = 5.0
RELAXATION_STEPS = 500


class ASEReference(Reference):
    """``ase.Atoms`` with a calculator.

    Args:
        structures: start structures, of the same atoms in the same cell.
        calculator: makes a new calculator, without stored results or neighbour lists.
        timestep_fs: time step of velocity Verlet, fs.
        description: potential and method.

    Raises:
        ValueError: the calculator gives no energies or no forces, or not for these atoms.
    """

    def __init__(
        self, structures: list[Atoms], calculator: Callable[[], Calculator], timestep_fs: float, description: str
    ) -> None:
        self._starts = [atoms.get_positions() for atoms in structures]
        # Constraints would take part in every change of positions and momenta.
        first = structures[0]
        self._atoms = atoms = Atoms(
            first.numbers, first.positions, cell=first.cell, pbc=first.pbc, masses=first.get_masses()
        )
        self._calculator = calculator
        self.timestep_fs, self.description = timestep_fs, description
        self.numbers, self.masses = atoms.numbers, atoms.get_masses()
        self.cell, self.periodic = atoms.cell.array.copy(), atoms.pbc.copy()
        self.molecules = np.arange(len(atoms))
        self._probe()

    def _probe(self) -> None:
        """Ask the calculator for what it must give."""
        self.set(self._starts[0], np.zeros_like(self._starts[0]))
        name = type(self._atoms.calc).__name__
        try:
            energy, forces = self._atoms.get_potential_energy(), self._atoms.get_forces()
        except PropertyNotImplementedError as error:
            raise ValueError(
                f"the calculator {name} gives no {error}: a reference must give energies and forces"
            ) from error
        except Exception as error:  # whatever a calculator may raise
            raise ValueError(f"the calculator {name} fails on the start structure: {error!r}") from error
        if np.shape(forces) != self._atoms.positions.shape or not np.isscalar(energy):
            raise ValueError(
                f"the calculator {name} gave forces of shape {np.shape(forces)} and an energy of shape "
                f"{np.shape(energy)}; wanted [{len(self._atoms)}, 3] and a number"
            )
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise ValueError(
                f"the calculator {name} gives an energy or forces that are not finite for the start structure: look "
                "for overlapping atoms, a wrong cell, or elements that it does not know"
            )

    def start(self, structure: int = 0) -> None:
        """Set a start structure at rest, relaxed where a force is beyond :data:`LARGEST_START_FORCE`."""
        positions = self._starts[structure % len(self._starts)]
        self.set(positions, np.zeros_like(positions))
        if np.abs(self._atoms.get_forces()).max() > LARGEST_START_FORCE:
            FIRE(self._atoms, logfile=None).run(fmax=LARGEST_START_FORCE, steps=RELAXATION_STEPS)
            self.set(self._atoms.get_positions(), np.zeros_like(positions))

    def set(self, positions: F64, momenta: F64) -> None:
        """Set positions and momenta, with a new calculator."""
        self._atoms.calc = self._calculator()
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
        return self._calculator()

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
