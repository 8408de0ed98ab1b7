"""Frames of a simulation, as they are asked for."""

from itertools import pairwise

import numpy as np
import pytest

from flashmd_rs import (
    InputError,
    Langevin,
    Simulation,
    Trajectory,
    rollout,
)

from runs import BATH, assert_same_frames, assert_same_runs, start


class TestFrames:
    """Iterating."""

    @pytest.mark.parametrize("file", [None, "run.extxyz", "run.traj"])
    @pytest.mark.parametrize("begun", [0, 3, 4, 6, 10])
    def test_planned(self, models, tmp_path, file, begun):
        """Every frame of the run, the simulation no further than the frame that was asked for."""
        options = {**BATH, "seed": 1, "steps": 10, "interval": 4}
        whole = rollout(start(), models("pair_stride"), **options)
        files = {} if file is None else {"trajectory": tmp_path / file}
        simulation = Simulation(start(), models("pair_stride"), **files, **options)
        if begun:
            simulation.step(begun)
        frames = []
        for frame in simulation:
            frames.append(frame)
            assert simulation.nsteps == max(begun, frame.info["step"])
        assert [frame.info["step"] for frame in frames] == [0, 4, 8, 10]
        atol = 1e-8 if file == "run.extxyz" else 0.0
        for frame, other in zip(frames, whole, strict=True):
            np.testing.assert_allclose(frame.positions, other.positions, rtol=0, atol=atol)
            np.testing.assert_allclose(frame.get_momenta(), other.get_momenta(), rtol=0, atol=atol)
        again = list(simulation)
        assert [frame.info["step"] for frame in again] == [0, 4, 8, 10]
        for frame, other in zip(again, frames, strict=True):
            np.testing.assert_allclose(frame.positions, other.positions, rtol=0, atol=atol)

    def test_energies_come_with_them(self, models):
        options = {**BATH, "seed": 1, "steps": 6, "interval": 2, "energy_model": models("pair_energy")}
        whole = rollout(start(), models("pair_stride"), **options)
        simulation = Simulation(start(), models("pair_stride"), **options)
        for _ in range(2):
            assert [frame.get_potential_energy() for frame in simulation] == list(whole.potential_energy)

    def test_it_can_be_left_and_gone_on_with(self, models):
        options = {**BATH, "seed": 1, "steps": 10, "interval": 4}
        simulation = Simulation(start(), models("pair_stride"), **options)
        for frame in simulation:
            if frame.info["step"] == 4:
                break
        assert simulation.nsteps == 4
        assert_same_runs(simulation.run(), rollout(start(), models("pair_stride"), **options))

    def test_not_planned(self, models):
        """What was kept; it does not move."""
        simulation = Simulation(start(), models("pair_stride"), interval=2, **BATH)
        assert [frame.info["step"] for frame in simulation] == [0]
        simulation.step(5)
        assert [frame.info["step"] for frame in simulation] == [0, 2, 4]
        assert simulation.nsteps == 5

    def test_every_100_strides_where_nothing_is_planned(self, models):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.step(250)
        assert [frame.info["step"] for frame in simulation.trajectory] == [0, 100, 200, 250]

    def test_replicas(self, models):
        options = {**BATH, "seed": 1, "steps": 10, "interval": 4}
        whole = rollout(start(3), models("pair_stride"), **options)
        simulation = Simulation(start(3), models("pair_stride"), **options)
        frames = list(simulation)
        assert [[one.info["step"] for one in frame] for frame in frames] == [[s] * 3 for s in (0, 4, 8, 10)]
        for frame, *others in zip(frames, *whole, strict=True):
            assert_same_frames(frame, others)

    @pytest.mark.parametrize("file", [None, "run{replica}.traj"])
    def test_replicas_that_are_on_their_way(self, models, tmp_path, file):
        """From the first frame on, those between two frames left out."""
        options = {**BATH, "seed": 1, "steps": 10, "interval": 4}
        whole = rollout(start(3), models("pair_stride"), **options)
        files = {} if file is None else {"trajectory": tmp_path / file}
        simulation = Simulation(start(3), models("pair_stride"), **files, **options)
        simulation.step(6)
        for _ in range(2):
            frames = list(simulation)
            assert [frame[0].info["step"] for frame in frames] == [0, 4, 8, 10]
            for frame, *others in zip(frames, *whole, strict=True):
                assert_same_frames(frame, others)

    def test_changing_a_frame_changes_nothing(self, models):
        options = {**BATH, "seed": 1, "steps": 4, "interval": 2}
        simulation = Simulation(start(), models("pair_stride"), **options)
        for _ in range(2):
            for frame in simulation:
                frame.positions[:] = 0.0
        assert_same_runs(simulation.trajectory, rollout(start(), models("pair_stride"), **options))


class TestAsking:
    def test_copies(self, models):
        """What is handed out, and what was handed in, may be changed."""
        crystal = start()
        options = {**BATH, "seed": 1, "steps": 6}
        simulation = Simulation(crystal, models("pair_stride"), **options)
        crystal.positions[:] = 0.0
        for _ in range(6):
            atoms, state = simulation.atoms, simulation.state
            atoms.positions[:] = 0.0
            atoms.set_momenta(atoms.get_momenta() * 0.0)
            atoms.set_cell([1, 1, 1])
            state.positions[:] = 0.0
            state.momenta[:] = 0.0
            simulation.step()
            simulation.report["statistics"]["heat_eV"] = 1e9
        assert_same_runs(simulation.trajectory, rollout(start(), models("pair_stride"), **options))

    def test_atoms_are_the_state(self, models):
        simulation = Simulation(start(), models("pair_stride"), seed=1, interval=5, **BATH)
        np.testing.assert_array_equal(simulation.atoms.positions, start().positions)
        np.testing.assert_array_equal(simulation.atoms.get_momenta(), start().get_momenta())
        for step in range(1, 4):
            simulation.step()
            atoms, state = simulation.atoms, simulation.state
            assert (simulation.nsteps, state.step) == (step, step)
            assert simulation.time_ps == state.time_ps == pytest.approx(0.002 * step)
            np.testing.assert_array_equal(atoms.positions, state.positions)
            np.testing.assert_array_equal(atoms.get_momenta(), state.momenta)
            np.testing.assert_array_equal(atoms.get_momenta(), simulation.trajectory[-1].get_momenta())
            assert state.temperature_K["total"] == simulation.trajectory.temperature_K["total"][-1]

    def test_of_replicas(self, models):
        simulation = Simulation(start(3), models("pair_stride"), seed=1, replica=4, **BATH)
        simulation.step(2)
        assert [len(atoms) for atoms in simulation.atoms] == [8, 27, 8]
        assert [state.replica for state in simulation.state] == [4, 5, 6]
        assert [report["replica"] for report in simulation.report] == [4, 5, 6]
        assert [type(trajectory) for trajectory in simulation.trajectory] == [Trajectory] * 3
        for atoms, trajectory in zip(simulation.atoms, simulation.trajectory, strict=True):
            np.testing.assert_array_equal(atoms.positions, trajectory[-1].positions)
        one = Simulation([start()], models("pair_stride"), **BATH)
        assert isinstance(one.run(steps=1), list)
        assert len(one.atoms) == len(one.state) == len(one.report) == 1

    def test_report_at_any_time(self, models):
        """Before, between and after; it only ever grows."""
        options = {"seed": 1, "energy_model": models("pair_energy"), "rescale_energy": True, **BATH}
        simulation = Simulation(start(), models("pair_stride"), **options)
        reports = [simulation.report]
        for _ in range(3):
            simulation.step(2)
            reports.append(simulation.report)
        simulation.close()
        reports.append(simulation.report)
        assert [report["steps"] for report in reports] == [0, 2, 4, 6, 6]
        assert [report["time_ps"] for report in reports] == pytest.approx([0, 0.004, 0.008, 0.012, 0.012])
        assert [report["statistics"]["rescaling"]["count"] for report in reports] == [0, 2, 4, 6, 6]
        for name in ("seconds", "seconds_network", "seconds_energy", "seconds_callbacks", "network_runs"):
            assert all(one[name] <= other[name] for one, other in pairwise(reports)), name
        assert all(report["model"] == "pair_stride" for report in reports)
        assert all(set(report) == set(reports[0]) for report in reports)
        assert reports[0]["thermostat"] == Langevin(50)
        assert simulation.trajectory.report["statistics"] == reports[-1]["statistics"]

    def test_repr(self, models):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.step(5)
        assert repr(simulation) == "<flashmd_rs.Simulation: pair_stride, 0.01 ps in 2 fs>"
        assert "3 replicas, " in repr(Simulation(start(3), models("pair_stride"), **BATH))

    @pytest.mark.parametrize("strides", [0, -1, 2.5, True, "3", None])
    def test_strides_that_are_none(self, models, strides):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        with pytest.raises(InputError, match="whole number of strides"):
            simulation.step(strides)

    def test_lengths_of_run(self, models):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        with pytest.raises(InputError, match="no length was planned"):
            simulation.run()
        with pytest.raises(InputError, match="exactly one of steps"):
            simulation.run(steps=1, time_ps=1.0)
        with pytest.raises(InputError, match="steps=0"):
            simulation.run(steps=0)
        assert simulation.nsteps == 0
        planned = Simulation(start(), models("pair_stride"), time_ps=0.01, **BATH)
        planned.run(steps=7)
        assert planned.nsteps == 7
        planned.run()
        assert planned.nsteps == 7
