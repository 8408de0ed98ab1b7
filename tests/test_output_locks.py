"""One writer for each file: other runs, other programs, other names, and files that cannot be written."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import pytest

from flashmd_rs import Guard, InputError, Simulation, StabilityError, rollout
from flashmd_rs.writers import OutputLock, check_trajectory_path

from conftest import fixture_model, make_crystal, one_clear_error

BATH = {"temperature_K": 50, "interval": 1, "seed": 1}
SUFFIXES = (".extxyz", ".traj", ".h5md", ".xtc", ".dcd")


@pytest.fixture
def begin(models):
    """A simulation of the crystal that has begun to write."""
    open_ones = []

    def make(**files):
        simulation = Simulation(make_crystal(), models("pair_stride"), **BATH, **files)
        open_ones.append(simulation)
        simulation.step(2)
        return simulation

    yield make
    for simulation in open_ones:
        simulation.close()


def collected(path):
    return Guard("collect", violations_file=path)


class TestTwoRuns:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_by_another_name(self, begin, tmp_path, suffix, link):
        """Also a relative one; the first goes on, and its file is whole."""
        path, other = tmp_path / f"run{suffix}", tmp_path / f"other{suffix}"
        first = begin(trajectory=path)
        link(path, other)
        for name in (other, tmp_path / ".." / tmp_path.name / path.name):
            with pytest.raises(BlockingIOError, match="cannot write the trajectory: another run is writing it"):
                begin(trajectory=name)
        first.step(2)
        assert len(first.trajectory) == 5

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_between_two_calls_it_is_still_the_first_ones(self, begin, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        first = begin(trajectory=path)
        first.run(steps=1)
        for _ in range(2):
            with pytest.raises(BlockingIOError, match="another run is writing it"):
                begin(trajectory=path)
            first.run(steps=1)
        first.close()
        begin(trajectory=path)

    def test_who_comes_second_does_not_remove_the_file(self, tmp_path, monkeypatch):
        """Also where neither saw it before both opened it."""
        path = tmp_path / "run.extxyz"
        monkeypatch.setattr(Path, "exists", lambda _: False)
        first = OutputLock(path, "trajectory")
        with pytest.raises(BlockingIOError):
            OutputLock(path, "trajectory")
        assert path.is_file()
        first.close()

    @pytest.mark.parametrize("suffix", [".traj", ".h5md"])
    def test_parts_without_their_first_are_not_removed(self, tmp_path, suffix):
        part = tmp_path / f"run.segment-1{suffix}"
        part.write_bytes(b"frames")
        with pytest.raises(InputError, match="parts of that trajectory"):
            check_trajectory_path(tmp_path / f"run{suffix}")
        assert part.exists()

    def test_any_output_against_any_other(self, begin, tmp_path):
        paths = {name: tmp_path / f"{name}.extxyz" for name in ("trajectory", "log", "violations")}
        files = {"trajectory": paths["trajectory"], "logfile": paths["log"]}
        begin(guard=collected(paths["violations"]), **files)
        before = {path: path.read_bytes() for path in paths.values()}
        for path in paths.values():
            with pytest.raises(BlockingIOError, match="cannot write the trajectory: another run"):
                begin(trajectory=path)
            with pytest.raises(BlockingIOError, match="cannot write the logfile: another run"):
                begin(logfile=path)
            with pytest.raises(BlockingIOError, match="cannot write the violations file: another run"):
                begin(guard=collected(path))
        assert {path: path.read_bytes() for path in paths.values()} == before

    def test_from_another_process(self, begin, tmp_path, shell):
        """The same command twice."""
        first = begin(trajectory=tmp_path / "run.h5md", logfile=tmp_path / "run.log")
        make_crystal().write(tmp_path / "start.extxyz")
        command = ("run", "start.extxyz", "--model", fixture_model("pair_stride"), "--steps", 3, "--temperature-k", 50)
        result = shell(*command, "--trajectory", "new.extxyz", "--logfile", "run.log")
        assert result.returncode == 1
        assert one_clear_error(result.stderr)
        assert "cannot write the logfile: another run is writing it" in result.stderr
        assert not (tmp_path / "new.extxyz").exists()
        first.step(2)
        assert len(first.trajectory) == 5

    @pytest.mark.parametrize("suffix", [".traj", ".h5md"])
    def test_a_file_that_was_replaced_when_going_on(self, begin, models, tmp_path, suffix):
        """A branch from an earlier checkpoint cuts a joined file by making another of its name."""
        path = tmp_path / f"run{suffix}"
        with begin(trajectory=path) as first:
            first.save(tmp_path / "c")
            first.step(2)
        with Simulation.load(tmp_path / "c", model=models("pair_stride")) as branch:
            branch.step()
            with pytest.raises(BlockingIOError, match="another run is writing it"):
                begin(trajectory=path)
            branch.step()
        assert len(branch.trajectory) == 2  # those of this part of the run
        assert [frame.info["step"] for frame in branch.trajectory] == [3, 4]

    def test_writing_a_trajectory_over_a_run(self, begin, models, tmp_path):
        path = tmp_path / "run.extxyz"
        short = rollout(make_crystal(), models("pair_stride"), steps=1, progress=False, **BATH)
        first = begin(trajectory=path)
        with pytest.raises(BlockingIOError, match="cannot write the trajectory"):
            short.write(path)
        assert len(first.trajectory) == 3

    def test_the_last_good_frame_of_one_is_a_file_of_another(self, begin, models, tmp_path):
        """It is not written over it; the failed run says so."""
        path = tmp_path / "run.last_good.extxyz"
        first = begin(trajectory=path)
        options = {"steps": 50, "trajectory": tmp_path / "run.xtc", "temperature_K": 50, "progress": False}
        with pytest.raises(StabilityError, match=r"could not be saved to .* another run is writing it"):
            rollout(make_crystal(), models("late_nan"), **options)
        assert len(first.trajectory) == 3


class TestOneRun:
    def test_two_outputs_in_one_file(self, models, tmp_path):
        (tmp_path / "a.extxyz").write_text("precious")
        os.link(tmp_path / "a.extxyz", tmp_path / "hard.extxyz")
        os.symlink(tmp_path / "a.extxyz", tmp_path / "soft.extxyz")
        pairs = [("a.extxyz", "hard.extxyz"), ("soft.extxyz", "hard.extxyz"), ("run.xtc", "run.last_good.extxyz")]
        for trajectory, log in pairs:
            for other in ({"logfile": tmp_path / log}, {"guard": collected(tmp_path / log)}):
                with pytest.raises(InputError, match="two outputs of the run are the same file"):
                    Simulation(make_crystal(), models("pair_stride"), trajectory=tmp_path / trajectory, **other, **BATH)
        assert (tmp_path / "a.extxyz").read_text() == "precious"

    def test_replicas_that_meet(self, models, tmp_path):
        (tmp_path / "1.extxyz").touch()
        os.link(tmp_path / "1.extxyz", tmp_path / "r0.log")
        files = {"trajectory": tmp_path / "{replica}.extxyz", "logfile": tmp_path / "r{replica}.log"}
        with pytest.raises(InputError, match="two outputs of the run are the same file"):
            Simulation([make_crystal()] * 2, models("pair_stride"), **files, **BATH)

    @pytest.mark.parametrize("suffix", [".traj", ".h5md"])
    def test_the_name_of_a_segment(self, models, tmp_path, suffix):
        for name in ("1", "27", "joined"):
            with pytest.raises(InputError, match="is the name of a part of another trajectory"):
                Simulation(
                    make_crystal(), models("pair_stride"), trajectory=tmp_path / f"run.segment-{name}{suffix}", **BATH
                )


class TestARefusedRun:
    """It leaves everything as it was."""

    def test_among_the_files_of_one_system(self, begin, tmp_path):
        (tmp_path / "run.extxyz").write_text("precious")
        with OutputLocked(tmp_path / "run.log"), pytest.raises(BlockingIOError, match="cannot write the logfile"):
            files = {"trajectory": tmp_path / "run.extxyz", "logfile": tmp_path / "run.log"}
            begin(guard=collected(tmp_path / "v.traj"), **files)
        assert (tmp_path / "run.extxyz").read_text() == "precious"
        assert not (tmp_path / "v.traj").exists()

    def test_among_the_files_of_replicas(self, models, tmp_path):
        for k in range(3):
            (tmp_path / f"r{k}.extxyz").write_text("precious")
        simulation = Simulation(
            [make_crystal()] * 3,
            models("pair_stride"),
            trajectory=tmp_path / "r{replica}.extxyz",
            logfile=tmp_path / "r{replica}.log",
            **BATH,
        )
        with OutputLocked(tmp_path / "r2.extxyz"), pytest.raises(BlockingIOError):
            simulation.step()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r0.extxyz", "r1.extxyz", "r2.extxyz"]
        assert all(path.read_text() == "precious" for path in tmp_path.iterdir())
        simulation.close()
        assert all(path.read_text() == "precious" for path in tmp_path.iterdir())


class OutputLocked:
    """What another run does with a file."""

    def __init__(self, path):
        self.lock = OutputLock(path, "file")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lock.close(used=False)


LOCKERS = {
    "h5py writing": "import h5py; file = h5py.File(path, 'r+')",
    "h5py reading": "import h5py; file = h5py.File(path, 'r')",
    "flock": "import fcntl; file = open(path, 'rb'); fcntl.flock(file, fcntl.LOCK_EX)",
    "shared flock": "import fcntl; file = open(path, 'rb'); fcntl.flock(file, fcntl.LOCK_SH)",
    "lockf": "import fcntl; file = open(path, 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX)",
}


class TestOtherPrograms:
    @pytest.mark.parametrize("how", LOCKERS)
    def test_a_locked_file_is_found_before_the_first_stride(self, begin, tmp_path, how):
        path = tmp_path / "run.h5md"
        with h5py.File(path, "w") as file:
            file["precious"] = [1.0]
        before = path.read_bytes()
        code = f"import sys; path = {str(path)!r}; {LOCKERS[how]}; print('locked', flush=True); sys.stdin.read()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"locked\n"
            refused = [{"trajectory": path}, {"logfile": path}, {"guard": collected(path)}]
            for files in refused:
                with pytest.raises(BlockingIOError, match="another program has locked it"):
                    begin(**files)
            other.stdin.close()
        assert path.read_bytes() == before
        assert len(begin(trajectory=path).trajectory) == 3

    def test_readers_of_a_run_are_no_obstacle_to_it(self, begin, tmp_path):
        """HDF5 locks what it reads."""
        path = tmp_path / "run.h5md"
        simulation = begin(trajectory=path)
        simulation.save(tmp_path / "c")
        with h5py.File(path, "r") as reader:
            assert len(reader["particles/trajectory/position/value"]) == 3
            simulation.run(steps=3)
            simulation.run(steps=3)
            assert len(simulation.trajectory) == 9
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # nobody writes it any more
            assert simulation.trajectory[4].info["step"] == 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_written_is_found_before_the_first_stride(models, tmp_path, suffix):
    """By a user who is not root: a file, a folder for a new file, a folder for the segments of an existing one."""

    model = models("pair_stride")
    check_trajectory_path(tmp_path / f"run{suffix}")  # imports, which another user may not be able to

    def child():
        if os.getuid() == 0:
            os.setuid(65534)
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        try:
            path = folder / f"run{suffix}"
            path.write_text("precious")
            path.chmod(0o400)
            for files in ({"trajectory": path}, {"logfile": path}, {"guard": collected(path)}):
                with pytest.raises(PermissionError):
                    Simulation(make_crystal(), model, **files, **BATH)
            path.chmod(0o600)
            folder.chmod(0o500)
            with pytest.raises(PermissionError):
                Simulation(make_crystal(), model, trajectory=folder / f"new{suffix}", **BATH)
            if suffix in (".traj", ".h5md"):
                with pytest.raises(PermissionError):
                    Simulation(make_crystal(), model, trajectory=path, **BATH)
            assert path.read_text() == "precious"
        finally:
            folder.chmod(0o700)
            shutil.rmtree(folder)

    assert in_child(child) == 0


def in_child(action):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
