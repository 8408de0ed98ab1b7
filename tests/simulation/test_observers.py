"""Observers of a simulation, and calls while it is at work."""

import threading

import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from flashmd_rs import (
    Checkpoint,
    InputError,
    MonteCarloBarostat,
    Simulation,
    StateView,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import read_checkpoint

from conftest import fixture_model
from runs import BARE, BATH, PRESSURE, SOFT, SUFFIXES, assert_same_files, assert_same_frames, assert_same_runs, start


class TestObservers:
    @pytest.mark.parametrize("interval", [1, 3, 20])
    def test_they_are_called_on_their_own_beat(self, models, interval):
        steps = []
        options = {"observers": [(lambda view: steps.append(view.step), interval)], **BATH}
        simulation = Simulation(start(), models("pair_stride"), interval=2, **options)
        simulation.step(4)
        simulation.step(8)
        assert steps == [step for step in range(1, 13) if step % interval == 0]

    def test_several(self, models):
        calls = []
        observers = [(lambda view: calls.append(("a", view.step)), 2), (lambda view: calls.append(("b", view.step)), 3)]
        Simulation(start(), models("pair_stride"), observers=observers, **BATH).step(6)
        assert calls == [("a", 2), ("b", 3), ("a", 4), ("a", 6), ("b", 6)]

    def test_what_they_see(self, models):
        """The state of that step, as a frame of it."""
        views = []
        options = {**PRESSURE, "barostat": MonteCarloBarostat(**SOFT), "seed": 1, "steps": 6, "interval": 1}
        crystal = start()
        crystal.set_tags(range(len(crystal)))
        run = rollout(crystal, models("pair_stride"), observers=[(views.append, 2)], **options)
        assert [view.step for view in views] == [2, 4, 6]
        for view in views:
            frame = run[view.step]
            assert isinstance(view, StateView)
            assert view.replica == 0
            assert view.time_ps == frame.info["time_ps"] == pytest.approx(view.step * 0.002)
            assert view.potential_energy == run.potential_energy[view.step]
            assert view.kinetic_energy == run.kinetic_energy[view.step]
            assert view.temperature_K == {name: values[view.step] for name, values in run.temperature_K.items()}
            np.testing.assert_array_equal(view.positions, frame.positions)
            np.testing.assert_array_equal(view.momenta, frame.get_momenta())
            np.testing.assert_array_equal(view.cell, frame.cell.array)
            np.testing.assert_array_equal(view.atoms.get_tags(), crystal.get_tags())
            np.testing.assert_array_equal(view.atoms.get_momenta(), frame.get_momenta())
            np.testing.assert_array_equal(view.atoms.pbc, frame.pbc)
            assert "positions" not in repr(view)

    def test_what_they_change_changes_nothing(self, models):
        def spoil(view):
            for array in (view.positions, view.momenta, view.cell, view.atoms.positions):
                array[:] = 0.0

        options = {**BATH, "seed": 1, "steps": 6}
        run = rollout(start(), models("pair_stride"), observers=[(spoil, 1)], **options)
        assert_same_runs(run, rollout(start(), models("pair_stride"), **options))

    def test_true_ends_the_run(self, models, tmp_path):
        """Its last frame and checkpoint are those of that step, and it can go on."""
        options = {**BATH, "seed": 1, "steps": 20, "interval": 4}
        enough = [(lambda view: view.step == 6, 1)]
        files = {"trajectory": tmp_path / "run.traj", "checkpoint": tmp_path / "c"}
        run = rollout(start(), models("pair_stride"), observers=enough, **files, **options)
        assert [frame.info["step"] for frame in run] == [0, 4, 6]
        assert run.report["steps"] == 6
        assert read_checkpoint(tmp_path / "c").step == 6
        whole = rollout(start(), models("pair_stride"), **options)
        assert_same_frames(list(resume(tmp_path / "c")), list(whole)[2:])
        simulation = Simulation(start(), models("pair_stride"), observers=enough, **options)
        simulation.step(15)
        assert simulation.nsteps == 6
        assert_same_runs(simulation.run(), whole)

    def test_it_ends_iterating_too(self, models):
        enough = [(lambda view: view.step == 6, 1)]
        simulation = Simulation(start(), models("pair_stride"), steps=20, interval=4, observers=enough, **BATH)
        assert [frame.info["step"] for frame in simulation] == [0, 4, 6]
        assert simulation.ended
        assert [frame.info["step"] for frame in simulation] == [0, 4, 6]
        assert len(simulation.run()) == 6, "who asks for more gets it"
        assert not simulation.ended

    def test_step_and_report_say_that_it_ended(self, models):
        """A condition on arrays is a boolean of numpy's."""
        enough = [(lambda view: (np.abs(view.positions) < np.inf).all() and view.step >= np.int64(7), 1)]
        simulation = Simulation(start(), models("pair_stride"), observers=enough, **BATH)
        assert simulation.step(5)
        assert not simulation.report["ended"]
        assert not simulation.step(5)
        assert simulation.nsteps == 7
        assert simulation.report["ended"]

    @pytest.mark.parametrize("answer", [1, "yes", [True]])
    def test_nothing_but_true_ends_it(self, models, answer):
        simulation = Simulation(start(), models("pair_stride"), observers=[(lambda view: answer, 1)], **BATH)
        simulation.step(3)
        assert simulation.nsteps == 3

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("saving", [False, True])
    def test_an_exception_leaves_one_that_can_go_on(self, models, tmp_path, suffix, saving):
        """And the checkpoint of that step."""
        options = {**BATH, "seed": 1, "steps": 18, "interval": 4, "energy_model": fixture_model("pair_energy")}
        files = {"trajectory": tmp_path / f"run{suffix}", "logfile": tmp_path / "run.log"}
        if saving:
            files["checkpoint"] = Checkpoint(tmp_path / "c", interval=1000)

        def fail(view):
            if view.step in (6, 12):
                raise ZeroDivisionError("mine")

        simulation = Simulation(start(), models("pair_stride"), observers=[(fail, 3)], **files, **options)
        for step in (6, 12):
            with pytest.raises(ZeroDivisionError, match="mine"):
                simulation.run()
            assert simulation.nsteps == step
            if saving:
                assert read_checkpoint(tmp_path / "c").step == step
        simulation.run()
        simulation.close()
        whole = {"trajectory": tmp_path / f"whole{suffix}", "logfile": tmp_path / "whole.log"}
        rollout(start(), models("pair_stride"), **whole, **options)
        assert_same_files(tmp_path, suffix)

    def test_of_replicas(self, models):
        calls = []
        options = {"observers": [(lambda view: calls.append((view.step, view.replica)), 2)], **BATH}
        Simulation(start(3), models("pair_stride"), replica=5, **options).step(4)
        assert calls == [(2, 5), (2, 6), (2, 7), (4, 5), (4, 6), (4, 7)]

    def test_they_come_with_a_continuation(self, models, tmp_path):
        steps = []
        observers = [(lambda view: steps.append(view.step), 3)]
        options = {"checkpoint": tmp_path / "c", **BATH}
        rollout(start(), models("pair_stride"), steps=4, observers=observers, **options)
        rollout(start(), models("pair_stride"), steps=7, resume=True, observers=observers, **options)
        resume(tmp_path / "c", steps=13, observers=observers)
        assert steps == [3, 6, 9, 12]

    def test_the_model_may_be_used_inside(self, models):
        """And another simulation on it be moved: the session serves one run of the network at a time."""
        model = models("pair_stride")
        options = {**BATH, "steps": 6}
        other = Simulation(start(), model, seed=2, **options)
        strides = []

        def use(view):
            strides.append(model.stride(view.atoms).positions)
            other.step()
            rollout(start(), model, steps=1, seed=3, progress=False, **BATH)

        run = rollout(start(), model, observers=[(use, 1)], seed=1, **options)
        assert_same_runs(run, rollout(start(), model, seed=1, **options))
        assert_same_runs(other.trajectory, rollout(start(), model, seed=2, **options))
        assert len(strides) == 6

    def test_also_inside_an_energy(self, models):
        """Of Python, in the middle of a stride."""
        model = models("pair_stride")

        class Energy(Calculator):
            implemented_properties = ("energy",)

            def calculate(self, *arguments, **options):
                super().calculate(*arguments, **options)
                moved = self.atoms.copy()
                moved.set_momenta(np.zeros((len(moved), 3)))
                self.results = {"energy": np.abs(model.stride(moved).get_momenta()).sum()}

        options = {**BATH, **BARE, "seed": 1, "steps": 4}
        run = rollout(start(), model, energy_model=Energy(), **options)
        assert len(set(run.potential_energy)) == 5
        assert_same_frames(list(run), list(rollout(start(), model, **options)))


CALLS = {
    "step": lambda simulation, _: simulation.step(),
    "run": lambda simulation, _: simulation.run(steps=2),
    "trajectory": lambda simulation, _: simulation.trajectory,
    "atoms": lambda simulation, _: simulation.atoms,
    "state": lambda simulation, _: simulation.state,
    "report": lambda simulation, _: simulation.report,
    "save": lambda simulation, folder: simulation.save(folder / "saved"),
    "close": lambda simulation, _: simulation.close(),
    "iterate": lambda simulation, _: list(simulation),
}
AT_WORK = "this simulation is at work"


class TestCalledWhileAtWork:
    OPTIONS = {**BATH, "seed": 1, "steps": 9, "interval": 4}  # noqa: RUF012 (not changed)

    def check(self, models, tmp_path, simulation):
        """The run is what it would have been."""
        simulation.run()
        simulation.close()
        whole = rollout(start(), models("pair_stride"), trajectory=tmp_path / "whole.extxyz", **self.OPTIONS)
        assert (tmp_path / "run.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
        assert simulation.trajectory.report["statistics"] == whole.report["statistics"]

    @pytest.mark.parametrize("call", CALLS)
    def test_from_its_own_observer(self, models, tmp_path, call):
        """One clear error; an observer that catches it has disturbed nothing."""
        caught = []

        def observe(view):
            with pytest.raises(InputError, match=AT_WORK) as error:
                CALLS[call](simulation, tmp_path)
            caught.append(view.step)
            assert "\n" not in str(error.value)

        files = {"trajectory": tmp_path / "run.extxyz"}
        simulation = Simulation(start(), models("pair_stride"), observers=[(observe, 2)], **files, **self.OPTIONS)
        simulation.step(3)
        self.check(models, tmp_path, simulation)
        assert caught == [2, 4, 6, 8]

    @pytest.mark.parametrize("call", CALLS)
    def test_the_error_ends_a_run_whose_observer_does_not_catch_it(self, models, tmp_path, call):
        def observe(view):
            if view.step == 2:
                CALLS[call](simulation, tmp_path)

        files = {"trajectory": tmp_path / "run.extxyz"}
        simulation = Simulation(start(), models("pair_stride"), observers=[(observe, 1)], **files, **self.OPTIONS)
        with pytest.raises(InputError, match=AT_WORK):
            simulation.step(3)
        assert simulation.nsteps == 2
        self.check(models, tmp_path, simulation)

    def test_from_another_thread(self, models, tmp_path):
        entered, done = threading.Event(), threading.Event()

        def observe(view):
            entered.set()
            assert done.wait(30)

        files = {"trajectory": tmp_path / "run.extxyz"}
        simulation = Simulation(start(), models("pair_stride"), observers=[(observe, 9)], **files, **self.OPTIONS)
        thread = threading.Thread(target=simulation.run)
        thread.start()
        try:
            assert entered.wait(30)
            for call in CALLS.values():
                with pytest.raises(InputError, match=AT_WORK):
                    call(simulation, tmp_path)
        finally:
            done.set()
            thread.join(30)
        self.check(models, tmp_path, simulation)
