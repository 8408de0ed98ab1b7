"""The main call: defaults, physics, reproducibility, failure."""

import os
import signal
import threading
import time
import warnings

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from scipy import stats

from flashmd_rs import (
    EnergyRescaling,
    FlashMDWarning,
    InputError,
    Langevin,
    Model,
    ModelError,
    StabilityError,
    rollout,
)
from flashmd_rs.temperature import draw_momenta

from conftest import fixture_model, make_crystal

pytestmark = pytest.mark.filterwarnings("error::flashmd_rs.FlashMDWarning")


def positions(run):
    return np.array([frame.positions for frame in run])


def momenta(run):
    return np.array([frame.get_momenta() for frame in run])


class TestDefaults:
    def test_frames(self, models, gas):
        """First and last frame are kept whatever the interval; times are those of the strides."""
        run = rollout(gas, models("free_flight"), steps=10, interval=4, temperature_K=60)
        np.testing.assert_allclose(run.times_ps, [0, 0.004, 0.008, 0.010], atol=1e-12)
        assert [frame.info["step"] for frame in run] == [0, 4, 8, 10]
        assert len(run) == len(run.frames) == 4
        assert np.array_equal(run[0].positions, gas.positions)
        assert np.array_equal(run[0].get_momenta(), gas.get_momenta())

    @pytest.mark.parametrize(("steps", "frames"), [(1, 2), (999, 1000), (2000, 1001), (2500, 1251)])
    def test_interval(self, models, gas, steps, frames):
        assert len(rollout(gas[:2], models("free_flight"), steps=steps, temperature_K=60)) == frames

    @pytest.mark.parametrize(("time_ps", "steps"), [(0.01, 5), (0.0101, 6), (0.0001, 1), (0.1, 50)])
    def test_time_is_rounded_up(self, models, time_ps, steps):
        run = rollout(make_crystal(2), models("pair_stride"), time_ps=time_ps, temperature_K=50)
        assert run.report["steps"] == steps

    def test_thermostat(self, models, gas):
        def chosen(**options):
            return rollout(gas, models("free_flight"), steps=1, rescale_energy=False, **options).report

        assert chosen(temperature_K=300)["thermostat"] == Langevin(time_constant_fs=100)
        assert chosen()["thermostat"] is None
        assert chosen(temperature_K=300, thermostat="none")["thermostat"] is None

    def test_momenta_are_drawn_only_where_there_are_none(self, models, gas):
        bare = gas.copy()
        del bare.arrays["momenta"]
        run = rollout(bare, models("free_flight"), steps=1, temperature_K=300, seed=4)
        assert np.array_equal(run[0].get_momenta(), draw_momenta(gas.get_masses(), 300.0, 4))
        assert not bare.has("momenta")
        assert np.abs(run[0].get_momenta().sum(axis=0)).max() < 1e-10

    def test_temperature_without_thermostat_only_draws(self, models, gas):
        bare = gas.copy()
        del bare.arrays["momenta"]
        options = {"temperature_K": 300, "thermostat": "none", "rescale_energy": False}
        run = rollout(bare, models("free_flight"), steps=5, seed=4, **options)
        np.testing.assert_allclose(run[-1].get_momenta(), run[0].get_momenta(), rtol=1e-5)

    def test_seed_is_drawn_and_recorded(self, models, gas):
        first, second = (rollout(gas, models("free_flight"), steps=3, temperature_K=60) for _ in range(2))
        assert first.seed != second.seed
        again = rollout(gas, models("free_flight"), steps=3, temperature_K=60, seed=first.seed)
        assert np.array_equal(momenta(again), momenta(first))

    def test_rotation_is_for_models_that_need_it(self, models, gas):
        def rotated(name):
            return rollout(gas, models(name), steps=1, temperature_K=60).report["random_rotation"]

        assert rotated("skewed")
        assert not rotated("free_flight")

    def test_model_by_path_and_stride_check(self, gas):
        path = fixture_model("free_flight")
        assert len(rollout(gas, str(path), steps=1, temperature_K=60, stride_fs=1.0)) == 2
        assert len(rollout(gas, Model(path, device="cpu", threads=1), steps=1, temperature_K=60, stride_fs=1.0)) == 2
        with pytest.raises(InputError, match=r"stride_fs=16, but the stride of free_flight is 1 fs"):
            rollout(gas, path, steps=1, temperature_K=60, stride_fs=16)

    def test_report_says_what_was_done(self, models, gas):
        report = rollout(gas, models("free_flight"), steps=7, temperature_K=60, seed=2).report
        expected = {"model": "free_flight", "device": "cpu", "threads": 1, "steps": 7, "seed": 2, "temperature_K": 60.0}
        assert {key: report[key] for key in expected} == expected
        assert set(report["versions"]) == {"flashmd-rs", "onnxruntime", "ase", "numpy"}
        assert report["time_ps"] == pytest.approx(0.007)
        assert report["seconds"] >= report["seconds_network"] >= 0


class TestEnergy:
    def test_reference_energy_model_is_found_and_the_energy_held(self, models, crystal):
        """NVE of a direct model that names its reference energy model rescales by default: H₀ to 1e-9 relative."""
        run = rollout(crystal, models("pair_stride"), steps=200, seed=1)
        assert run.report["rescale_energy"] == EnergyRescaling()
        assert run.report["energy_model"] == "pair_energy"
        scale = np.abs(run.kinetic_energy).max()
        assert np.abs(run.total_energy - run.total_energy[0]).max() < 1e-9 * scale
        assert run.report["statistics"]["rescaling"]["count"] == 200

    def test_energy_can_be_watched_without_rescaling(self, models, crystal):
        run = rollout(
            crystal, models("pair_stride"), steps=200, rescale_energy=False, energy_model=models("pair_energy")
        )
        assert run.report["rescale_energy"] is None
        change = np.abs(run.total_energy - run.total_energy[0]).max()
        assert 1e-6 < change < 0.05 * run.kinetic_energy[0]

    def test_heat_is_kept_out_of_the_conserved_energy(self, models, crystal):
        """With a bath the total energy moves, the conserved one stays where rescaling holds it."""
        options = {"temperature_K": 300, "thermostat": Langevin(50), "rescale_energy": True, "seed": 1}
        run = rollout(crystal, models("pair_stride"), steps=100, **options)
        assert np.abs(run.total_energy - run.total_energy[0]).max() > 0.1
        assert np.abs(run.conserved_energy - run.conserved_energy[0]).max() < 1e-9 * run.kinetic_energy.max()

    def test_any_ase_calculator_will_do(self, models):
        atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 5.0]], momenta=[[0, 0, 1.0], [0, 0, -1.0]])
        calculator = LennardJones(sigma=3.4, epsilon=0.01, rc=15.0)
        run = rollout(atoms, models("free_flight"), steps=20, rescale_energy=True, energy_model=calculator)
        again = [LennardJones(sigma=3.4, epsilon=0.01, rc=15.0).get_potential_energy(frame) for frame in run]
        np.testing.assert_allclose(run.potential_energy, again, rtol=1e-12)
        np.testing.assert_allclose(run.total_energy, run.total_energy[0], rtol=1e-9)
        assert run[3].get_potential_energy() == run.potential_energy[3]

    def test_a_bare_direct_model_warns_with_its_drift(self, models, crystal):
        with pytest.warns(FlashMDWarning, match=r"nve drift -1\.25 eV/ps") as caught:
            run = rollout(crystal, models("pair_alone"), steps=3)
        assert len(caught) == 1
        assert run.total_energy is None
        with pytest.warns(FlashMDWarning, match="another SHA-256"):
            rollout(crystal, models("pair_wrong_reference"), steps=3)

    def test_no_warning_where_none_is_due(self, models, crystal):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            rollout(crystal, models("pair_alone"), steps=2, rescale_energy=False)
            rollout(crystal, models("pair_alone"), steps=2, temperature_K=50)
            rollout(crystal, models("pair_alone"), steps=2, energy_model=fixture_model("pair_energy"))

    def test_rescaling_without_an_energy_is_refused(self, models, crystal):
        with pytest.raises(InputError, match="needs an energy"):
            rollout(crystal, models("pair_alone"), steps=2, rescale_energy=True)
        with pytest.raises(ModelError, match="SHA-256"):
            rollout(crystal, models("pair_wrong_reference"), steps=2, rescale_energy=True)


class TestPhysics:
    def test_free_flight_is_straight(self, models, gas):
        run = rollout(gas, models("free_flight"), steps=100, rescale_energy=False)
        velocity = gas.get_momenta() / gas.get_masses()[:, None]
        expected = gas.positions + run.times_ps[:, None, None] * 1000 * units.fs * velocity
        np.testing.assert_allclose(positions(run), expected, rtol=0, atol=1e-5)

    def test_langevin_on_free_flight_is_maxwell_boltzmann(self, models):
        """200 atoms, 100 frames 10 time constants apart: Kolmogorov–Smirnov and χ² of ⟨p²⟩ at 0.1 %, per species."""
        rng = np.random.default_rng(0)
        gas = Atoms(["H", "O"] * 100, positions=rng.uniform(0, 2000, (200, 3)))
        run = rollout(
            gas, models("free_flight"), steps=5000, interval=50, temperature_K=300, thermostat=Langevin(5), seed=11
        )
        masses, symbols = gas.get_masses(), np.array(gas.get_chemical_symbols())
        width = np.sqrt(masses * units.kB * 300.0 * (1 - masses / masses.sum()))
        scaled = momenta(run)[1:] / width[:, None]
        for symbol in "HO":
            sample = scaled[:, symbols == symbol].ravel()
            assert stats.kstest(sample, "norm").pvalue > 1e-3
            low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], len(sample))
            assert low < np.sum(sample**2) < high
        assert np.abs(momenta(run).sum(axis=1)).max() < 1e-9

    def test_bath_heats_a_crystal_to_its_temperature(self, models):
        atoms = make_crystal(4, temperature_K=1.0)
        with pytest.warns(FlashMDWarning, match=r"60 K asked for"):
            run = rollout(atoms, models("pair_stride"), time_ps=4, temperature_K=60, thermostat=Langevin(50), seed=5)
        assert run.temperature_K["total"][:3].mean() < 10
        assert run.temperature_K["total"][len(run) // 2 :].mean() == pytest.approx(60, abs=4)

    def test_noise_of_the_model_is_drawn(self, models, gas):
        one, two = (rollout(gas, models("noisy"), steps=2, rescale_energy=False, seed=s) for s in (1, 2))
        assert not np.array_equal(momenta(one), momenta(two))
        np.testing.assert_allclose(
            momenta(one).sum(axis=1), gas.get_momenta().sum(axis=0)[None].repeat(3, 0), atol=1e-9
        )

    def test_random_rotation_averages_out_a_direction(self, models):
        """A model that shrinks x by 2 % a stride: unrotated x dies alone, rotated all axes shrink alike."""
        gas = Atoms("Ne30", positions=np.random.default_rng(2).uniform(0, 300, (30, 3)))
        gas.set_momenta(draw_momenta(gas.get_masses(), 100, seed=1))
        options = {"steps": 200, "rescale_energy": False, "seed": 3, "guard": "off"}
        left = {
            rotate: np.sum(rollout(gas, models("skewed"), random_rotation=rotate, **options)[-1].get_momenta() ** 2, 0)
            / np.sum(gas.get_momenta() ** 2, axis=0)
            for rotate in (False, "auto")
        }
        np.testing.assert_allclose(left[False], [0.98**400, 1, 1], rtol=1e-3)
        assert left["auto"].max() < 2 * left["auto"].min() < 0.6


class TestReproducibility:
    @pytest.mark.parametrize("name", ["pair_stride", "skewed", "noisy"])
    def test_same_seed_same_bits(self, models, name):
        atoms = make_crystal(3)
        options = {"steps": 30, "temperature_K": 80, "thermostat": Langevin(20)}
        one, two = (rollout(atoms, models(name), seed=9, **options) for _ in range(2))
        other = rollout(atoms, models(name), seed=10, **options)
        assert np.array_equal(positions(one), positions(two))
        assert np.array_equal(momenta(one), momenta(two))
        assert not np.array_equal(momenta(one), momenta(other))

    def test_what_is_kept_does_not_change_the_run(self, models):
        atoms = make_crystal(3)
        fine, coarse = (
            rollout(atoms, models("pair_stride"), steps=20, interval=n, temperature_K=80, seed=1) for n in (1, 20)
        )
        assert np.array_equal(fine[-1].positions, coarse[-1].positions)


class Runaway(Calculator):
    """An energy that jumps far beyond what the motion can pay for after a few calls."""

    implemented_properties = ("energy",)

    def __init__(self):
        super().__init__()
        self.calls = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.calls += 1
        self.results = {"energy": 0.0 if self.calls < 6 else 1e6}


class TestFailure:
    def test_instability_keeps_the_last_good_frame(self, models, gas, tmp_path):
        target = tmp_path / "run.extxyz"
        with pytest.raises(StabilityError, match="last good frame is in") as caught:
            rollout(gas, models("explodes"), steps=1000, temperature_K=300, seed=1, trajectory=target, guard="off")
        error = caught.value
        assert 0 < error.step < 1000
        assert error.time_ps == pytest.approx(error.step / 1000)
        assert error.atoms
        assert error.quantity
        assert np.isfinite(error.last_good.get_momenta()).all()
        assert error.saved_to == str(tmp_path / "run.last_good.extxyz")
        saved = ase.io.read(error.saved_to)
        np.testing.assert_allclose(saved.positions, error.last_good.positions, atol=1e-7)
        frames = ase.io.read(target, ":")
        assert len(frames) == error.step
        np.testing.assert_allclose(frames[-1].positions, saved.positions, atol=1e-7)

    def test_instability_without_a_file_still_returns_the_frame(self, models, gas):
        with pytest.raises(StabilityError) as caught:
            rollout(gas, models("explodes"), steps=1000, temperature_K=300, seed=1, guard="off")
        assert isinstance(caught.value.last_good, Atoms)
        assert caught.value.saved_to is None
        assert isinstance(caught.value, ArithmeticError)

    def test_impossible_rescaling_is_an_error_not_a_nan(self, models, gas):
        with pytest.raises(StabilityError):
            rollout(gas, models("free_flight"), steps=20, rescale_energy=True, energy_model=Runaway())

    def test_an_error_in_the_calculator_comes_through(self, models, gas):
        class Broken(Runaway):
            def calculate(self, *args, **kwargs):
                raise ZeroDivisionError("from the calculator")

        with pytest.raises(ZeroDivisionError, match="from the calculator"):
            rollout(gas, models("free_flight"), steps=20, rescale_energy=True, energy_model=Broken())

    @pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
    def test_ctrl_c_keeps_what_was_written(self, models, tmp_path, suffix):
        """A real SIGINT in the middle of a run of hours: it ends at once, and every frame in the file is whole."""
        target = tmp_path / f"run{suffix}"
        timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
        start = time.perf_counter()
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            rollout(
                make_crystal(3), models("pair_stride"), steps=10**8, interval=20, temperature_K=50, trajectory=target
            )
        assert time.perf_counter() - start < 10
        frames = ase.io.read(target, ":")
        assert len(frames) > 2
        assert [frame.info.get("step", 20 * k) for k, frame in enumerate(frames)] == [
            20 * k for k in range(len(frames))
        ]
        assert all(len(frame) == 27 and frame.has("momenta") for frame in frames)
