"""Constraints, barostats, rescaling and foreign energies, through the public call; the theory is tested in the core."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixCom

from flashmd_rs import Bussi, CellRescaling, InputError, Langevin, MonteCarloBarostat, rollout

from conftest import make_crystal

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50), "seed": 3}
# The crystal of harmonic pairs is in balance at 2.5 Å under about 20 kbar, at 2.3 Å under 30 kbar.
PRESSURE = {**BATH, "pressure_bar": 30_000.0}
SOFT = {"interval": 2, "compressibility_per_bar": 1.5e-5}


class TestConstraints:
    @pytest.mark.parametrize("thermostat", [Langevin(50), Bussi(50), "none"])
    @pytest.mark.parametrize("rescale", ["global", "species", False])
    def test_fixed_atoms_stay_to_the_last_bit(self, models, crystal, thermostat, rescale):
        crystal.set_constraint(FixAtoms([0, 17, 30]))
        options = {**BATH, "thermostat": thermostat, "rescale_energy": rescale}
        run = rollout(crystal, models("pair_stride"), steps=40, **options)
        for frame in run:
            np.testing.assert_array_equal(frame.positions[[0, 17, 30]], crystal.positions[[0, 17, 30]])
            assert not frame.get_momenta()[[0, 17, 30]].any()
        assert np.abs(run[-1].positions - crystal.positions).max() > 0.01
        assert [type(c) for c in run[-1].constraints] == [FixAtoms]

    def test_temperature_counts_free_atoms_only(self, models, crystal):
        crystal.set_constraint(FixAtoms(range(32)))
        run = rollout(crystal, models("pair_stride"), steps=3, **BATH)
        frame = run[-1]
        kinetic = (frame.get_momenta()[32:] ** 2).sum() / (2 * 39.948)
        assert run.temperature_K["total"][-1] == pytest.approx(2 * kinetic / (3 * 32 * units.kB))

    def test_centre_of_mass_stays(self, models, crystal):
        crystal.set_momenta(crystal.get_momenta() + np.array([0.5, 0.0, 0.0]))
        crystal.set_constraint(FixCom())
        run = rollout(crystal, models("pair_stride"), steps=40, **BATH)
        np.testing.assert_allclose(run[-1].get_center_of_mass(), crystal.get_center_of_mass(), atol=1e-9)


class TestBarostat:
    @pytest.mark.parametrize("barostat", [CellRescaling(time_constant_fs=200, **SOFT), MonteCarloBarostat(**SOFT)])
    @pytest.mark.parametrize("coupling", ["isotropic", "anisotropic"])
    def test_the_cell_gives_way_to_pressure(self, models, barostat, coupling):
        """From 2.5 Å under 30 kbar: smaller, by the same factor along all axes or by its own along each."""
        barostat = replace(barostat, coupling=coupling)
        run = rollout(make_crystal(3), models("pair_stride"), steps=600, barostat=barostat, **PRESSURE)
        lengths = np.array([frame.cell.lengths() for frame in run])
        assert 0.6 < lengths[-200:].prod(axis=1).mean() / lengths[0].prod() < 0.95
        shape = np.ptp(lengths, axis=1).max()
        assert shape < 1e-12 if coupling == "isotropic" else shape > 1e-3
        assert run.report["statistics"]["barostat"]["tried"] == 300
        scaled = run[-1].get_scaled_positions(wrap=False)
        assert np.abs(scaled - run[0].get_scaled_positions(wrap=False)).max() < 0.2

    def test_work_is_kept_out_of_the_conserved_energy(self, models):
        """Rescaled to the conserved quantity under a bath and a barostat: 1e-9 of the kinetic energy."""
        options = {**PRESSURE, "barostat": CellRescaling(**SOFT), "rescale_energy": True}
        run = rollout(make_crystal(3), models("pair_stride"), steps=200, **options)
        assert abs(run.report["statistics"]["work_eV"]) > 1e-3
        change = np.abs(run.conserved_energy - run.conserved_energy[0]).max()
        assert change < 1e-9 * run.kinetic_energy.max()


class TestRescaling:
    @pytest.mark.parametrize("scope", ["global", "species", "molecule"])
    def test_every_scope_holds_the_energy(self, models, crystal, scope):
        numbers = crystal.numbers.copy()
        numbers[::3] = 10
        mixed = Atoms(numbers, crystal.positions, cell=crystal.cell, pbc=True)
        mixed.set_masses([20.1797 if z == 10 else 39.948 for z in numbers])
        mixed.set_momenta(crystal.get_momenta())
        run = rollout(mixed, models("pair_stride"), steps=150, rescale_energy=scope)
        assert np.abs(run.total_energy - run.total_energy[0]).max() < 1e-9 * run.kinetic_energy.max()
        assert run.report["statistics"]["rescaling"]["count"] == 150
        assert np.abs(run[-1].get_momenta().sum(axis=0) - mixed.get_momenta().sum(axis=0)).max() < 1e-9


@pytest.fixture
def context():
    """Argon with Lennard-Jones interactions in OpenMM, and the same in ASE."""
    openmm = pytest.importorskip("openmm")
    atoms = make_crystal(4)
    atoms.set_cell(1.5 * atoms.cell.array, scale_atoms=True)
    epsilon, sigma, cutoff = 0.0103, 3.4, 7.0
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(cutoff * 0.1)
    force.setUseDispersionCorrection(False)
    system = openmm.System()
    for _ in atoms:
        system.addParticle(39.948)
        force.addParticle(0.0, sigma * 0.1, epsilon * units.mol / units.kJ)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*(atoms.cell.array * 0.1))
    platform = openmm.Platform.getPlatformByName("Reference")
    made = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    calculator = LennardJones(sigma=sigma, epsilon=epsilon, rc=cutoff, ro=cutoff, smooth=False)
    return atoms, made, calculator


class TestOpenMM:
    def test_energies_are_those_of_ase(self, models, context):
        """ASE shifts the energy at the cutoff, pair by pair: differences between frames are compared where no pair
        crosses it.
        """
        atoms, made, calculator = context
        run = rollout(atoms, models("free_flight"), steps=5, rescale_energy=False, energy_model=made)
        shift = 4 * 0.0103 * ((3.4 / 7.0) ** 12 - (3.4 / 7.0) ** 6)
        from ase.neighborlist import neighbor_list

        for frame, energy in zip(run, run.potential_energy, strict=True):
            bare = frame.copy()
            bare.calc = calculator
            pairs = len(neighbor_list("i", bare, 7.0)) / 2
            assert energy == pytest.approx(bare.get_potential_energy() + pairs * shift, abs=2e-5)

    def test_rescaling_and_monte_carlo_by_openmm(self, models, context):
        atoms, made, _ = context
        options = {**BATH, "pressure_bar": 100.0, "barostat": MonteCarloBarostat(compressibility_per_bar=1e-4)}
        run = rollout(atoms, models("free_flight"), steps=60, rescale_energy=True, energy_model=made, **options)
        assert run.report["statistics"]["barostat"]["tried"] == 6
        assert np.abs(run.conserved_energy - run.conserved_energy[0]).max() < 1e-9 * run.kinetic_energy.max()

    def test_no_virial_no_cell_rescaling(self, models, context):
        atoms, made, _ = context
        with pytest.raises(InputError, match=r"needs the virial.*Monte Carlo"):
            rollout(atoms, models("free_flight"), steps=60, energy_model=made, pressure_bar=1.0, **BATH)

    def test_other_atoms(self, models, context):
        atoms, made, _ = context
        with pytest.raises(InputError, match="64 particles, the structure 63 atoms"):
            rollout(atoms[:-1], models("free_flight"), steps=1, energy_model=made)


def test_cell_rescaling_by_an_ase_calculator(models, context):
    """Its stress is the virial."""
    atoms, _, calculator = context
    options = {**BATH, "pressure_bar": 2000.0, "barostat": CellRescaling(interval=1, compressibility_per_bar=1e-4)}
    run = rollout(atoms, models("free_flight"), steps=100, energy_model=calculator, **options)
    assert run[-1].get_volume() < run[0].get_volume()
