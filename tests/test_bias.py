"""A bias acts as an impulse around each stride: against theory, and against the same force in the model itself."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from ase.md.verlet import VelocityVerlet
from scipy.stats import kstest

import flashmd_rs
from flashmd_rs import InputError, Langevin, MonteCarloBarostat, Simulation

from conftest import fixture_model, make_crystal

KELVIN = 300.0
# Wells at ±1 Å, the one on the right deeper by TILT, eV.
BARRIER, TILT = 0.05, 0.02


class DoubleWell(Calculator):
    """Each atom of its own along x, and held along y and z."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms, properties, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, side = self.atoms.positions[:, 0] % 100 - 50, self.atoms.positions[:, 1:] % 100 - 50
        energies = well(x) + 0.5 * (side**2).sum(1)
        slope = 4 * BARRIER * x * (x**2 - 1) - TILT / 2 * np.cosh(x) ** -2
        self.results = {"energy": energies.sum(), "forces": -np.column_stack([slope, side])}


def well(x):
    return BARRIER * (x**2 - 1) ** 2 - TILT / 2 * np.tanh(x)


def walkers(count):
    """Atoms too far apart to know of each other, in cells of 100 Å, the last of them fixed."""
    places = np.array(np.unravel_index(range(count), (8, 8, 8))).T
    left_and_right = np.outer((-1.0) ** np.arange(count), [1, 0, 0])
    atoms = Atoms(f"H{count}", 100.0 * places + 50.0 + left_and_right, constraint=FixAtoms([count - 1]))
    atoms.set_momenta(flashmd_rs.temperature.draw_momenta(atoms.get_masses(), KELVIN, seed=1))
    return atoms


def test_a_double_well_is_populated_by_boltzmanns_law(models):
    """Free flight and the bias are velocity Verlet in it, OBABO with a thermostat."""
    bath = {"temperature_K": KELVIN, "thermostat": Langevin(40), "seed": 2, "guard": "off"}
    simulation = Simulation(walkers(400), models("free_flight"), bias=DoubleWell(), **bath)
    simulation.step(2000)
    found = []
    for _ in range(40):
        simulation.step(100)
        found.append(simulation.state.positions[:-1, 0] % 100 - 50)
    x, kT = np.linspace(-3, 3, 4001), units.kB * KELVIN
    density = np.exp(-well(x) / kT)
    law = np.cumsum(density) / density.sum()
    sample = np.concatenate(found)
    # It takes ten frames or so to forget which well an atom was in.
    independent = np.random.default_rng(0).choice(sample, len(sample) // 10, replace=False)
    assert kstest(independent, lambda q: np.interp(q, x, law)).pvalue > 1e-3
    right, wanted = np.mean(sample > 0), density[x > 0].sum() / density.sum()
    assert wanted > 0.6
    assert right == pytest.approx(wanted, abs=4 * np.sqrt(0.25 / (len(sample) / 10)))


def test_free_flight_with_a_bias_is_velocity_verlet(models):
    atoms = walkers(20)
    simulation = Simulation(atoms, models("free_flight"), bias=DoubleWell(), guard="off")
    simulation.step(25)
    atoms.calc = DoubleWell()
    VelocityVerlet(atoms, models("free_flight").stride_fs * units.fs).run(25)
    assert np.abs(simulation.atoms.positions - atoms.positions).max() < 1e-4


def test_a_bias_can_be_a_model(models, crystal):
    """Free flight and an energy model's forces, as the energy model's own velocity Verlet."""
    simulation = Simulation(crystal, models("free_flight"), bias=models("pair_energy"), guard="off")
    simulation.step(5)
    crystal.calc = models("pair_energy").calculator()
    VelocityVerlet(crystal, models("free_flight").stride_fs * units.fs).run(5)
    assert np.abs(simulation.atoms.positions - crystal.positions).max() < 1e-4


def test_what_a_bias_brings_is_not_rescaled_away(models):
    """Springs to where the atoms are not: with rescaling by a good model's energy, K + V grows as without."""

    class Springs(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms, properties, system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            away = self.atoms.positions - crystal.positions - np.array([0.3, 0.0, 0.0]) * signs
            self.results = {"energy": 0.5 * (away**2).sum(), "forces": -away}

    crystal, totals = make_crystal(4), []
    signs = np.where(np.arange(len(crystal)) % 2, 1.0, -1.0)[:, None]
    for rescaled in (False, True):
        given = {"rescale_energy": rescaled, "energy_model": fixture_model("pair_energy"), "bias": Springs()}
        simulation = Simulation(crystal, models("pair_stride"), **given)
        simulation.step(20)
        atoms = simulation.atoms
        atoms.calc = models("pair_energy").calculator()
        totals.append(atoms.get_total_energy())
    crystal.calc = models("pair_energy").calculator()
    grown = np.array(totals) - crystal.get_total_energy()
    assert grown[0] > 0.05
    assert grown[1] == pytest.approx(grown[0], rel=0.1)


def test_a_run_goes_on_with_its_bias(models, tmp_path):
    bath = {"temperature_K": KELVIN, "seed": 2, "guard": "off", "rescale_energy": False}
    whole = Simulation(walkers(20), models("free_flight"), bias=DoubleWell(), **bath)
    whole.step(3)
    whole.save(tmp_path / "run.ckpt")
    whole.step(3)
    with pytest.raises(InputError, match=r"has a bias by DoubleWell, which no file can hold.* bias=…\)"):
        Simulation.load(tmp_path / "run.ckpt", model=models("free_flight"))
    second = Simulation.load(tmp_path / "run.ckpt", model=models("free_flight"), bias=DoubleWell())
    second.step(3)
    assert np.array_equal(second.atoms.positions, whole.atoms.positions)
    assert second.report["bias"] == "DoubleWell"


def test_what_does_not_know_of_a_bias_is_refused(models, crystal):
    bath = {"temperature_K": 60.0, "bias": models("pair_energy")}
    with pytest.raises(InputError, match="a barostat does not know of a bias"):
        Simulation(crystal, models("pair_stride"), pressure_bar=1.0, barostat=MonteCarloBarostat(), **bath)
    with pytest.raises(InputError, match="metropolis does not know of a bias"):
        Simulation(crystal, models("weak"), metropolis=True, guard="off", **bath)
    with pytest.raises(InputError, match="got int for bias, wanted"):
        Simulation(crystal, models("pair_stride"), bias=3)
