"""A simulation in the hands of its caller: the bits of one rollout, however it is stepped."""

import ase.io
import numpy as np
import pytest

from flashmd_rs import (
    Checkpoint,
    FlashMDWarning,
    Guard,
    Langevin,
    MonteCarloBarostat,
    Simulation,
    rollout,
)

from conftest import make_crystal
from runs import (
    BATH,
    ENSEMBLES,
    PRESSURE,
    SOFT,
    SUFFIXES,
    as_list,
    assert_same_frames,
    assert_same_runs,
    move_and_look,
    start,
)


class TestSameBits:
    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("ensemble", ENSEMBLES)
    def test_steps_are_one_run(self, models, ensemble, replicas):
        name, options = ENSEMBLES[ensemble]
        options = {**options, "seed": 11, "interval": 5, "steps": 17}
        whole = rollout(start(replicas), models(name), **options)
        simulation = Simulation(start(replicas), models(name), **options)
        simulation.step(3)
        simulation.step(4)
        assert_same_runs(simulation.run(), whole)
        assert simulation.nsteps == 17

    def test_the_length_need_not_be_planned(self, models):
        options = {**BATH, "seed": 11, "interval": 5}
        whole = rollout(start(), models("pair_stride"), steps=17, **options)
        simulation = Simulation(start(), models("pair_stride"), **options)
        simulation.run(steps=7)
        assert_same_runs(simulation.run(time_ps=0.0199), whole)

    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("saving", [False, True])
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_files_do_not_show_how_the_run_was_stepped(self, models, tmp_path, suffix, saving, replicas):
        """Closed for `.trajectory` at a frame and between two, where the last frame is not part of the beat."""
        mark = "{replica}" if replicas > 1 else ""
        options = {**PRESSURE, "barostat": MonteCarloBarostat(**SOFT), "seed": 11, "interval": 4, "steps": 18}

        def files(name):
            checkpoint = {"checkpoint": Checkpoint(tmp_path / f"{name}.ckpt", interval=5)} if saving else {}
            return {"trajectory": tmp_path / f"{name}{mark}{suffix}", "logfile": tmp_path / f"{name}{mark}.log"} | (
                checkpoint
            )

        whole = rollout(start(replicas), models("pair_stride"), **files("whole"), **options)
        with Simulation(start(replicas), models("pair_stride"), **files("run"), **options) as simulation:
            for strides, frames in ((3, [0, 3]), (1, [0, 4]), (2, [0, 4, 6]), (3, [0, 4, 8, 9])):
                simulation.step(strides)
                for trajectory in as_list(simulation.trajectory):
                    assert [frame.info["step"] for frame in trajectory] == frames
                    assert len(trajectory.times_ps) == len(trajectory.temperature_K["Ar"]) == len(frames)
            simulation.run()
            parts = as_list(simulation.trajectory)
        for part, run in zip(parts, as_list(whole), strict=True):
            assert [frame.info["step"] for frame in part] == [0, 4, 8, 12, 16, 18]
            assert_same_frames([part[-1]], [run[-1]])

    @pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
    def test_what_the_guard_collects(self, models, tmp_path, suffix):
        """As often as in one run, and each quantity said once."""
        hot = make_crystal(temperature_K=160)  # where the temperature leaves the model's range and comes back
        options = {"temperature_K": 160, "thermostat": Langevin(20), "seed": 3, "steps": 60}

        def guard(name):
            return {"guard": Guard("collect", violations_file=tmp_path / f"{name}{suffix}")}

        with pytest.warns(FlashMDWarning) as once:
            whole = rollout(hot, models("watched"), **guard("whole"), **options)
        simulation = Simulation(hot, models("watched"), **guard("run"), **options)
        with pytest.warns(FlashMDWarning) as again:
            move_and_look(simulation, 60)
        assert [str(warning.message) for warning in again] == [str(warning.message) for warning in once]
        assert len(ase.io.read(tmp_path / f"whole{suffix}", ":")) > 1
        for one, other in zip(*(ase.io.read(tmp_path / f"{n}{suffix}", ":") for n in ("run", "whole")), strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)
            assert one.info["step"] == other.info["step"]
        assert simulation.report["statistics"] == whole.report["statistics"]

    def test_a_log_on_standard_output_has_one_head(self, models, capsys):
        simulation = Simulation(start(), models("pair_stride"), logfile="-", interval=2, **BATH)
        for _ in range(3):
            simulation.step(2)
            _ = simulation.trajectory
        lines = capsys.readouterr().out.splitlines()
        assert sum("Time[ps]" in line for line in lines) == 1
        assert sum(not line.startswith("#") for line in lines) == 4

    def test_without_a_file_the_last_frame_is_the_state_too(self, models):
        options = {**BATH, "seed": 11, "interval": 4, "steps": 10}
        simulation = Simulation(start(), models("pair_stride"), **options)
        simulation.step(6)
        first = simulation.trajectory
        assert [frame.info["step"] for frame in first] == [0, 4, 6]
        assert_same_runs(simulation.run(), rollout(start(), models("pair_stride"), **options))
        assert [frame.info["step"] for frame in first] == [0, 4, 6]

    @pytest.mark.parametrize("ensemble", ENSEMBLES)
    def test_looking_changes_nothing(self, models, ensemble):
        """Everything that can be asked for, after every stride."""
        name, options = ENSEMBLES[ensemble]
        options = {**options, "seed": 11, "interval": 5, "steps": 9}
        whole = rollout(start(), models(name), **options)
        simulation = Simulation(start(), models(name), **options)
        for _ in range(9):
            simulation.step()
            _ = simulation.atoms, simulation.state, simulation.report, simulation.trajectory, repr(simulation)
        assert_same_runs(simulation.trajectory, whole)

    @pytest.mark.parametrize("replicas", [1, 3])
    def test_two_on_one_model(self, models, replicas):
        """Stride by stride in turn: each is what it is alone."""
        options = [{**BATH, "seed": 1, "steps": 8}, {**PRESSURE, "seed": 2, "steps": 8}]
        alone = [rollout(start(replicas), models("pair_stride"), **option) for option in options]
        both = [Simulation(start(replicas), models("pair_stride"), **option) for option in options]
        for _ in range(8):
            for simulation in both:
                simulation.step()
        for simulation, run in zip(both, alone, strict=True):
            assert_same_runs(simulation.trajectory, run)
