"""Pressures by differences of the energy against those from forces and virials."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

import flashmd_rs
from flashmd_rs.reference.base import virial_pressure
from flashmd_rs.reference.water import Water


def test_of_atoms_it_is_that_of_the_stress() -> None:
    atoms = bulk("Al", cubic=True, a=3.9) * 2
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = atoms.copy()
        moved.positions[:] = positions
        moved.set_cell(cell)
        moved.calc = EMT()
        return float(moved.get_potential_energy())

    found = virial_pressure(energy, atoms.positions, atoms.cell.array, atoms.get_masses(), np.arange(len(atoms)))
    wanted = -atoms.get_stress(voigt=False).trace() / 3 / units.bar
    assert found == pytest.approx(wanted, rel=1e-3)


def test_of_molecules_it_is_that_of_the_virial_less_the_forces_within_them() -> None:
    atoms = flashmd_rs.load_structure("water258")
    model = flashmd_rs.Model("water-energy", threads=1)
    molecules = np.arange(len(atoms)) // 3

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        moved = atoms.copy()
        moved.positions[:] = positions
        moved.set_cell(cell)
        return model.energy(moved)

    found = virial_pressure(energy, atoms.positions, atoms.cell.array, atoms.get_masses(), molecules)
    atoms.calc = model.calculator()
    centres = np.array([atoms[molecules == m].get_center_of_mass() for m in range(258)])[molecules]
    virial = -atoms.get_volume() * atoms.get_stress(voigt=False).trace()
    total = virial - ((atoms.positions - centres) * atoms.get_forces()).sum()
    # Twenty bar are 0.001 of what the virials of all atoms cancel to.
    assert found == pytest.approx(total / (3 * atoms.get_volume()) / units.bar, abs=20)


def test_a_reference_comes_back_to_its_own_cell() -> None:
    water = Water(64)
    water.start(np.random.default_rng(1))
    q = water.get().positions
    before = water.energy(q)
    virial_pressure(water.energy, q, water.cell, water.masses, water.molecules)
    assert water.energy(q) == before
    assert water.energy(q, 1.02 * water.cell) != before
