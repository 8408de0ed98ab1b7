"""What computes a reference's forces: an ASE calculator or an OpenMM system, in a form that can be stored and sent."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ase import Atoms

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.factories import Factory

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class Potential(ABC):
    """A potential for any start structures of its atoms.

    Attributes:
        description: potential in words a paper could print.
    """

    description: str

    def with_masses(self, atoms: Atoms) -> Atoms:
        """A structure with the potential's masses, where it has its own.

        Raises:
            ValueError: the potential is that of other atoms.
        """
        return atoms

    @abstractmethod
    def reference(self, structures: list[Atoms], timestep_fs: float, threads: int = 1) -> Reference:
        """A simulation of ``structures``, which are the same atoms in the same cell, by velocity Verlet.

        Raises:
            ValueError: the potential does not give energies and forces for these atoms.
        """

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """What determines its numbers, as JSON."""


@dataclass(frozen=True)
class CalculatorPotential(Potential):
    """An ASE calculator, made anew by a function wherever it is needed.

    Attributes:
        factory: the function, which returns an ``ase.calculators.calculator.Calculator``.
        description: potential in words.
    """

    factory: Factory
    description: str

    def calculator(self) -> Calculator:
        """A new calculator.

        Raises:
            ValueError: the factory fails or returns something else.
        """
        made = self.factory()
        if not callable(getattr(made, "get_potential_energy", None)):
            raise ValueError(f"{self.factory.short_name} returns {type(made).__name__}; wanted an ASE calculator")
        calculator: Calculator = made
        return calculator

    def reference(self, structures: list[Atoms], timestep_fs: float, threads: int = 1) -> Reference:
        """A simulation by ASE."""
        from flashmd_rs.reference.ase_system import ASEReference

        return ASEReference(structures, self.calculator, timestep_fs, f"{self.description}, velocity Verlet")

    def attributes(self) -> dict[str, Any]:
        """Name, arguments and, of a file, hash of the factory."""
        return {"calculator": self.factory.attributes()}


@dataclass(frozen=True)
class OpenMMPotential(Potential):
    """An OpenMM system.

    Attributes:
        xml: the system, serialised.
        description: potential in words.
    """

    xml: str
    description: str

    def with_masses(self, atoms: Atoms) -> Atoms:
        """A structure with the masses of the system's particles."""
        from openmm import XmlSerializer

        from flashmd_rs.reference.openmm_system import with_masses

        return with_masses(XmlSerializer.deserialize(self.xml), atoms)

    def reference(self, structures: list[Atoms], timestep_fs: float, threads: int = 1) -> Reference:
        """A simulation by OpenMM on the CPU."""
        from openmm import XmlSerializer

        from flashmd_rs.reference.openmm_system import OpenMMReference

        system = XmlSerializer.deserialize(self.xml)
        return OpenMMReference(system, structures, timestep_fs, threads, f"{self.description}, velocity Verlet")

    def attributes(self) -> dict[str, Any]:
        """Hash of the serialised system."""
        return {"openmm_sha256": hashlib.sha256(self.xml.encode()).hexdigest()}
