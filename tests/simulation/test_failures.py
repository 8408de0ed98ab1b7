"""Simulations that fail or are interrupted."""

import os
import signal
import warnings

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from flashmd_rs import (
    Checkpoint,
    FlashMDWarning,
    InputError,
    Langevin,
    Simulation,
    StabilityError,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import read_checkpoint

from conftest import fixture_model
from runs import BATH, SUFFIXES, assert_same_files, assert_same_frames, start


class TestFailure:
    OPTIONS = {"temperature_K": 300, "seed": 1, "guard": "off"}  # noqa: RUF012 (not changed)

    def test_a_failing_system(self, models, gas, tmp_path):
        """Raised once more whenever it is to move; what was kept until then can be had."""
        path = tmp_path / "run.extxyz"
        with pytest.raises(StabilityError) as expected:
            rollout(gas, models("explodes"), steps=1000, **self.OPTIONS)
        simulation = Simulation(gas, models("explodes"), interval=1, trajectory=path, **self.OPTIONS)
        simulation.step(2)
        for _ in range(2):
            with pytest.raises(StabilityError, match="the last good frame is in") as caught:
                simulation.step(1000)
            assert caught.value.step == expected.value.step
        np.testing.assert_array_equal(caught.value.last_good.positions, expected.value.last_good.positions)
        saved = ase.io.read(caught.value.saved_to)
        np.testing.assert_allclose(saved.positions, caught.value.last_good.positions, rtol=0, atol=1e-8)
        trajectory = simulation.trajectory
        assert str(trajectory.failure) == str(caught.value)
        assert [frame.info["step"] for frame in trajectory] == list(range(caught.value.step))
        assert len(ase.io.read(path, ":")) == caught.value.step
        simulation.close()

    def test_a_failing_replica_leaves_the_others(self, models, gas):
        hot = gas.copy()
        hot.set_momenta(100.0 * gas.get_momenta())
        options = {**self.OPTIONS, "temperature_K": 60.0, "thermostat": Langevin(50), "interval": 1}
        seen = []
        observers = [(lambda view: seen.append((view.step, view.replica)), 1)]
        simulation = Simulation([gas, hot], models("explodes"), observers=observers, **options)
        with pytest.warns(FlashMDWarning, match="replica 1 ended early") as caught:
            simulation.step(4)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            simulation.step()
        good, bad = simulation.trajectory
        assert (good.failure, good[-1].info["step"], simulation.nsteps) == (None, 5, 5)
        assert bad.failure.step == len(bad)
        assert bad.report["time_ps"] < good.report["time_ps"]
        assert simulation.state[1].step == bad.failure.step - 1
        assert (5, 0) in seen
        assert (bad.failure.step, 1) not in seen

    @pytest.mark.parametrize("first_fails", [False, True])
    def test_iterating_over_replicas_of_which_one_fails(self, models, gas, first_fails):
        """It stays at its last frame."""
        hot = gas.copy()
        hot.set_momenta(100.0 * gas.get_momenta())
        options = {**self.OPTIONS, "temperature_K": 60.0, "thermostat": Langevin(50), "interval": 1, "steps": 5}
        atoms = [hot, gas] if first_fails else [gas, hot]
        simulation = Simulation(atoms, models("explodes"), **options)
        with pytest.warns(FlashMDWarning, match="ended early"):
            frames = list(simulation)
        good, bad = (1, 0) if first_fails else (0, 1)
        last = simulation.trajectory[bad].failure.step - 1
        assert last < 4
        assert [frame[good].info["step"] for frame in frames] == [0, 1, 2, 3, 4, 5]
        assert [frame[bad].info["step"] for frame in frames] == [min(step, last) for step in range(6)]

    def test_when_all_have_failed_there_is_nothing_to_move(self, models, gas):
        simulation = Simulation([gas, gas], models("explodes"), **self.OPTIONS)
        with pytest.warns(FlashMDWarning, match="ended early"):
            simulation.run(steps=500)
        before = simulation.nsteps
        simulation.step(3)
        assert simulation.nsteps == before
        assert all(trajectory.failure is not None for trajectory in simulation.trajectory)

    def test_an_error_inside_a_stride_ends_it(self, models, tmp_path):
        """The state is between two strides: it is refused, and the checkpoint is there to go on from."""

        class Energy(Calculator):
            implemented_properties = ("energy",)
            left = None

            def calculate(self, *arguments, **options):
                super().calculate(*arguments, **options)
                if self.left == 0:
                    raise ZeroDivisionError("from the calculator")
                self.left = None if self.left is None else self.left - 1
                self.results = {"energy": models("pair_energy").energy(self.atoms)}

        broken = Energy()
        broken.left = 4
        options = {"seed": 1, "rescale_energy": True, "steps": 12, "interval": 100, **BATH}
        saved = {"checkpoint": Checkpoint(tmp_path / "c", interval=2), "trajectory": tmp_path / "run.traj"}
        simulation = Simulation(start(), models("pair_stride"), energy_model=broken, **saved, **options)
        with pytest.raises(ZeroDivisionError, match="from the calculator"):
            simulation.run()
        for move in (simulation.step, simulation.run):
            with pytest.raises(InputError, match="ended with an error"):
                move()
        assert read_checkpoint(tmp_path / "c").step == 2
        simulation.close()
        rest = resume(tmp_path / "c", energy_model=Energy())
        whole = rollout(start(), models("pair_stride"), energy_model=Energy(), **options)
        assert_same_frames([rest[-1]], [whole[-1]])

    def test_an_energy_that_fails_at_once(self, models, tmp_path):
        """Before anything was written; asking again says what happened."""
        path = tmp_path / "run.extxyz"
        path.write_text("precious")

        class Broken(Calculator):
            def get_potential_energy(self, *_, **__):
                raise ZeroDivisionError("from the calculator")

        options = {"energy_model": Broken(), "rescale_energy": True, "trajectory": path, **BATH}
        simulation = Simulation(start(), models("pair_stride"), **options)
        with pytest.raises(ZeroDivisionError, match="from the calculator"):
            simulation.step()
        with pytest.raises(InputError, match="ended with an error and cannot go on"):
            simulation.step()
        simulation.close()
        assert path.read_text() == "precious"


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_stopped_and_gone_on_with(self, models, tmp_path, number, suffix):
        """Ctrl-C and SIGTERM end the run between two strides, after its checkpoint; the next stride is the next."""
        options = {**BATH, "seed": 1, "steps": 18, "interval": 4, "energy_model": fixture_model("pair_energy")}
        files = {"trajectory": tmp_path / f"run{suffix}", "logfile": tmp_path / "run.log"}
        checkpoint = Checkpoint(tmp_path / "c", interval=1000)

        def send(view):
            if view.step in (6, 13):
                os.kill(os.getpid(), number)

        files["checkpoint"] = checkpoint
        simulation = Simulation(start(), models("pair_stride"), observers=[(send, 1)], **files, **options)
        for step in (6, 13):
            with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
                simulation.run()
            assert simulation.nsteps == step
            assert read_checkpoint(tmp_path / "c").step == step
        simulation.run()
        simulation.close()
        whole = {"trajectory": tmp_path / f"whole{suffix}", "logfile": tmp_path / "whole.log"}
        rollout(start(), models("pair_stride"), **whole, **options)
        assert_same_files(tmp_path, suffix)

    def test_handlers_are_the_usual_ones_between_strides(self, models, tmp_path):
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        inside = []
        observers = [(lambda view: inside.append(signal.getsignal(signal.SIGTERM)), 1)]
        options = {"observers": observers, "checkpoint": tmp_path / "c", **BATH}
        simulation = Simulation(start(), models("pair_stride"), **options)
        simulation.step()
        assert inside[0] is not signal.SIG_DFL
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
