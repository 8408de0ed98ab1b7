"""A simulation in the hands of its caller: the bits of one rollout, however it is stepped, watched or stopped."""

import errno
import gc
import os
import signal
import threading
import warnings
from itertools import pairwise

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import Calculator

import flashmd_rs
from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    CheckpointError,
    FlashMDWarning,
    Guard,
    InputError,
    Langevin,
    Model,
    MonteCarloBarostat,
    Output,
    Simulation,
    StabilityError,
    StateView,
    Trajectory,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs.writers import LogWriter

from conftest import file_size_limit, fixture_model, h5md_tables, make_crystal

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50)}
SOFT = {"interval": 3, "compressibility_per_bar": 1e-5}
PRESSURE = {**BATH, "pressure_bar": 2000.0}
BARE = {"rescale_energy": False}
# The model that moves the atoms, and options.
ENSEMBLES = {
    "nve": ("pair_stride", {"energy_model": fixture_model("pair_energy"), **BARE}),
    "rescaled nve": ("pair_stride", {}),
    "langevin": ("pair_stride", BATH),
    "bussi": ("pair_stride", {**BATH, "thermostat": Bussi(50)}),
    "rotated": ("pair_stride", {**BATH, "random_rotation": True}),
    "noise of the model": ("noisy", {**BATH, "guard": "off"}),
    "cell rescaling": ("pair_stride", {**PRESSURE, "barostat": CellRescaling(**SOFT)}),
    "monte carlo": ("pair_stride", {**PRESSURE, "barostat": MonteCarloBarostat(coupling="anisotropic", **SOFT)}),
    "rescaled by molecule": ("pair_stride", {**PRESSURE, "rescale_energy": "molecule"}),
    "metropolis": ("weak", {**BATH, "metropolis": True, "guard": "off"}),
    "splitting": ("verlet", {**BATH, **BARE}),
    "two scalars": ("two_scalars", {**BATH, **BARE}),
    "splitting under pressure": ("verlet", {**PRESSURE, "energy_model": fixture_model("pair_energy")}),
    "hybrid": ("hybrid", BARE),
    "hybrid with pair tables": ("pulled", {**BATH, **BARE}),
    "hybrid with pair tables under pressure": ("pulled", {**PRESSURE, "energy_model": fixture_model("pair_energy")}),
    "mollified hybrid": ("mollified", BARE),
    "action": ("midpoint", {**BATH, **BARE}),
}
SUFFIXES = [".extxyz", ".traj", ".h5md", ".xtc", ".dcd"]


def start(replicas=1):
    """One small crystal, or a list of different ones."""
    crystals = [make_crystal(2 + r % 2, seed=3 + r) for r in range(replicas)]
    return crystals if replicas > 1 else crystals[0]


def as_list(results):
    return results if isinstance(results, list) else [results]


def assert_same_frames(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.info["step"] == other.info["step"]
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.get_momenta(), other.get_momenta())
        np.testing.assert_array_equal(one.cell.array, other.cell.array)


def assert_same_runs(some, others):
    """Frames, series and counters of runs are the same to the last bit."""
    for one, other in zip(as_list(some), as_list(others), strict=True):
        assert_same_frames(list(one), list(other))
        for name in ("times_ps", "kinetic_energy", "potential_energy", "conserved_energy"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_equal(one.temperature_K, other.temperature_K)
        assert one.report["statistics"] == other.report["statistics"]
        for name in ("steps", "time_ps", "network_runs", "seed", "interval", "thermostat", "barostat"):
            assert one.report[name] == other.report[name], name


def assert_same_files(folder, suffix, replicas=1):
    """Trajectory and log of "run" are those of "whole", and no segment is left."""
    for end in map(str, range(replicas)) if replicas > 1 else [""]:
        run, whole = (contents(folder / f"{name}{end}{suffix}") for name in ("run", "whole"))
        if isinstance(run, bytes):
            assert run == whole, f"{len(run)} bytes, not {len(whole)}, or others"  # not a page of them
        else:
            np.testing.assert_equal(run, whole)
        assert (folder / f"run{end}.log").read_text().splitlines() == (
            (folder / f"whole{end}.log").read_text().splitlines()
        )
    assert [path.name for path in folder.iterdir() if ".segment" in path.name] == []


def move_and_look(simulation, strides):
    """Stride by stride, the files finished after each."""
    for _ in range(strides):
        simulation.step()
        _ = simulation.trajectory


def contents(path):
    """What must not depend on how often a file was closed: its bytes, or every number in it."""
    if path.suffix == ".traj":
        frames = ase.io.read(path, ":")
        return [(f.positions, f.get_momenta(), f.cell.array, f.info["step"], f.get_potential_energy()) for f in frames]
    return h5md_tables(path) if path.suffix == ".h5md" else path.read_bytes()


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


class TestSaving:
    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("ensemble", ENSEMBLES)
    def test_save_and_load(self, models, tmp_path, ensemble, replicas):
        """In the middle, between frames; the one that saved goes on undisturbed."""
        name, options = ENSEMBLES[ensemble]
        options = {**options, "seed": 11, "interval": 5, "steps": 17}
        whole = rollout(start(replicas), models(name), **options)
        simulation = Simulation(start(replicas), models(name), **options)
        simulation.step(8)
        simulation.save(tmp_path / "middle")
        assert_same_runs(simulation.run(), whole)
        with Simulation.load(tmp_path / "middle") as loaded:
            assert loaded.nsteps == 8
            assert [a.positions.tolist() for a in as_list(loaded.atoms)] != [
                a.positions.tolist() for a in as_list(start(replicas))
            ]
            rest = as_list(loaded.run())
        for part, run in zip(rest, as_list(whole), strict=True):
            assert [frame.info["step"] for frame in part] == [10, 15, 17]
            assert_same_frames(list(part), list(run)[-3:])
            assert part.report["statistics"] == run.report["statistics"]
            assert part.report["steps"] == 9
        assert not (tmp_path / "middle.lock").exists()

    @pytest.mark.parametrize("saving", [False, True])
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_files_go_on(self, models, tmp_path, suffix, saving):
        """Trajectory and log are cut back to where they were when the checkpoint was saved."""
        options = {**BATH, "seed": 11, "interval": 4, "steps": 18, "energy_model": fixture_model("pair_energy")}
        whole = {"trajectory": tmp_path / f"whole{suffix}", "logfile": tmp_path / "whole.log"}
        rollout(start(), models("pair_stride"), **whole, **options)
        files = {"trajectory": tmp_path / f"run{suffix}", "logfile": tmp_path / "run.log"}
        checkpoint = {"checkpoint": Checkpoint(tmp_path / "run.ckpt", interval=7)} if saving else {}
        with Simulation(start(), models("pair_stride"), **files, **checkpoint, **options) as simulation:
            simulation.step(6)
            simulation.save(tmp_path / "middle")
            simulation.step(7)
        with Simulation.load(tmp_path / "middle") as loaded:
            loaded.run()
        assert_same_files(tmp_path, suffix)

    def test_a_checkpoint_that_is_written_goes_on_being_written(self, models, tmp_path):
        """That of the option, also in the file that was loaded; a file of `save` alone stays as it is."""
        path = tmp_path / "run.ckpt"
        with Simulation(start(), models("pair_stride"), checkpoint=Checkpoint(path, interval=4), **BATH) as simulation:
            simulation.step(6)
            assert read_checkpoint(path).step == 4
            simulation.save(tmp_path / "other")
            assert read_checkpoint(tmp_path / "other").step == 6
            assert read_checkpoint(path).step == 4
        assert read_checkpoint(path).step == 6
        with Simulation.load(path) as loaded:
            loaded.step(3)
            assert read_checkpoint(path).step == 8
        assert read_checkpoint(path).step == 9
        with Simulation(start(), models("pair_stride"), **BATH) as simulation:
            simulation.save(tmp_path / "alone")
        kept = (tmp_path / "alone").read_bytes()
        with Simulation.load(tmp_path / "alone") as loaded:
            loaded.step(3)
        assert (tmp_path / "alone").read_bytes() == kept

    def test_before_the_first_stride(self, models, tmp_path):
        options = {**BATH, "seed": 11, "interval": 5, "steps": 9}
        Simulation(start(), models("pair_stride"), **options).save(tmp_path / "c")
        assert read_checkpoint(tmp_path / "c").step == 0
        whole = rollout(start(), models("pair_stride"), **options)
        assert_same_frames(list(resume(tmp_path / "c")), list(whole)[1:])

    def test_what_was_there_is_kept(self, models, tmp_path):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.save(tmp_path / "c")
        first = (tmp_path / "c").read_bytes()
        simulation.step()
        simulation.save(tmp_path / "c")
        assert (tmp_path / "c.previous").read_bytes() == first
        assert read_checkpoint(tmp_path / "c").step == 1

    def test_a_new_length_and_another_seed(self, models, tmp_path):
        simulation = Simulation(start(), models("pair_stride"), **BATH, seed=1, steps=4)
        simulation.save(tmp_path / "c")
        ends = [Simulation.load(tmp_path / "c", seed=seed, steps=6).run()[-1] for seed in (None, 1, 2)]
        assert ends[0].info["step"] == 6
        np.testing.assert_array_equal(ends[0].positions, ends[1].positions)
        assert not np.array_equal(ends[0].positions, ends[2].positions)
        with pytest.raises(InputError, match="exactly one of steps"):
            Simulation.load(tmp_path / "c", steps=6, time_ps=1.0)

    def test_one_simulation_at_a_time_has_a_checkpoint(self, models, tmp_path):
        options = {"checkpoint": tmp_path / "c", **BATH}
        simulation = Simulation(start(), models("pair_stride"), **options)
        simulation.step()
        with pytest.raises(CheckpointError, match="another run is at work"):
            Simulation(start(), models("pair_stride"), resume=True, **options)
        with pytest.raises(InputError, match="there is a file already"):
            Simulation(start(), models("pair_stride"), **BATH).save(tmp_path / "c")
        simulation.close()
        with Simulation(start(), models("pair_stride"), resume=True, **options) as other:
            other.step()
        assert read_checkpoint(tmp_path / "c").step == 2

    def test_one_that_is_forgotten_lets_go_of_its_checkpoint(self, models, tmp_path):
        options = {"checkpoint": tmp_path / "c", **BATH}
        simulation = Simulation(start(), models("pair_stride"), **options)
        simulation.step(3)
        del simulation
        gc.collect()
        with Simulation(start(), models("pair_stride"), resume=True, **options) as other:
            assert other.nsteps == 0
            other.step()
        assert read_checkpoint(tmp_path / "c").step == 1

    def test_it_is_not_saved_over_a_file_of_the_run(self, models, tmp_path):
        files = {"trajectory": tmp_path / "run.extxyz", "logfile": tmp_path / "run.log"}
        with Simulation(start(), models("pair_stride"), checkpoint=tmp_path / "c", **files, **BATH) as simulation:
            simulation.step(3)
            for path in files.values():
                with pytest.raises(InputError, match="two outputs of the run are the same file"):
                    simulation.save(path)
            simulation.save(tmp_path / "c")
            assert read_checkpoint(tmp_path / "c").step == 3
        assert len(ase.io.read(tmp_path / "run.extxyz", ":")) == 2

    def test_every_1000_strides_where_nothing_is_planned(self, models, tmp_path):
        with Simulation(start(), models("pair_stride"), checkpoint=tmp_path / "c", **BATH) as simulation:
            simulation.step(1100)
            assert read_checkpoint(tmp_path / "c").step == 1000

    def test_it_cannot_be_saved_where_nothing_can_be_written(self, models, tmp_path):
        simulation = Simulation(start(), models("pair_stride"), **BATH, seed=1)
        with pytest.raises(OSError, match="cannot write the checkpoint"):
            simulation.save(tmp_path / "no" / "c")
        simulation.step()
        assert simulation.nsteps == 1


class TestDiskFull:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("full", ["trajectory", "log file"])
    def test_it_goes_on_once_there_is_room(self, models, tmp_path, monkeypatch, suffix, replicas, full):
        """The frame that found none is kept then; nothing is missing and nothing twice."""
        mark = "{replica}" if replicas > 1 else ""
        options = {**BATH, "seed": 1, "interval": 1, "energy_model": fixture_model("pair_energy")}
        options["steps"] = steps = 150 if suffix == ".h5md" else 40  # a file that begins with room for a hundred
        crystals = [make_crystal(3, seed=seed) for seed in range(replicas)]

        def no_room(*_):
            raise OSError(errno.ENOSPC, "cannot write the log file: No space left on device", "run.log")

        atoms = crystals if replicas > 1 else crystals[0]

        def files(name):
            return {"trajectory": tmp_path / f"{name}{mark}{suffix}", "logfile": tmp_path / f"{name}{mark}.log"}

        rollout(atoms, models("pair_stride"), **files("whole"), **options)
        simulation = Simulation(atoms, models("pair_stride"), **files("run"), **options)
        simulation.step(4)
        largest = max(path.stat().st_size for path in tmp_path.glob("run*") if path.suffix == suffix)
        limit = int(1.1 * largest) + 3000 if full == "trajectory" else 2**30
        with monkeypatch.context() as patch, file_size_limit(limit):
            if full == "log file":
                patch.setattr(LogWriter, "write", no_room)
            with pytest.raises(OSError, match=f"cannot write the {full}"):
                simulation.run()
        assert 4 < simulation.nsteps < steps
        simulation.run()
        simulation.close()
        assert_same_files(tmp_path, suffix, replicas)


class TestNothingBeforeTheFirstStride:
    def test_no_file_is_touched(self, models, tmp_path):
        files = {"trajectory": tmp_path / "run.traj", "logfile": tmp_path / "run.log"}
        for path in files.values():
            path.write_text("precious")
        simulation = Simulation(start(), models("pair_stride"), checkpoint=tmp_path / "c", **files, **BATH)
        assert simulation.nsteps == 0
        _ = simulation.atoms, simulation.state, simulation.report, repr(simulation)
        assert all(path.read_text() == "precious" for path in files.values())
        assert not (tmp_path / "c").exists()
        simulation.close()
        assert all(path.read_text() == "precious" for path in files.values())
        assert {path.name for path in tmp_path.iterdir()} == {"run.traj", "run.log"}

    def test_a_bad_argument_leaves_no_lock(self, models, tmp_path):
        with pytest.raises(InputError, match="temperature_K"):
            Simulation(start(), models("pair_stride"), temperature_K=-1, checkpoint=tmp_path / "c")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("option", ["progress", "device", "time_constant_fs"])
    def test_unknown_options(self, models, option):
        with pytest.raises(TypeError, match=option):
            Simulation(start(), models("pair_stride"), **{option: 1})


class TestContextManager:
    def test_the_end_is_kept(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        with Simulation(start(), models("pair_stride"), trajectory=Output(path, 4), **BATH) as simulation:
            assert simulation.nsteps == 0
            simulation.step(6)
            assert len(ase.io.read(path, ":")) == 2
        assert [frame.info["step"] for frame in ase.io.read(path, ":")] == [0, 4, 6]

    def test_an_error_inside_closes_and_passes(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        with (
            pytest.raises(ZeroDivisionError),
            Simulation(
                start(), models("pair_stride"), trajectory=path, checkpoint=tmp_path / "c", **BATH
            ) as simulation,
        ):
            simulation.step(6)
            _ = 1 / 0
        assert ase.io.read(path).info["step"] == 6
        assert read_checkpoint(tmp_path / "c").step == 6
        with pytest.raises(InputError, match="closed"):
            simulation.step()

    def test_closed(self, models, tmp_path):
        """What moves is one clear error; what was measured can still be asked for."""
        simulation = Simulation(start(), models("pair_stride"), steps=5, interval=2, seed=1, **BATH)
        simulation.step(3)
        simulation.close()
        simulation.close()
        moves = (simulation.step, simulation.run, lambda: simulation.run(steps=1), lambda: list(simulation))
        for move in moves:
            with pytest.raises(InputError, match="the simulation is closed: go on from a checkpoint"):
                move()
        assert simulation.nsteps == 3
        assert simulation.report["steps"] == 3
        assert [frame.info["step"] for frame in simulation.trajectory] == [0, 2, 3]
        np.testing.assert_array_equal(simulation.atoms.positions, simulation.trajectory[-1].positions)

    def test_closed_before_it_began(self, models):
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.close()
        with pytest.raises(InputError, match="closed"):
            simulation.step()
        np.testing.assert_array_equal(simulation.atoms.positions, start().positions)


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


def test_a_model_by_name(models):
    """Opened once, as `rollout` opens it."""
    simulation = Simulation(start(), fixture_model("pair_stride"), seed=1, **BATH)
    simulation.step()
    assert simulation.report["model"] == "pair_stride"
    model = Model(fixture_model("pair_stride"), device="cpu", threads=1)
    assert Simulation(start(), model, **BATH).report["threads"] == 1
    assert flashmd_rs.Simulation is Simulation


class TestFilesOfTheUser:
    """Nothing that is there is lost, whatever the order of calls."""

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_two_runs_do_not_write_one_file(self, models, tmp_path, suffix):
        files = {"trajectory": tmp_path / f"run{suffix}", "logfile": tmp_path / "run.log"}
        simulation = Simulation(start(), models("pair_stride"), seed=1, interval=1, **files, **BATH)
        simulation.step(3)
        simulation.save(tmp_path / "a.ckpt")
        simulation.step(2)
        branch = Simulation.load(tmp_path / "a.ckpt", model=models("pair_stride"))
        with pytest.raises(OSError, match="another run is writing it"):
            branch.step()
        branch.close()
        other = Simulation(start(), models("pair_stride"), interval=1, logfile=files["logfile"], **BATH)
        with pytest.raises(OSError, match="another run is writing it"):
            other.step()
        simulation.step(2)
        assert [frame.info["step"] for frame in simulation.trajectory] == list(range(8))
        assert len(files["logfile"].read_text().splitlines()) == 8 + sum(
            line.startswith("#") for line in files["logfile"].read_text().splitlines()
        )
        simulation.close()
        with Simulation.load(tmp_path / "a.ckpt", model=models("pair_stride")) as branch:
            branch.step()
        assert [frame.info["step"] for frame in branch.trajectory] == [4]

    def test_a_file_that_cannot_be_opened_again_is_an_error_each_time(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        simulation = Simulation(start(), models("pair_stride"), interval=1, trajectory=path, **BATH)
        simulation.run(steps=4)
        content = path.read_bytes()
        path.unlink()
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                simulation.step(3)
        path.write_bytes(content)
        simulation.step(3)
        assert [frame.info["step"] for frame in simulation.trajectory] == list(range(8))

    def test_files_stay_where_they_were_named(self, models, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        simulation = Simulation(
            start(), models("pair_stride"), interval=1, trajectory="run.extxyz", checkpoint="run.ckpt", **BATH
        )
        simulation.step(2)
        monkeypatch.chdir(tmp_path / "elsewhere")
        simulation.step(2)
        simulation.close()
        monkeypatch.chdir(tmp_path)
        with Simulation.load("run.ckpt", model=models("pair_stride")) as again:
            again.step(2)
        assert [frame.info["step"] for frame in ase.io.read("run.extxyz", ":")] == list(range(7))

    def test_a_checkpoint_beyond_the_plan_is_gone_on_with(self, models, tmp_path):
        options = {"checkpoint": tmp_path / "c", **BATH}
        with Simulation(start(), models("pair_stride"), steps=5, **options) as simulation:
            simulation.step(10)
        with Simulation.load(tmp_path / "c", model=models("pair_stride")) as again:
            assert again.nsteps == 10
            again.step(3)
        with pytest.raises(InputError, match="at step 13, beyond the 5 strides asked for"):
            Simulation(start(), models("pair_stride"), steps=5, resume=True, **options)

    def test_a_file_of_another_is_not_replaced(self, models, tmp_path):
        precious = tmp_path / "precious.txt"
        precious.write_text("mine")
        simulation = Simulation(start(), models("pair_stride"), **BATH)
        simulation.step()
        with pytest.raises(InputError, match="there is a file already"):
            simulation.save(precious)
        assert precious.read_text() == "mine"
        for _ in range(2):
            simulation.save(tmp_path / "own")
            simulation.step()
        assert read_checkpoint(tmp_path / "own").step == 2

    def test_another_replica_is_refused(self, models, tmp_path):
        options = {"checkpoint": tmp_path / "c", "steps": 3, "seed": 1, **BATH}
        rollout(start(), models("pair_stride"), **options)
        with pytest.raises(InputError, match="begins with replica 0, got replica=3"):
            rollout(start(), models("pair_stride"), resume=True, replica=3, **options)

    def test_a_run_that_is_done_returns_no_frame_but_its_names(self, models, tmp_path):
        options = {"checkpoint": tmp_path / "c", "steps": 4, "interval": 2, "resume": "auto", "seed": 1, **BATH}
        rollout(start(), models("pair_stride"), **options)
        done = rollout(start(), models("pair_stride"), **options)
        assert len(done) == 0
        assert set(done.temperature_K) == {"total", "Ar"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: Simulation(start(), m, foo=1), TypeError, "unexpected option 'foo'; it takes steps, time_ps"),
        (lambda m: Simulation(start(), m, temperature_K=[[300.0]]), InputError, "temperature_K"),
        (lambda m: Simulation(start(), m, **BATH).save(5), InputError, "got int for checkpoint, wanted a path"),
        (lambda m: Simulation.load(5), InputError, "got int for checkpoint, wanted a path"),
        (lambda m: Simulation(start(), m, logfile="", **BATH), InputError, "empty text for logfile"),
        (lambda m: Simulation(start(), m, checkpoint="", **BATH), InputError, "empty text for checkpoint"),
    ],
)
def test_one_clear_error(models, call, error, message):
    with pytest.raises(error, match=message):
        call(models("pair_stride"))


def test_a_temperature_may_be_any_number(models):
    simulation = Simulation(start(), models("pair_stride"), temperature_K=np.array(60.0))
    assert simulation.report["temperature_K"] == 60.0
