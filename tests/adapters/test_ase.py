"""Strides as a molecular dynamics of ASE."""

import io
from itertools import pairwise

import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator
from ase.md.md import MolecularDynamics

import flashmd_rs
from flashmd_rs import InputError, Model, Simulation
from flashmd_rs.adapters.ase import Bussi, FlashMD, Langevin, VelocityVerlet
from flashmd_rs.temperature import draw_momenta

from conftest import fixture_model, make_crystal

BATH = {"temperature_K": 60.0, "thermostat": flashmd_rs.Langevin(50), "seed": 4}
PRESSURE = {**BATH, "pressure_bar": 2000.0, "energy_model": fixture_model("pair_energy")}


class EnergyAlone(Calculator):
    """Counts how often it is asked for an energy; fails for anything else."""

    implemented_properties = ("energy",)

    def __init__(self):
        super().__init__()
        self.model, self.asked = Model(fixture_model("pair_energy"), device="cpu", threads=1).calculator(), 0

    def calculate(self, atoms, properties, system_changes):
        assert properties == ["energy"]
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        self.results = {"energy": self.model.get_potential_energy(atoms)}


def same(some, others):
    for of in (lambda a: a.positions, lambda a: a.get_momenta(), lambda a: a.cell.array):
        assert np.array_equal(of(some), of(others))


@pytest.mark.parametrize("ensemble", [{"rescale_energy": False}, BATH, PRESSURE], ids=["nve", "nvt", "npt"])
def test_its_strides_are_those_of_a_simulation(models, crystal, ensemble):
    """To the last bit, and however they are asked for."""
    simulation = Simulation(crystal, models("pair_stride"), **ensemble)
    dynamics = FlashMD(crystal.copy(), models("pair_stride"), **ensemble)
    assert isinstance(dynamics, MolecularDynamics)
    simulation.step(7)
    assert dynamics.run(3)
    assert list(dynamics.irun(4)) == [False] * 4 + [True]
    same(dynamics.atoms, simulation.atoms)
    assert (dynamics.nsteps, dynamics.get_time()) == (7, pytest.approx(7 * dynamics.dt))


def test_log_trajectory_and_observers_are_ases(models, crystal, tmp_path):
    log, seen = io.StringIO(), []
    atoms = crystal.copy()
    atoms.calc = EnergyAlone()
    dynamics = FlashMD(
        atoms, models("pair_stride"), trajectory=str(tmp_path / "run.traj"), logfile=log, loginterval=2, **BATH
    )
    dynamics.attach(lambda: seen.append(dynamics.nsteps), interval=3)
    dynamics.run(6)
    assert seen == [0, 3, 6]
    lines = log.getvalue().splitlines()
    assert lines[0].split()[:2] == ["Time[ps]", "Etot[eV]"]
    assert len(lines) == 1 + 4
    # One energy a line, no forces.
    assert atoms.calc.asked == 4
    frames = ase.io.read(tmp_path / "run.traj", ":")
    assert len(frames) == 4
    same(frames[-1], atoms)
    written = ase.io.Trajectory(tmp_path / "run.traj")
    assert written.description["md-type"] == "FlashMD"
    assert written.description["timestep"] == pytest.approx(dynamics.dt)
    assert written.description["model_sha256"] == models("pair_stride").sha256


def test_a_log_without_a_calculator_states_the_models_energy(models, crystal):
    log, atoms = io.StringIO(), crystal.copy()
    FlashMD(atoms, models("pair_stride"), logfile=log, **BATH).run(1)
    energy = models("pair_energy").calculator().get_potential_energy(atoms)
    assert float(log.getvalue().splitlines()[-1].split()[2]) == pytest.approx(energy, abs=1e-3)
    with pytest.raises(InputError, match="names no energy model: give the atoms a calculator, or leave logfile out"):
        FlashMD(crystal.copy(), models("free_flight"), logfile=io.StringIO(), guard="off")


def test_what_observers_do_counts(models, crystal):
    """One that drags an atom and cools the rest, as a simulation whose caller does so."""

    def drag(atoms):
        atoms.positions[0] += 0.01
        atoms.set_momenta(0.9 * atoms.get_momenta())

    dynamics = FlashMD(crystal.copy(), models("pair_stride"), **BATH)
    dynamics.attach(lambda: drag(dynamics.atoms))
    dynamics.run(4)
    atoms = crystal.copy()
    simulation = Simulation(atoms, models("pair_stride"), **BATH)
    for step in range(5):
        atoms = simulation.atoms
        drag(atoms)
        simulation.atoms = atoms
        if step < 4:
            simulation.step()
    same(dynamics.atoms, simulation.atoms)


def test_goes_on_from_its_checkpoint_to_the_last_bit(models, crystal, tmp_path):
    whole = FlashMD(crystal.copy(), models("pair_stride"), **BATH)
    whole.run(6)
    first = FlashMD(crystal.copy(), models("pair_stride"), trajectory=str(tmp_path / "run.traj"), **BATH)
    first.run(4)
    first.save(tmp_path / "run.ckpt")
    first.close()
    second = FlashMD.load(tmp_path / "run.ckpt", model=models("pair_stride"), trajectory=str(tmp_path / "run.traj"))
    assert second.nsteps == 4
    second.run(2)
    second.close()
    same(second.atoms, whole.atoms)
    assert len(ase.io.read(tmp_path / "run.traj", ":")) == 7


def test_an_unstable_stride_leaves_the_last_good_atoms(models, crystal):
    atoms = crystal.copy()
    dynamics = FlashMD(atoms, models("explodes"), guard="off", rescale_energy=False)
    with pytest.raises(flashmd_rs.StabilityError) as error:
        dynamics.run(50)
    assert np.isfinite(atoms.positions).all()
    same(atoms, error.value.last_good)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 5}, r"got steps, which is ASE's part here: give it by run\(steps\)"),
        ({"interval": 5}, "got interval, .* loginterval"),
        ({"observers": [print]}, "got observers, .* attach"),
    ],
)
def test_what_ase_does_is_refused(models, crystal, given, said):
    with pytest.raises(InputError, match=said):
        FlashMD(crystal, models("pair_stride"), **given)


class TestNamesakes:
    """Scripts for flashmd.ase, with the import and the line of the model changed."""

    def test_energy_is_kept(self, models):
        atoms = make_crystal(3)
        atoms.calc = models("pair_energy").calculator()
        stride = models("pair_stride").stride_fs * units.fs
        before = atoms.get_total_energy()
        dynamics = VelocityVerlet(atoms=atoms, timestep=stride, model=models("pair_stride"), device="cpu")
        dynamics.run(10)
        assert atoms.get_total_energy() == pytest.approx(before, abs=1e-5)

    @pytest.mark.parametrize("thermostat", [Langevin, Bussi])
    def test_baths_have_their_temperature(self, models, thermostat):
        atoms, rng = make_crystal(4), np.random.default_rng(3)
        atoms.set_momenta(draw_momenta(atoms.get_masses(), 60.0, seed=2))
        stride = models("pair_stride").stride_fs * units.fs
        dynamics = thermostat(
            atoms=atoms,
            timestep=stride,
            temperature_K=60,
            model=models("pair_stride"),
            time_constant=20 * units.fs,
            rng=rng,
        )
        found = []
        dynamics.attach(lambda: found.append(atoms.get_kinetic_energy()), interval=5)
        dynamics.run(4000)
        wanted, count = 1.5 * 63 * units.kB * 60, len(found) - 100
        error = wanted * np.sqrt(2 / (3 * 63) / count * 3)
        assert np.mean(found[100:]) == pytest.approx(wanted, abs=4 * error)
        assert np.abs(atoms.get_momenta().sum(0)).max() < (1e-9 if thermostat is Langevin else np.inf)

    def test_the_same_rng_gives_the_same_run(self, models, crystal):
        runs = []
        for seed in (1, 1, 2):
            atoms = crystal.copy()
            stride = models("pair_stride").stride_fs * units.fs
            Langevin(atoms, stride, 60, models("pair_stride"), rng=np.random.default_rng(seed)).run(3)
            runs.append(atoms.positions)
        assert [np.array_equal(a, b) for a, b in pairwise(runs)] == [True, False]

    def test_what_cannot_be_is_refused(self, models, crystal):
        with pytest.raises(InputError, match=r"got a timestep of 0.5 fs; strides of pair_stride are"):
            VelocityVerlet(crystal, 0.5 * units.fs, models("pair_stride"))
        stride = models("pair_stride").stride_fs * units.fs
        with pytest.raises(InputError, match="got fixcm=False"):
            Langevin(crystal, stride, 60, models("pair_stride"), fixcm=False)
