"""Runs in batch systems: notices of an end, the same command after a requeue, going on otherwise, wall time."""

import fcntl
import itertools
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from typer.testing import CliRunner

from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    CheckpointError,
    InputError,
    Langevin,
    ModelError,
    Output,
    Simulation,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import read_checkpoint
from flashmd_rs._engine.recorder import Recorder
from flashmd_rs._engine.signals import NOTICES, between_strides, leaving_on_notice
from flashmd_rs._engine.wall_time import WallTime
from flashmd_rs.cli.app import app
from flashmd_rs.cli.wall_time import seconds

from conftest import fixture_model, make_crystal

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50), "seed": 1}
ENERGY = {"energy_model": fixture_model("pair_energy")}


def start():
    return make_crystal(2)


def steps_in(path):
    return [frame.info["step"] for frame in ase.io.read(path, ":")]


class Sends:
    """Observer that sends this process a signal at some steps."""

    def __init__(self, number, *steps):
        self.number, self.steps = number, steps

    def __call__(self, view):
        if view.step in self.steps:
            os.kill(os.getpid(), self.number)


class TestNotices:
    @pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGHUP"])
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_saved_at_the_next_stride(self, models, tmp_path, name, replicas):
        number = signal.Signals[name]
        atoms = [start() for _ in range(replicas)] if replicas > 1 else start()
        options = {"checkpoint": Checkpoint(tmp_path / "c", interval=1000), "steps": 12, **BATH}
        with pytest.raises(SystemExit) as ended:
            rollout(atoms, models("pair_stride"), observers=[(Sends(number, 5), 1)], **options)
        assert ended.value.code == 128 + number
        assert read_checkpoint(tmp_path / "c").step == 5
        with pytest.raises(SystemExit):
            resume(tmp_path / "c", model=models("pair_stride"), observers=[(Sends(number, 8), 1)])
        assert read_checkpoint(tmp_path / "c").step == 8
        assert signal.getsignal(number) == signal.SIG_DFL

    def test_one_more_waits_until_the_files_are_closed(self, models, tmp_path, monkeypatch):
        close = Recorder.close

        def interrupted(recorder):
            signal.raise_signal(signal.SIGTERM)
            close(recorder)

        monkeypatch.setattr(Recorder, "close", interrupted)
        path = tmp_path / "run.traj"
        options = {"checkpoint": Checkpoint(tmp_path / "c", interval=2), "trajectory": path, "interval": 1, **BATH}
        with pytest.raises(SystemExit):
            rollout(start(), models("pair_stride"), steps=12, observers=[(Sends(signal.SIGTERM, 9), 1)], **options)
        assert [found.name for found in tmp_path.glob("run*")] == ["run.traj"]
        assert len(ase.io.read(path, ":")) == 10

    @pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
    def test_what_is_handled_or_ignored_stays_so(self, models, tmp_path, handler):
        """``nohup`` ignores SIGHUP."""
        before = signal.signal(signal.SIGHUP, handler)
        try:
            observers = [(Sends(signal.SIGHUP, 2), 1)]
            run = rollout(
                start(), models("pair_stride"), steps=4, checkpoint=tmp_path / "c", observers=observers, **BATH
            )
            assert run.report["steps"] == 4
            assert signal.getsignal(signal.SIGHUP) is handler
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_without_a_checkpoint_nothing_is_held(self, models):
        seen = []
        observers = [(lambda view: seen.append({signal.getsignal(number) for number in NOTICES}), 1)]
        rollout(start(), models("pair_stride"), steps=1, observers=observers, **BATH)
        assert seen == [{signal.SIG_DFL}]

    def test_batch_systems_repeat_themselves(self, models, tmp_path):
        """SIGXCPU comes every second, SIGTERM after SIGUSR1; neither may cut the saving off."""

        def insist(view):
            for number in (signal.SIGUSR1, signal.SIGXCPU, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)

        with pytest.raises(SystemExit) as ended:
            rollout(
                *(start(), models("pair_stride")),
                **{"steps": 4, "checkpoint": tmp_path / "c", "observers": [(insist, 3)], **BATH},
            )
        assert ended.value.code == 128 + signal.SIGUSR1
        assert read_checkpoint(tmp_path / "c").step == 3

    def test_a_second_ctrl_c_ends_at_once(self):
        with pytest.raises(KeyboardInterrupt), between_strides(True):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second one was held")

    def test_an_error_at_the_same_time_does_not_hide_it(self):
        with pytest.raises(KeyboardInterrupt), between_strides(True):
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("which somebody mends")

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
    def test_what_a_finalizer_swallows_is_raised_again(self, number, error):
        class Closing:
            def __del__(self):
                os.kill(os.getpid(), number)

        with pytest.raises(error), leaving_on_notice(True, interrupts=True) as check:
            closing = Closing()
            del closing
            check()
            pytest.fail("it was lost")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_between_the_strides_of_a_caller(self, models, tmp_path):
        """In a ``with`` block what has been done since the last checkpoint is saved there too."""
        checkpoint = Checkpoint(tmp_path / "c", interval=1000)
        files = {"trajectory": tmp_path / "run.extxyz", "checkpoint": checkpoint}
        with (
            pytest.raises(SystemExit) as ended,
            Simulation(start(), models("pair_stride"), interval=4, **files, **BATH) as simulation,
        ):
            simulation.step(7)
            os.kill(os.getpid(), signal.SIGUSR1)
        assert ended.value.code == 128 + signal.SIGUSR1
        assert read_checkpoint(tmp_path / "c").step == 7
        assert steps_in(tmp_path / "run.extxyz") == [0, 4, 7]
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL

    def test_the_terminal_goes_away(self, tmp_path):
        """SIGHUP, and nobody reads standard error any more: saved all the same."""
        start().write(tmp_path / "start.extxyz")
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(tmp_path)
            command = ["run", "start.extxyz", "--model", str(fixture_model("pair_stride")), "--steps", "100000000"]
            command += ["--temperature-k", "60", "--checkpoint", "c", "--checkpoint-interval", "100000000"]
            os.execv(sys.executable, [sys.executable, "-m", "flashmd_rs", *command])
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        shown = b""
        while b"ns/day" not in shown:
            assert select.select([terminal], [], [], 60)[0], shown
            shown += os.read(terminal, 4096)
        os.close(terminal)
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
        assert read_checkpoint(tmp_path / "c").step > 0


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Call the command in a folder with a structure."""
    monkeypatch.chdir(tmp_path)
    start().write("start.extxyz")

    def call(*arguments):
        return CliRunner().invoke(app, list(map(str, arguments)))

    return call


RUN = ("run", "start.extxyz", "--model", fixture_model("pair_stride"), "--temperature-k", 60, "--seed", 4)
FILES = ("--interval", 100, "--trajectory", "run.extxyz", "--logfile", "run.log", "--checkpoint", "c")
REQUEUED = (*RUN, *FILES, "--resume", "auto")
OFTEN = (*REQUEUED, "--interval", 10)


class TestRequeued:
    def test_the_same_command_goes_on(self, tmp_path, command):
        """Killed by SIGUSR1, requeued, and requeued once more when it is complete."""
        lines = [*map(str, (*REQUEUED, "--steps", 100_000_000, "--checkpoint-interval", 10**8))]
        process = subprocess.Popen([sys.executable, "-m", "flashmd_rs", *lines], stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (tmp_path / "run.log").exists() or (tmp_path / "run.log").stat().st_size < 1200:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(timeout=20) == 128 + signal.SIGUSR1
        assert "saved: go on with `flashmd-rs resume c`" in process.stderr.read()
        steps = read_checkpoint("c").step + 125
        assert command(*REQUEUED, "--steps", steps).exit_code == 0
        before = [(tmp_path / name).read_bytes() for name in ("run.extxyz", "run.log", "c")]
        for _ in range(2):
            again = command(*REQUEUED, "--steps", steps)
            assert (again.exit_code, again.stdout.split()[0]) == (0, "complete")
            assert [(tmp_path / name).read_bytes() for name in ("run.extxyz", "run.log", "c")] == before
        whole = ("--interval", 100, "--trajectory", "whole.extxyz", "--logfile", "whole.log")
        assert command(*RUN, *whole, "--steps", steps).exit_code == 0
        assert (tmp_path / "whole.extxyz").read_bytes() == before[0]
        assert (tmp_path / "whole.log").read_bytes() == before[1]

    @pytest.mark.parametrize("left", ["c.previous", "c.new", "c c.new", "c.previous c.new"])
    def test_whatever_kill_9_leaves(self, tmp_path, command, left):
        """Between the two renames of a checkpoint the one before is all there is."""
        assert command(*OFTEN, "--steps", 20, "--checkpoint-interval", 10).exit_code == 0
        whole = (tmp_path / "run.extxyz").read_bytes()
        (tmp_path / "c").replace(tmp_path / "kept")
        (tmp_path / "c.previous").unlink()
        for name in left.split():
            shutil.copy(tmp_path / "kept", tmp_path / name)
            if name == "c.new":
                (tmp_path / name).write_bytes(b"half")
        assert command(*OFTEN, "--steps", 20, "--checkpoint-interval", 10).exit_code == 0
        assert (tmp_path / "run.extxyz").read_bytes() == whole

    def test_replicas_by_number(self, tmp_path, command):
        named = [str(word).replace("run.", "run{replica}.") for word in OFTEN]
        assert command(*named, "--replica", 3, "--steps", 10).exit_code == 0
        assert command(*named, "--replica", 3, "--steps", 20).exit_code == 0
        assert steps_in(tmp_path / "run3.extxyz") == [0, 10, 20]
        assert "begins with replica 3, got replica=2" in command(*named, "--replica", 2, "--steps", 20).stderr

    def test_what_contradicts_the_checkpoint_is_named(self, tmp_path, command):
        assert command(*OFTEN, "--steps", 10).exit_code == 0
        before = (tmp_path / "run.extxyz").read_bytes()
        make_crystal(3).write("start.extxyz")
        other = command(*OFTEN, "--steps", 20)
        assert (other.exit_code, "holds Ar8, got Ar27" in other.stderr) == (1, True)
        start().write("start.extxyz")
        lines = [fixture_model("pair_alone") if word == fixture_model("pair_stride") else word for word in OFTEN]
        other = command(*lines, "--steps", 20)
        assert (other.exit_code, "pair_alone is" in other.stderr, "pair_stride.onnx" in other.stderr) == (1, True, True)
        assert "beyond the 5 strides asked for" in command(*OFTEN, "--steps", 5).stderr
        assert "--resume auto" in command(*OFTEN[:-4], "--steps", 20).stderr
        assert "give checkpoint" in command(*RUN, "--steps", 5, "--resume", "auto").stderr
        assert (tmp_path / "run.extxyz").read_bytes() == before

    @pytest.mark.parametrize("suffix", [".traj", ".h5md", ".xtc", ".dcd"])
    def test_a_complete_run_stays_as_it_is(self, models, tmp_path, suffix):
        """Its last frame, off the beat, is there once."""
        options = {"trajectory": tmp_path / f"run{suffix}", "checkpoint": tmp_path / "c", "resume": "auto", **BATH}
        for _ in range(3):
            rollout(start(), models("pair_stride"), steps=25, interval=10, **options)
            assert len(read_frames(tmp_path / f"run{suffix}")) == 4


def read_frames(path):
    if path.suffix in (".xtc", ".dcd"):
        import MDAnalysis

        universe = MDAnalysis.Universe.empty(8, trajectory=True)
        universe.load_new(str(path))
        return [round(float(t.time), 4) for t in universe.trajectory]
    if path.suffix == ".h5md":
        import h5py

        with h5py.File(path) as file:
            return list(file["particles/trajectory/position/step"][()])
    return steps_in(path)


class TestGoneOnOtherwise:
    @pytest.fixture
    def saved(self, models, tmp_path):
        """A run of 25 strides with a frame every 10."""
        files = {"trajectory": tmp_path / "run.extxyz", "logfile": tmp_path / "run.log", "checkpoint": tmp_path / "c"}
        rollout(start(), models("pair_stride"), steps=25, interval=10, **files, **BATH, **ENERGY)
        return tmp_path / "c"

    def test_into_another_file(self, models, tmp_path, saved):
        """Old and new follow on each other, and the old one is left as it is; so is it once more from the new one."""
        old = (tmp_path / "run.extxyz").read_bytes()
        model = models("pair_stride")
        run = resume(saved, steps=50, trajectory=tmp_path / "new.extxyz", logfile=tmp_path / "new.log", model=model)
        assert steps_in(tmp_path / "new.extxyz") == [frame.info["step"] for frame in run.frames] == [30, 40, 50]
        assert (tmp_path / "run.extxyz").read_bytes() == old
        resume(saved, steps=65, model=model)
        assert steps_in(tmp_path / "new.extxyz") == [30, 40, 50, 60, 65]
        assert [line.split()[0] for line in (tmp_path / "new.log").read_text().splitlines() if line[0] != "#"] == [
            f"{0.002 * step:.5f}" for step in (30, 40, 50, 60, 65)
        ]
        whole = {"trajectory": tmp_path / "whole.extxyz", "interval": 10, **BATH, **ENERGY}
        rollout(start(), model, steps=65, **whole)
        new, all_of_it = (ase.io.read(tmp_path / f"{name}.extxyz", ":") for name in ("new", "whole"))
        for one, other in zip(new, all_of_it[3:], strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)

    @pytest.mark.parametrize("suffix", [".extxyz", ".traj", ".h5md", ".xtc", ".dcd"])
    def test_the_old_file_was_archived(self, models, tmp_path, suffix):
        path = tmp_path / f"run{suffix}"
        model = models("pair_stride")
        rollout(start(), model, steps=20, interval=10, trajectory=path, checkpoint=tmp_path / "c", **BATH)
        path.replace(tmp_path / f"archived{suffix}")
        kept = (tmp_path / f"archived{suffix}").read_bytes()
        for attempt in (lambda: resume(tmp_path / "c", steps=40, model=model), lambda: Simulation.load(tmp_path / "c")):
            with pytest.raises(FileNotFoundError, match=r"no such file; put it back, or write another .*--trajectory"):
                attempt()
        with Simulation.load(tmp_path / "c", trajectory=path, model=model) as again:
            again.step(20)
        found = read_frames(path)
        assert found == ([0.06, 0.08] if suffix in (".xtc", ".dcd") else [30, 40])
        assert (tmp_path / f"archived{suffix}").read_bytes() == kept

    def test_on_the_command_line(self, tmp_path, command):
        assert command(*OFTEN, "--steps", 20).exit_code == 0
        (tmp_path / "run.extxyz").replace(tmp_path / "old.extxyz")
        missing = command("resume", "c", "--steps", 40)
        assert (missing.exit_code, "--trajectory FILE" in missing.stderr) == (1, True)
        assert "--trajectory FILE" in command(*OFTEN, "--steps", 40).stderr
        flags = ("--trajectory", "new.extxyz", "--logfile", "new.log", "--interval", 4, "--temperature-k", 90)
        assert command("resume", "c", "--steps", 30, *flags).exit_code == 0
        assert steps_in(tmp_path / "new.extxyz") == [24, 28, 30]
        assert " at 90 K" in (tmp_path / "new.log").read_text()
        assert command("resume", "c", "--time-ps", 0.08).exit_code == 0
        assert steps_in(tmp_path / "new.extxyz") == [24, 28, 32, 36, 40]
        assert read_checkpoint("c").settings.temperature_K == [90.0]

    @pytest.mark.parametrize("interval", [5, 7, 3])
    def test_another_interval(self, models, tmp_path, saved, interval):
        """In the same file: frames at its multiples from the checkpoint on, none of them twice."""
        resume(saved, interval=interval, steps=40, model=models("pair_stride"))
        after = [*range(interval * (25 // interval + 1), 41, interval)]
        assert steps_in(tmp_path / "run.extxyz") == sorted({0, 10, 20, *after, 40})

    def test_another_interval_and_nothing_to_do(self, models, tmp_path):
        options = {"steps": 20, "interval": 10, "trajectory": tmp_path / "run.extxyz", "checkpoint": tmp_path / "c"}
        rollout(start(), models("pair_stride"), **options, **BATH)
        resume(tmp_path / "c", interval=7, model=models("pair_stride"))
        assert steps_in(tmp_path / "run.extxyz") == [0, 10, 20]

    def test_a_dcd_has_one_interval(self, models, tmp_path):
        options = {"steps": 20, "interval": 10, "trajectory": tmp_path / "run.dcd", "checkpoint": tmp_path / "c"}
        rollout(start(), models("pair_stride"), **options, **BATH)
        with pytest.raises(InputError, match="evenly spaced times"):
            resume(tmp_path / "c", interval=7, steps=40, model=models("pair_stride"))
        resume(tmp_path / "c", interval=7, steps=40, trajectory=tmp_path / "new.dcd", model=models("pair_stride"))
        assert read_frames(tmp_path / "new.dcd") == [0.042, 0.056, 0.07, 0.084]

    @pytest.mark.parametrize(
        "ensemble",
        [
            {},
            {"thermostat": Bussi(50)},
            {"rescale_energy": True},
            {"pressure_bar": 2000.0, "barostat": CellRescaling(interval=3, compressibility_per_bar=1e-5)},
        ],
        ids=["langevin", "bussi", "rescaled", "npt"],
    )
    def test_another_temperature(self, models, tmp_path, ensemble):
        """The conserved energy goes on without a jump; the heat that the new target brings is outside of it."""
        options = {"checkpoint": tmp_path / "c", "interval": 1, **BATH, **ENERGY, **ensemble}
        model = models("pair_stride")
        before = rollout(make_crystal(3), model, steps=60, **options)
        after = resume(tmp_path / "c", temperature_K=400, steps=400, model=model, energy_model=models("pair_energy"))
        assert after.report["temperature_K"] == 400
        assert np.mean(after.temperature_K["total"][-150:]) > 2 * np.mean(before.temperature_K["total"][-20:])
        heat = after.total_energy[-1] - before.total_energy[-1]
        usual = np.abs(np.diff(before.conserved_energy)).max()
        jump = after.conserved_energy[0] - before.conserved_energy[-1]
        assert abs(jump) <= 2 * usual + 1e-9
        assert heat > 20 * abs(jump)

    def test_temperatures_of_replicas(self, models, tmp_path):
        atoms = [start(), start()]
        rollout(atoms, models("pair_stride"), steps=5, checkpoint=tmp_path / "c", **BATH)
        runs = resume(tmp_path / "c", temperature_K=[50, 70], steps=8, model=models("pair_stride"))
        assert [run.report["temperature_K"] for run in runs] == [50, 70]
        with pytest.raises(InputError, match="got 3 temperatures for 2 systems"):
            resume(tmp_path / "c", temperature_K=[50, 70, 90], steps=9, model=models("pair_stride"))
        with pytest.raises(InputError, match=r"put {replica} into its name"):
            resume(tmp_path / "c", trajectory=tmp_path / "new.extxyz", steps=9, model=models("pair_stride"))

    def test_refused(self, models, tmp_path, saved):
        model = models("pair_stride")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        for options, message in (
            ({"temperature_K": -1}, "temperature_K=-1"),
            ({"interval": 0}, "interval=0"),
            ({"interval": 3, "trajectory": Output(tmp_path / "n.traj", 4)}, "got interval twice"),
            ({"trajectory": tmp_path / "n.txt"}, "ends in '.txt'"),
            ({"trajectory": 5}, "got int for trajectory"),
            ({"trajectory": tmp_path / "n.xyz", "logfile": tmp_path / "n.xyz"}, "are the same file"),
            ({"logfile": tmp_path / "c"}, "are the same file"),
            ({"wall_time_s": 0}, "wall_time_s=0"),
        ):
            with pytest.raises(InputError, match=message):
                resume(saved, steps=50, model=model, **options)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        with pytest.raises(TypeError, match="unexpected option 'foo'; it takes steps, time_ps, temperature_K"):
            Simulation.load(saved, foo=1)
        options = {"checkpoint": tmp_path / "nve", "rescale_energy": False, **ENERGY}
        rollout(start(), model, steps=3, **options)
        with pytest.raises(InputError, match=r"temperature_K=300, but the run has no thermostat \(NVE\)"):
            resume(tmp_path / "nve", temperature_K=300, steps=5, model=model, energy_model=models("pair_energy"))
        with pytest.raises(ModelError, match="does not move atoms"):
            resume(saved, model=fixture_model("pair_energy"), allow_other_model=True, steps=50)
        with pytest.raises(CheckpointError, match="holds Ar8, got Ar27"):
            rollout(make_crystal(3), model, steps=50, checkpoint=saved, resume=True, **BATH)


class TestWallTime:
    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("23:50:00", 85800),
            ("00:00:01", 1),
            ("90", 5400),
            ("2:30", 150),
            ("1-0", 86400),
            ("1-12", 129600),
            ("1-12:30", 131400),
            ("2-01:02:03", 176523),
            ("100:00:00", 360000),
        ],
    )
    def test_as_slurm_writes_it(self, written, expected):
        assert seconds(written) == expected

    @pytest.mark.parametrize(
        "written", ["", "0", "0:00", "-5", "1:2:3:4", "23h", "1.5", "infinite", "1-", "٣:٠٠", "9" * 99]
    )
    def test_what_is_no_time(self, written):
        with pytest.raises(InputError, match="as Slurm writes them"):
            seconds(written)

    def test_it_leaves_room_for_a_stride_and_a_checkpoint(self, monkeypatch):
        now = [100.0]
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr("flashmd_rs._engine.wall_time.time", clock)
        wall_time = WallTime(1000.0)  # 10 s of it are kept
        strides = []
        wall_time.begin()
        for seconds_of_stride in (1.0, 30.0, *[1.0] * 5000):  # the second one saved a checkpoint
            now[0] += seconds_of_stride
            strides.append(now[0])
            if wall_time.is_up():
                break
        assert 100 + 1000 - 10 - 2 * 30 < strides[-1] <= 100 + 1000 - 10 - 2 * 30 + 1

    @pytest.mark.parametrize("saving", [True, False])
    def test_ends_in_time_and_goes_on(self, models, tmp_path, monkeypatch, saving):
        """Whole files, a checkpoint where there are any, and the bits of a run in one go."""
        checkpoint = {"checkpoint": Checkpoint(tmp_path / "c", interval=10**6)} if saving else {}
        options = {"interval": 10, "trajectory": tmp_path / "run.extxyz", **BATH}
        with monkeypatch.context() as patch:
            ticks = itertools.count()  # a stride a second
            patch.setattr("flashmd_rs._engine.wall_time.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
            run = rollout(start(), models("pair_stride"), steps=10**8, wall_time_s=60, **checkpoint, **options)
        assert run.report["out_of_time"]
        done = run.report["steps"]
        assert 45 < done < 55
        assert steps_in(tmp_path / "run.extxyz") == [*range(0, done, 10), done]
        if saving:
            assert read_checkpoint(tmp_path / "c").step == done
            again = resume(tmp_path / "c", steps=done + 9, model=models("pair_stride"), wall_time_s=600)
            assert not again.report["out_of_time"]
            whole = rollout(start(), models("pair_stride"), steps=done + 9, interval=10, **BATH)
            np.testing.assert_array_equal(again.frames[-1].positions, whole.frames[-1].positions)

    def test_no_time_at_all(self, models, tmp_path):
        """The first checkpoint is there; a run that is complete is not out of time."""
        with Simulation(start(), models("pair_stride"), steps=5, checkpoint=tmp_path / "c", **BATH) as simulation:
            simulation.run(wall_time_s=1e-9)
            assert (simulation.nsteps, simulation.report["out_of_time"]) == (0, True)
            assert read_checkpoint(tmp_path / "c").step == 0
            simulation.run(wall_time_s=100)
            assert (simulation.nsteps, simulation.report["out_of_time"]) == (5, False)
            simulation.run(wall_time_s=1e-9)
            assert not simulation.report["out_of_time"]
        for wrong in (0, -1, float("nan"), "1", True):
            with pytest.raises(InputError, match="wall_time_s"):
                rollout(start(), models("pair_stride"), steps=5, wall_time_s=wrong, **BATH)

    def test_exit_codes(self, tmp_path, command, monkeypatch):
        """75 for a run that is to be gone on with, 0 for one that is complete."""
        monkeypatch.setattr("flashmd_rs.cli.wall_time._STARTED", time.monotonic() - 59.5)
        cut = command(*REQUEUED, "--steps", 10**8, "--wall-time", 1)
        assert cut.exit_code == 75
        assert "wall time over at" in cut.stderr
        assert "go on with `flashmd-rs resume c`" in cut.stderr
        monkeypatch.setattr("flashmd_rs.cli.wall_time._STARTED", time.monotonic() - 59.5)
        step = read_checkpoint("c").step
        cut = command("resume", "c", "--steps", 10**8, "--wall-time", 1)
        assert cut.exit_code == 75
        assert read_checkpoint("c").step >= step
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        done = read_checkpoint("c").step + 2
        assert command("resume", "c", "--steps", done, "--wall-time", "99:00:00").exit_code == 0
        assert command("resume", "c", "--wall-time", "99:00:00").exit_code == 0
