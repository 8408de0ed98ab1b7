"""Small systems whose answers are known; parts are found by name, as those of any user are."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np
import openmm
from ase.calculators.calculator import Calculator, all_changes

import flashmd_rs
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL
from flashmd_rs.reference.potentials import OpenMMPotential
from flashmd_rs.reference.system import System, calculator_potential

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Bond of the OH pairs: length, Å, and force constant, eV/Å².
BOND_A, BOND_CONSTANT = 0.9572, 48.05


def pair_calculator() -> Calculator:
    """Springs between near atoms, of which the fixture models are strides."""
    return flashmd_rs.Model(FIXTURES / "pair_energy.onnx", threads=1).calculator()


def argon(cells: int = 3) -> ase.Atoms:
    return ase.build.bulk("Ar", "sc", a=2.5) * (cells, cells, cells)


def crystal(cells: int = 3) -> System:
    """Argon held by springs."""
    return System((argon(cells),), calculator_potential(f"{__file__}:pair_calculator"))


class FreeAtoms(Calculator):
    """Atoms that do not feel each other."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


def hydroxyls(pairs: int, constant: float = BOND_CONSTANT, pull: float = 0.0, *, periodic: bool = True) -> System:
    """OH pairs that do not feel each other, every second one written HO, each at the face of its box and split by it.

    ``pull``: a force on each H, eV/Å.
    """
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    outside = openmm.CustomExternalForce(f"{-pull * 10 / EV_PER_KJ_MOL} * x")
    bonds.setUsesPeriodicBoundaryConditions(periodic)
    for k in range(pairs):
        for at, mass in enumerate((16.0, 1.0) if k % 2 else (1.0, 16.0)):
            system.addParticle(mass)
            if mass == 1.0:
                outside.addParticle(2 * k + at, [])
        bonds.addBond(2 * k, 2 * k + 1, 0.1 * BOND_A, 100 * constant / EV_PER_KJ_MOL)
    system.addForce(bonds)
    system.addForce(outside)
    system.setDefaultPeriodicBoxVectors(*(20.0 * np.eye(3)))
    numbers = np.array([1, 8, 8, 1] * (pairs // 2))
    positions = np.zeros((2 * pairs, 3))
    positions[numbers == 1] = [0.0, 0.0, BOND_A - 200.0 * periodic]
    atoms = ase.Atoms(
        numbers, positions, cell=200.0 * np.eye(3), pbc=periodic, masses=np.where(numbers == 1, 1.0, 16.0)
    )
    return System((atoms,), OpenMMPotential(openmm.XmlSerializer.serialize(system), "OH pairs"))
