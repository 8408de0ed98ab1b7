"""What a simulation saves, and what it leaves of the user's files, whenever it ends."""

import errno
import gc

import ase.io
import numpy as np
import pytest

from flashmd_rs import (
    Checkpoint,
    CheckpointError,
    InputError,
    Simulation,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs.writers import LogWriter

from conftest import file_size_limit, fixture_model, make_crystal
from runs import BATH, ENSEMBLES, SUFFIXES, as_list, assert_same_files, assert_same_frames, assert_same_runs, start


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
