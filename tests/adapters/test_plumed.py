"""PLUMED as a bias. Where no kernel is at hand (none is on the package indexes), its absence is a clear error."""

import os
import sys

import numpy as np
import pytest
from ase import units

from flashmd_rs import InputError, Simulation
from flashmd_rs.adapters.plumed import plumed_bias

from conftest import fixture_model

SPRING = ["d: DISTANCE ATOMS=1,2", "RESTRAINT ARG=d AT=0.3 KAPPA=500"]
needs_kernel = pytest.mark.skipif("PLUMED_KERNEL" not in os.environ, reason="needs a kernel of PLUMED: PLUMED_KERNEL")


@pytest.mark.parametrize("package", ["missing", "without a kernel"])
def test_its_absence_is_a_clear_error(crystal, models, monkeypatch, package):
    if package == "missing":
        monkeypatch.setitem(sys.modules, "plumed", None)
    else:
        pytest.importorskip("plumed")
        monkeypatch.delenv("PLUMED_KERNEL", raising=False)
    with pytest.raises(InputError, match="set PLUMED_KERNEL to the path of"):
        plumed_bias(crystal, SPRING, models("free_flight"), temperature_K=300)


def test_an_energy_model_is_refused(crystal):
    with pytest.raises(InputError, match="energy model, which has no strides"):
        plumed_bias(crystal, SPRING, fixture_model("pair_energy"), temperature_K=300)


@needs_kernel
def test_a_restraint_is_a_spring(gas, models):
    """Free flight in a harmonic restraint of a distance: its energy is 250 kJ/mol/nm² · (d − 0.3 nm)²."""
    bias = plumed_bias(gas, SPRING, models("free_flight"), temperature_K=300)
    simulation = Simulation(gas, models("free_flight"), bias=bias, guard="off")

    def total():
        atoms = simulation.atoms
        away_nm = (atoms.get_distance(0, 1) - 3.0) / 10
        return atoms.get_kinetic_energy() + 250 * away_nm**2 * units.kJ / units.mol

    energies = [total()]
    for _ in range(200):
        simulation.step()
        energies.append(total())
    assert np.ptp(energies) < 0.02 * energies[0]
