"""How many threads a model works with, where they may run, and who says so."""

import json
import os
import sys
from pathlib import Path

import pytest

from flashmd_rs import FlashMDWarning, Model, _core, _threads, rollout
from flashmd_rs._threads import choose

from conftest import fixture_model

linux = pytest.mark.skipif(sys.platform != "linux", reason="processors are given to a process by Linux's means")

# What a process finds that may use some of the processors: the threads that a model starts, and where each may run.
CHILD = """
import json, os
os.sched_setaffinity(0, {processors})
import ase, flashmd_rs
flashmd_rs.open_library()
before = set(os.listdir("/proc/self/task"))
model = flashmd_rs.Model({model!r}, device="cpu"{threads})
model.stride(ase.Atoms("Ar2", positions=[[0, 0, 0], [3, 0, 0]], momenta=[[0.1, 0, 0], [0, 0.1, 0]]))
started = set(os.listdir("/proc/self/task")) - before
print(json.dumps([model.threads_used, model.threads_source, [sorted(os.sched_getaffinity(int(t))) for t in started]]))
"""
UNSET = dict.fromkeys(_threads.ENVIRONMENT_VARIABLES)
OURS = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]


@pytest.fixture
def child(shell):
    """Open a model in a process that may use these processors; the number of threads, its source, the others' masks."""

    def run(processors, threads="", **environment):
        code = CHILD.format(processors=set(processors), threads=threads, model=str(fixture_model("pair_alone")))
        result = shell("-c", code, module=False, env=UNSET | environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def sixteen(monkeypatch):
    """A process that may use sixteen processors, and is told nothing else."""
    monkeypatch.setattr(_core, "available_processors", lambda: 16)
    for variable in _threads.ENVIRONMENT_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def quota():
    """A control group that may use one processor's time; the file that takes processes into it."""
    old, root = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (old if old.exists() else root) / f"flashmd-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("cpu.cfs_quota_us" if old.exists() else "cpu.max")).write_text("100000")
    except OSError:
        pytest.skip("no control groups may be made here")
    yield group / ("tasks" if old.exists() else "cgroup.procs")
    group.rmdir()


@linux
class TestProcesses:
    def test_the_affinity_mask_is_heard(self, child):
        """What `taskset -c 0` and a batch system's cpuset leave: no thread beside the caller's, none outside."""
        assert child(OURS[:1]) == [1, "processors this process may use", []]

    def test_a_quota_is_heard(self, quota, shell):
        """A container may see every processor and have the time of one."""
        code = f"import os; open({str(quota)!r}, 'w').write(str(os.getpid()))\nfrom flashmd_rs import _threads\n"
        result = shell("-c", code + "print(_threads.choose(None).count)", module=False, env=UNSET)
        assert (result.stdout, result.stderr) == ("1\n", "")

    @pytest.mark.skipif(len(OURS) < 2, reason="needs two processors")
    def test_no_thread_is_pinned(self, child):
        """Each may run wherever the process may, so that two runs side by side do not meet on one processor."""
        assert child(OURS[:2]) == [2, "processors this process may use", [OURS[:2]]]

    def test_the_environment_is_heard(self, child):
        assert child(OURS, OMP_NUM_THREADS="1") == [1, "OMP_NUM_THREADS", []]

    def test_the_user_goes_over_all(self, child):
        count, source, masks = child(OURS[:1], ", threads=3", OMP_NUM_THREADS="1")
        assert (count, source, masks) == (3, "as given", [OURS[:1]] * 2)

    def test_doctor_shows_it(self, shell):
        result = shell("doctor", env=UNSET | {"SLURM_CPUS_PER_TASK": "1"})
        rows = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines() if line.startswith("  "))
        shown = {name: text.strip() for name, text in rows.items()}
        assert shown["threads"] == "1 (SLURM_CPUS_PER_TASK)"
        assert shown["OMP_NUM_THREADS"] == "not set"
        assert shown["processors"].endswith(f"{len(OURS)} for this process")


@pytest.mark.usefixtures("sixteen")
class TestEnvironment:
    @pytest.mark.parametrize(
        ("omp", "slurm", "count", "source"),
        [
            (None, None, 16, "processors this process may use"),
            ("4", None, 4, "OMP_NUM_THREADS"),
            (None, "4", 4, "SLURM_CPUS_PER_TASK"),
            ("2", "4", 2, "OMP_NUM_THREADS"),
            ("4", "2", 4, "OMP_NUM_THREADS"),  # the first word counts
            ("64", None, 16, "processors this process may use"),
            (None, "64", 16, "processors this process may use"),
            ("16", None, 16, "OMP_NUM_THREADS"),
            (" 3, 2,1", None, 3, "OMP_NUM_THREADS"),  # of nested teams
            ("", "5", 5, "SLURM_CPUS_PER_TASK"),
        ],
    )
    def test_order(self, omp, slurm, count, source, monkeypatch):
        for variable, text in zip(_threads.ENVIRONMENT_VARIABLES, (omp, slurm), strict=True):
            if text is not None:
                monkeypatch.setenv(variable, text)
        assert choose(None) == _threads.Threads(count, source)
        assert choose(7) == _threads.Threads(7, "as given")

    @pytest.mark.parametrize("text", ["two", "0", "-1", "1.5", "4x", "2(x3)", "٣", "9" * 30, "0x4", ",4"])
    def test_what_is_no_number_is_passed_over_by_name(self, text, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
        with pytest.warns(FlashMDWarning, match="OMP_NUM_THREADS=.* is passed over: wanted a number of threads"):
            assert choose(None) == _threads.Threads(3, "SLURM_CPUS_PER_TASK")


def test_the_report_says_how_many_and_why(crystal, monkeypatch, tmp_path):
    """The number that was used, not the None that was given; and so does the log."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = Model(fixture_model("pair_stride"), device="cpu")
    run = rollout(crystal, model, steps=1, temperature_K=10, progress=False, logfile=tmp_path / "log")
    assert model.threads is None
    assert (model.threads_used, model.threads_source) == (1, "OMP_NUM_THREADS")
    assert (run.report["threads"], run.report["threads_source"]) == (1, "OMP_NUM_THREADS")
    assert "on cpu, threads=1" in repr(model)
    assert "on cpu, threads 1 (OMP_NUM_THREADS)" in (tmp_path / "log").read_text()
