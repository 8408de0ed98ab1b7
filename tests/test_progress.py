"""What is seen of a run on its way: a bar on a terminal and in a notebook, lines in a log, nothing of a short one."""

import io
import sys
from types import SimpleNamespace

import pytest

from flashmd_rs import Simulation, resume, rollout
from flashmd_rs._engine import progress

from conftest import make_crystal

BATH = {"temperature_K": 60.0, "seed": 1}


@pytest.fixture
def clock(monkeypatch):
    """Time that only passes when a test says so."""
    now = SimpleNamespace(seconds=0.0)
    seconds = lambda: now.seconds  # noqa: E731
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=seconds, perf_counter=seconds))
    return now


class TestLines:
    def test_ever_more_rarely(self, capsys, clock):
        """A stride a second: after 10 s, 20 s more and so on, at last every five minutes, and where the run ends."""
        shown = progress.Progress(2000, stride_fs=100.0)
        for step in range(1, 2001):
            clock.seconds += 1.0
            shown(step, 300.4)
        shown.close()
        lines = capsys.readouterr().err.splitlines()
        steps = [int(line.split()[1].split("/")[0]) for line in lines]
        assert steps == [10, 30, 70, 150, 310, *range(610, 2000, 300), 2000]
        assert lines[1] == "step 30/2000  3.000/200 ps  8.64 ns/day  T 300 K  32:50 left"

    def test_a_run_that_goes_on(self, capsys, clock):
        """Speed and time left are those of this part."""
        shown = progress.Progress(200_000, stride_fs=1.0, first=100_000)
        clock.seconds += 100.0
        shown(100_100, 300.0)
        assert (
            capsys.readouterr().err == "step 100100/200000  100.100/200 ps  0.0864 ns/day  T 300 K  1-03:45:00 left\n"
        )

    def test_nothing_of_a_short_run(self, capsys, clock):
        shown = progress.Progress(9, stride_fs=1.0)
        for step in range(1, 10):
            clock.seconds += 1.0
            shown(step, 300.0)
        shown.close()
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_of_every_way_to_run(self, models, tmp_path, capsys, monkeypatch, replicas):
        monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
        atoms = [make_crystal(2) for _ in range(replicas)]
        options = {"checkpoint": tmp_path / "c", "steps": 5, **BATH}
        rollout(atoms, models("pair_stride"), progress=False, **options)
        assert capsys.readouterr().err == ""
        resume(tmp_path / "c", steps=8, model=models("pair_stride"))
        assert "step 8/8  0.016/0.016 ps" in capsys.readouterr().err
        with Simulation(atoms, models("pair_stride"), **BATH) as simulation:
            simulation.step(3)
            assert capsys.readouterr().err == ""
            simulation.run(steps=4)
        assert "step 7/7  0.014/0.014 ps" in capsys.readouterr().err

    def test_who_reads_them_may_be_gone(self, models, monkeypatch):
        class Gone(io.StringIO):
            def write(self, text):
                raise BrokenPipeError

        monkeypatch.setattr(progress, "FIRST_LINE_S", 0.0)
        for stream in (Gone(), None):
            monkeypatch.setattr(sys, "stderr", stream)
            assert rollout(make_crystal(2), models("pair_stride"), steps=3, **BATH).report["steps"] == 3


class TestNotebook:
    @pytest.mark.parametrize("config", [{"IPKernelApp": {}}, {"TerminalIPythonApp": {}}])
    def test_a_bar_in_a_kernel(self, models, capsys, monkeypatch, config):
        """There standard error is no terminal; IPython in a pipe is none either."""
        shell = SimpleNamespace(config=config)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        run = {"steps": 200, **BATH}
        rollout(make_crystal(2), models("pair_stride"), **run)
        assert ("0.400/0.400 ps" in capsys.readouterr().err) == ("IPKernelApp" in config)
        rollout(make_crystal(2), models("pair_stride"), progress=False, **run)
        assert capsys.readouterr().err == ""
