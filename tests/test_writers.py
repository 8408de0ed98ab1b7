"""Trajectory files: what other programs read in them, and what is left of them after a crash."""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.io
import h5py
import MDAnalysis
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from MDAnalysis.coordinates.DCD import DCDReader
from MDAnalysis.coordinates.H5MD import H5MDReader
from MDAnalysis.coordinates.XTC import XTCReader
from scipy import constants

from flashmd_rs import InputError
from flashmd_rs._engine.recorder import Files, Recorder
from flashmd_rs.writers import LogWriter, check_trajectory_path, open_frames, reopen_frames
from flashmd_rs.writers.files import StagedFile

from conftest import FIXTURES, file_size_limit, h5md_tables, one_clear_error

APPENDED = [".extxyz", ".xtc", ".dcd"]
SEGMENTED = [".traj", ".h5md"]
SUFFIXES = APPENDED + SEGMENTED
READERS = {".xtc": XTCReader, ".dcd": DCDReader, ".h5md": H5MDReader}
TRICLINIC = np.array([[31.0, 0, 0], [4.0, 29.0, 0], [-3.0, 5.0, 27.0]])

pytestmark = pytest.mark.filterwarnings("ignore:DCDReader currently makes:DeprecationWarning")


def frame(k, atoms=12):
    """Frame k of a made-up run at varying volume: every 10 strides of 16 fs."""
    rng = np.random.default_rng(k)
    made = Atoms(["O", "H", "H"] * (atoms // 3), rng.uniform(-40, 40, (atoms, 3)), cell=TRICLINIC * (1 + 0.01 * k))
    made.pbc = True
    made.set_momenta(rng.normal(size=(atoms, 3)))
    made.info.update(step=10 * k, time_ps=0.16 * k)
    made.calc = SinglePointCalculator(made, energy=-1.5 * k - 0.25)
    return made


def write(path, count, **options):
    writer = open_frames(path)
    for k in range(count):
        writer.write(frame(k, **options))
    writer.close()
    return path


def contents(path):
    """What must not depend on how often a file was cut back: its bytes, or every number in it."""
    if path.suffix == ".traj":
        frames = ase.io.read(path, ":")
        return [(f.positions, f.get_momenta(), f.cell.array, f.get_potential_energy(), f.info["step"]) for f in frames]
    if path.suffix == ".h5md":
        return h5md_tables(path)
    return path.read_bytes()


def assert_same(path, reference):
    np.testing.assert_equal(contents(path), contents(reference))
    assert [p for p in path.parent.iterdir() if ".segment" in p.name] == []


def count(path):
    """Frames in a file, as another program sees them."""
    if path.suffix in READERS:
        with READERS[path.suffix](str(path)) as reader:
            return reader.n_frames
    return len(ase.io.read(path, ":"))


class TestOtherPrograms:
    @pytest.mark.parametrize(("suffix", "atol"), [(".xtc", 0.0051), (".dcd", 4e-6), (".h5md", 4e-6)])
    def test_mdanalysis(self, tmp_path, suffix, atol):
        """XTC rounds to 0.01 Å; MDAnalysis itself holds positions of ± 40 Å in single precision."""
        path = write(tmp_path / f"run{suffix}", 7)
        with READERS[suffix](str(path)) as reader:
            assert reader.n_frames == 7
            for k, step in enumerate(reader):
                expected = frame(k)
                np.testing.assert_allclose(step.positions, expected.positions, rtol=0, atol=atol)
                np.testing.assert_allclose(step.dimensions, expected.cell.cellpar(), rtol=2e-6)
                assert step.time == pytest.approx(expected.info["time_ps"], rel=1e-6)
                if suffix != ".dcd":
                    assert step.data["step"] == 10 * k
                if suffix == ".h5md":
                    np.testing.assert_allclose(step.velocities, velocities_A_per_ps(expected), rtol=1e-5)
                    assert step.data["potential_energy"] == expected.get_potential_energy()

    def test_mdanalysis_universe(self, tmp_path):
        path = write(tmp_path / "run.h5md", 4)
        universe = MDAnalysis.Universe.empty(12, trajectory=True, velocities=True)
        universe.load_new(str(path))
        assert len(universe.trajectory) == 4

    def test_h5md_layout(self, tmp_path):
        """Version 1.1 of the specification, read without a library for it."""
        path = write(tmp_path / "run.h5md", 5)
        with h5py.File(path) as file:
            assert file["h5md"].attrs["version"].tolist() == [1, 1]
            assert file["h5md/creator"].attrs["name"] == "flashmd-rs"
            assert "name" in file["h5md/author"].attrs
            assert "version" in file["h5md/creator"].attrs
            assert "version" in file["h5md/modules/units"].attrs
            particles = file["particles/trajectory"]
            assert particles["box"].attrs["dimension"] == 3
            assert particles["box"].attrs["boundary"].tolist() == ["periodic"] * 3
            assert particles["species"][:].tolist() == frame(0).numbers.tolist()
            np.testing.assert_array_equal(particles["mass"], frame(0).get_masses())
            units = {"position": "Angstrom", "velocity": "Angstrom ps-1", "box/edges": "Angstrom"}
            for name, unit in units.items():
                element = particles[name]
                assert element["value"].attrs["unit"] == unit
                assert element["time"].attrs["unit"] == "ps"
                assert element["step"][:].tolist() == [0, 10, 20, 30, 40]
                np.testing.assert_allclose(element["time"], 0.16 * np.arange(5))
            for k in range(5):
                np.testing.assert_array_equal(particles["position/value"][k], frame(k).positions)
                np.testing.assert_array_equal(particles["box/edges/value"][k], frame(k).cell.array)
                velocities = particles["velocity/value"][k]
                np.testing.assert_allclose(velocities, velocities_A_per_ps(frame(k)), rtol=1e-6)
            energy = file["observables/potential_energy"]
            assert energy["value"].attrs["unit"] == "eV"
            assert energy["value"][:].tolist() == [-1.5 * k - 0.25 for k in range(5)]

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("atoms", [3, 600])
    def test_without_a_cell(self, tmp_path, suffix, atoms):
        """Also fewer than ten atoms, which XTC does not compress."""
        free = frame(1, atoms)
        free.set_cell(None)
        free.pbc = False
        free.calc = None
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        writer.write(free)
        writer.close()
        back = writer.reader().read(0)
        np.testing.assert_allclose(back.positions, free.positions, atol=0.0051)
        assert not back.cell.any()
        if suffix in READERS:
            with READERS[suffix](str(path)) as reader:
                assert reader.ts.dimensions is None or not reader.ts.dimensions[:3].any()

    @pytest.mark.parametrize("suffix", [".xtc", ".dcd"])
    def test_a_cell_that_readers_would_turn_is_refused(self, tmp_path, suffix):
        turned = frame(0)
        turned.rotate(30, "z", rotate_cell=True)
        path = tmp_path / f"run{suffix}"
        path.write_text("precious")
        with pytest.raises(InputError, match="a along x"):
            Recorder(turned, Files(trajectory=path), [])
        assert path.read_text() == "precious"

    @pytest.mark.parametrize("suffix", [".h5md", ".xtc", ".dcd"])
    def test_a_library_that_is_not_installed(self, tmp_path, suffix, monkeypatch):
        for module in ("h5py", "MDAnalysis"):
            monkeypatch.setitem(sys.modules, module, None)
        library = "h5py" if suffix == ".h5md" else "MDAnalysis"
        with pytest.raises(InputError, match=rf"\{suffix} needs {library}: pip install {library}"):
            check_trajectory_path(tmp_path / f"run{suffix}")
        assert list(tmp_path.iterdir()) == []


def velocities_A_per_ps(atoms):
    """p/m from ASE's √(eV·u) and u, by way of SI."""
    momenta = atoms.get_momenta() * np.sqrt(constants.e * constants.atomic_mass)
    return momenta / (atoms.get_masses()[:, None] * constants.atomic_mass) * 1e10 / 1e12


class TestOffsets:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("closed", [True, False])
    @pytest.mark.parametrize("offsets", [(0,), (1,), (4,), (2, 4, 4, 5)])
    def test_going_on_after_an_offset(self, tmp_path, suffix, closed, offsets):
        """Frames after the offset are dropped and written again; a closed file has had its segments joined."""
        reference = write(tmp_path / f"reference{suffix}", 9)
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        saved = []
        for k in range(8):
            saved += [json.loads(json.dumps(writer.sync())) for at in offsets if at == k]
            writer.write(frame(k))
        if closed:
            writer.close()
        for offset in (saved[-1], saved[0]):
            writer = reopen_frames(path, offset)
            for k in range(offset["frames"], 9):
                writer.write(frame(k))
            writer.close()
            assert_same(path, reference)

    @pytest.mark.parametrize("suffix", SEGMENTED)
    def test_a_synced_segment_is_a_whole_file(self, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        for k in range(5):
            writer.write(frame(k))
            if k in (1, 3):
                writer.sync()
        assert [count(tmp_path / f"run{name}{suffix}") for name in ("", ".segment-1")] == [2, 2]
        writer.close()
        assert count(path) == 5
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("suffix", SEGMENTED)
    def test_one_segment_without_syncs(self, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        writer.write(frame(0))
        assert list(tmp_path.iterdir()) == [path]
        inode = path.stat().st_ino
        writer.close()
        assert path.stat().st_ino == inode

    @pytest.mark.parametrize("suffix", SEGMENTED)
    def test_segments_of_an_earlier_run_are_removed(self, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        stale = [tmp_path / f"run.segment-{name}{suffix}" for name in ("1", "27", "joined")]
        others = [tmp_path / name for name in (f"run.segment-1{suffix}.bak", f"run.segment-x{suffix}", "run.segment-1")]
        for file in stale + others:
            file.touch()
        open_frames(path).close()
        assert not any(file.exists() for file in stale)
        assert all(file.exists() for file in others)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_files_that_are_not_what_was_left(self, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        for k in range(4):
            writer.write(frame(k))
            writer.sync()
        offset = writer.sync()
        part = path if suffix in APPENDED else tmp_path / f"run.segment-2{suffix}"
        data = part.read_bytes()
        part.unlink()
        with pytest.raises(FileNotFoundError, match="cannot go on with the trajectory") as caught:
            reopen_frames(path, offset)
        assert caught.value.filename == str(part)
        part.write_bytes(data[:-100])
        with pytest.raises(OSError, match="cannot go on with the trajectory: it "):
            reopen_frames(path, offset)
        write(path, 2)
        with pytest.raises(OSError, match="cannot go on with the trajectory"):
            reopen_frames(path, offset)
        assert count(path) == 2

    @pytest.mark.parametrize("suffix", SEGMENTED)
    def test_a_crash_between_joining_and_cleaning_up(self, tmp_path, suffix):
        reference = write(tmp_path / f"reference{suffix}", 6)
        path = tmp_path / f"run{suffix}"

        def crash_after_joining(*_, **__):
            os._exit(9)

        def child():
            writer = open_frames(path)
            for k in range(5):
                writer.write(frame(k))
                (tmp_path / f"offset{k}").write_text(json.dumps(writer.sync()))
            Path.unlink = crash_after_joining
            writer.close()

        assert in_child(child) == 9
        assert count(path) == 5
        assert (tmp_path / f"run.segment-4{suffix}").exists()
        for k in (4, 2):
            writer = reopen_frames(path, json.loads((tmp_path / f"offset{k}").read_text()))
            for rest in range(k + 1, 6):
                writer.write(frame(rest))
            writer.close()
            assert_same(path, reference)


def in_child(action):
    """Run ``action`` in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class At:
    """Does something at the n-th call of a C function: a point in time that can be met again."""

    def __init__(self, n, action):
        self.left, self.action = n, action

    def __call__(self, frame, event, argument):
        if event == "c_call":
            self.left -= 1
            if self.left == 0:
                self.action()

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


def go_on(path, log, saved, total=12):
    """A run that goes on after the last sync, syncs every third frame, and saves the offsets as a checkpoint would."""
    offsets = json.loads(saved.read_text()) if saved.exists() else None
    done = offsets["frames"]["frames"] if offsets else 0
    writer = reopen_frames(path, offsets["frames"]) if offsets else open_frames(path)
    lines = LogWriter(log, ["header"], ["H"], 12, offsets["log"] if offsets else None)
    for k in range(done, total):
        writer.write(frame(k))
        lines.write(0.16 * k, -1.5 * k, 1.0, [300.0, 300.0])
        if k % 3 == 2:
            fresh = saved.with_suffix(".new")
            fresh.write_text(json.dumps({"frames": writer.sync(), "log": lines.sync()}))
            fresh.replace(saved)
    writer.close()
    lines.close()


@pytest.mark.parametrize("trials", [6, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_at_any_instant(tmp_path, suffix, trials):
    """A process that SIGKILL ends up to three times: the file is that of the undisturbed run."""
    reference = tmp_path / f"reference{suffix}"
    go_on(reference, tmp_path / "reference.log", tmp_path / "reference.json")
    with At(0, None) as whole:
        go_on(tmp_path / f"count{suffix}", tmp_path / "count.log", tmp_path / "count.json")
    instants = random.Random(suffix)
    killed = 0
    for trial in range(trials):
        files = [tmp_path / f"{trial}{end}" for end in (suffix, ".log", ".json")]

        def child(files=files):
            with At(instants.randint(1, -whole.left), lambda: os.kill(os.getpid(), signal.SIGKILL)):
                go_on(*files)

        for _ in range(instants.randint(1, 3)):
            code = in_child(child)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            instants.random()
        go_on(*files)
        assert_same(files[0], reference)
        assert files[1].read_bytes() == (tmp_path / "reference.log").read_bytes()
    assert killed >= trials


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_in_the_middle_of_a_call(tmp_path, suffix):
    """The same by the clock, which also hits the inside of the libraries."""
    reference = tmp_path / f"reference{suffix}"
    go_on(reference, tmp_path / "reference.log", tmp_path / "reference.json")
    files = [tmp_path / f"run{end}" for end in (suffix, ".log", ".json")]
    instants = random.Random(suffix)

    def child():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, instants.uniform(0.0005, 0.04))
        go_on(*files)

    for _ in range(12):
        instants.random()
        assert in_child(child) in (0, -signal.SIGALRM)
    go_on(*files)
    assert_same(files[0], reference)
    assert files[1].read_bytes() == (tmp_path / "reference.log").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupt_at_any_instant(tmp_path, suffix):
    """Ctrl-C inside write(), libraries' callbacks included: the frame is in the file or it is not."""
    path = tmp_path / f"run{suffix}"

    def child(n):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        writer = open_frames(path)
        writer.write(frame(0))
        writer.sync()
        writer.write(frame(1))
        with contextlib.suppress(KeyboardInterrupt), At(n, lambda: os.kill(os.getpid(), signal.SIGINT)):
            writer.write(frame(2))
        writer.close()

    with At(0, None) as whole:
        writer = open_frames(tmp_path / f"count{suffix}")
        writer.write(frame(0))
        writer.close()
    for n in random.Random(suffix).sample(range(1, -whole.left), 30):
        assert in_child(lambda n=n: child(n)) == 0
        frames = count(path)
        assert frames in (2, 3)
        assert list(tmp_path.glob("run.*")) == [path]


class TestDiskFull:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("synced", [False, True])
    def test_the_frames_before_stay(self, tmp_path, suffix, synced):
        """A limit on the size of files answers like a full disk, in the middle of a frame."""
        reference = write(tmp_path / f"reference{suffix}", 9, atoms=3000)
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        offset = None
        for k in range(3):
            writer.write(frame(k, 3000))
            if synced and k == 1:
                offset = writer.sync()
        size = max(file.stat().st_size for file in tmp_path.glob("run*"))
        more = 0
        with file_size_limit(int(1.7 * size)), pytest.raises(OSError, match="cannot write the trajectory") as caught:
            while more < 20:
                writer.write(frame(3 + more, 3000))
                more += 1
        assert caught.value.filename in map(str, tmp_path.iterdir())
        writer.close()
        parts = sorted(tmp_path.glob("run*"), key=lambda part: len(part.name))
        assert sum(map(count, parts)) == 3 + more
        assert len(parts) == (2 if synced and suffix in SEGMENTED else 1)
        if offset:
            writer = reopen_frames(path, offset)
            for k in range(2, 9):
                writer.write(frame(k, 3000))
            writer.close()
            assert_same(path, reference)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_room_again(self, tmp_path, suffix):
        """The frame that found no room can be written again once there is some."""
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        writer.write(frame(0, 3000))
        with file_size_limit(path.stat().st_size + 9000), pytest.raises(OSError, match="cannot write the trajectory"):
            writer.write(frame(1, 3000))
        writer.write(frame(1, 3000))
        writer.close()
        assert_same(path, write(tmp_path / f"reference{suffix}", 2, atoms=3000))

    @pytest.mark.parametrize("suffix", SEGMENTED)
    def test_no_room_to_join(self, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        writer = open_frames(path)
        for k in range(4):
            writer.write(frame(k, 3000))
            offset = writer.sync()
        with file_size_limit(3 * path.stat().st_size // 2), pytest.raises(OSError, match="cannot write the trajectory"):
            writer.close()
        assert len(list(tmp_path.iterdir())) == 4
        reopen_frames(path, offset).close()
        assert_same(path, write(tmp_path / f"reference{suffix}", 4, atoms=3000))

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_run_ends_with_one_sentence(self, tmp_path, suffix, crystal):
        crystal.write(tmp_path / "start.extxyz")
        command = (
            f"ulimit -f 1000; exec {sys.executable} -m flashmd_rs run start.extxyz --temperature-k 50 --steps 5000"
        )
        command += f" --interval 1 --model {FIXTURES / 'pair_stride.onnx'} --trajectory run{suffix}"
        result = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        assert result.returncode == 1
        assert one_clear_error(result.stderr)
        assert f"cannot write the trajectory: File too large: {tmp_path / f'run{suffix}'}" in result.stderr
        assert 1 < count(tmp_path / f"run{suffix}") < 5000

    def test_log(self):
        with pytest.raises(OSError, match="cannot write the log file: No space left") as caught:
            LogWriter("/dev/full", [], ["H"], 3)
        assert caught.value.filename == "/dev/full"


@pytest.mark.parametrize("suffix", SEGMENTED)
def test_a_folder_that_can_no_longer_be_written(suffix):
    """By a user who is not root; formats that hold their one file open do not notice."""

    def child():
        if os.getuid() == 0:
            os.setuid(65534)
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        try:
            path = folder / f"run{suffix}"
            writer = open_frames(path)
            writer.write(frame(0))
            offset = writer.sync()
            folder.chmod(0o500)
            with pytest.raises(PermissionError, match="cannot write the trajectory: Permission denied") as caught:
                writer.write(frame(1))
            assert caught.value.filename == str(folder / f"run.segment-1{suffix}")
            writer.close()
            folder.chmod(0o700)
            writer = reopen_frames(path, offset)
            writer.write(frame(1))
            writer.close()
            assert_same(path, write(folder / f"reference{suffix}", 2))
        finally:
            shutil.rmtree(folder)

    assert in_child(child) == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_was_replaced(tmp_path, suffix):
    """Nothing can be synced there any more; what was synced is whole, and the run can go on from it."""
    folder = tmp_path / "runs"
    folder.mkdir()
    path = folder / f"run{suffix}"
    writer = open_frames(path)
    writer.write(frame(0))
    offset = writer.sync()
    folder.rename(tmp_path / "elsewhere")
    folder.touch()
    with pytest.raises(OSError, match="cannot write the trajectory: Not a directory"):
        writer.write(frame(1))
        writer.sync()
    writer.close()
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    writer = reopen_frames(path, offset)
    writer.write(frame(1))
    writer.close()
    assert_same(path, write(tmp_path / f"reference{suffix}", 2))


class TestLog:
    def test_cut_back(self, tmp_path):
        path = tmp_path / "run.log"
        log = LogWriter(path, ["model x"], ["H", "O"], 3)
        for k in range(5):
            if k == 3:
                offset = log.sync()
            log.write(0.1 * k, None, 1.0, [300.0, 299.0, 301.0])
        log.close()
        whole = path.read_bytes()
        log = LogWriter(path, ["model x"], ["H", "O"], 3, offset)
        for k in (3, 4):
            log.write(0.1 * k, None, 1.0, [300.0, 299.0, 301.0])
        log.close()
        assert path.read_bytes() == whole
        path.write_text("short")
        with pytest.raises(OSError, match="cannot go on with the log file: it holds 5 bytes"):
            LogWriter(path, [], [], 3, offset)
        path.unlink()
        with pytest.raises(FileNotFoundError, match="cannot go on with the log file"):
            LogWriter(path, [], [], 3, offset)

    def test_what_cannot_be_cut_back(self, tmp_path, capsys):
        assert LogWriter("-", ["printed"], [], 3).sync() == {}
        assert "printed" in capsys.readouterr().out
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)) as reader:
            log = LogWriter(pipe, ["piped"], [], 3)
            assert log.sync() == {}
            log.close()
            assert "piped" in reader.read()


def test_staged_file_is_a_file(tmp_path):
    """Random reads, writes, moves and cuts, against a file in memory; nothing reaches the disk before a commit."""
    rng = random.Random(1)
    path = tmp_path / "file"
    mine, theirs = StagedFile(path), io.BytesIO()
    committed = b""
    for _ in range(3000):
        match rng.randrange(6):
            case 0 | 1:
                data = rng.randbytes(rng.choice([1, 10, 5000, 40000]))
                assert mine.write(data) == theirs.write(data)
            case 2:
                size = rng.choice([-1, 1, 10, 5000, 40000])
                assert mine.read(size) == theirs.read(size)
            case 3:
                end = theirs.seek(0, os.SEEK_END)
                place = rng.randint(0, end)
                assert mine.seek(place) == theirs.seek(place) == mine.tell()
            case 4:
                mine.seek(0, os.SEEK_END)
                end = theirs.seek(0, os.SEEK_END)
                if end > 200_000:
                    assert mine.truncate(end // 2) == theirs.truncate(end // 2)
                    mine.seek(end // 2)
                    theirs.seek(end // 2)
            case 5:
                assert path.read_bytes() == committed
                mine.commit()
                committed = theirs.getvalue()
                assert path.read_bytes() == committed
    assert len(committed) > 100_000
    mine.seek(0)
    mine.write(b"never")
    mine.abandon()
    mine.close()
    assert path.read_bytes() == committed


MEMORY = """
import sys
import numpy as np
import flashmd_rs
from flashmd_rs._engine.recorder import Files, Recorder
from pathlib import Path

def resident():  # MB
    # The peak would hide what is freed in between.
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

water = flashmd_rs.load_structure("water258")
momenta = np.ones((774, 3))

def frame(k):
    return dict(step=k, time_fs=16.0 * k, positions=water.positions + 1e-3 * k, momenta=momenta,
                cell=water.cell.array, potential_energy=-1.0 * k, conserved_energy=None)

path = Path(sys.argv[1]) if sys.argv[1] != "none" else None
recorder = Recorder(water, Files(trajectory=path), [])
recorder.begin()
few, many = map(int, sys.argv[2:])
for k in range(many):
    if k == few:
        before = resident()
    recorder(frame(k))
recorder.close()
run = recorder.trajectory(1, {}, None)
assert len(run) == many and sum(f.info["step"] for f in run.frames[::50]) == sum(range(0, many, 50))
print(resident() - before)
"""


@pytest.mark.parametrize("few_many", [(600, 1000), pytest.param((600, 5000), marks=pytest.mark.long)])
@pytest.mark.parametrize("suffix", [*SUFFIXES, "none"])
def test_memory_does_not_grow_with_frames(tmp_path, suffix, few_many):
    """774 atoms are 37 kB a frame: about 15 MB for 400 of them where they are kept, without a file.

    HDF5's caches are full by the 600th frame.
    """
    path = "none" if suffix == "none" else tmp_path / f"run{suffix}"
    command = [sys.executable, "-c", MEMORY, str(path), *map(str, few_many)]
    grown = float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout)
    if suffix == "none":
        assert grown > 0.02 * (few_many[1] - few_many[0])
    else:
        assert grown < 5.0
