"""Memory of frames: said beforehand, refused where it cannot be, and none of them for the command line."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from ase import Atoms

from flashmd_rs import FlashMDWarning, InputError, Output, Simulation, resume, rollout
from flashmd_rs._engine import memory
from flashmd_rs._engine.recorder import Files, Recorder

from conftest import fixture_model, make_crystal

BATH = {"temperature_K": 60.0, "seed": 1, "progress": False}


@pytest.mark.parametrize("energies", [False, True])
@pytest.mark.parametrize("atoms", [1, 40, 500])
def test_the_estimate_is_what_frames_take(atoms, energies):
    structure = Atoms("O" * atoms, positions=np.ones((atoms, 3)), cell=[9, 9, 9], pbc=True, tags=[1] * atoms)
    structure.set_momenta(np.zeros((atoms, 3)))
    structure.set_array("residue", np.array(["HOH "] * atoms))
    recorder = Recorder(structure, Files(), [])
    tracemalloc.start()
    try:
        for step in range(100):
            frame = {"step": step, "time_fs": 1.0 * step, "conserved_energy": None, "cell": np.eye(3)}
            frame |= {name: np.random.default_rng(step).random((atoms, 3)) for name in ("positions", "momenta")}
            recorder(frame | {"potential_energy": 1.0 if energies else None})
        taken = tracemalloc.get_traced_memory()[0] / 100
    finally:
        tracemalloc.stop()
    assert 0.7 < recorder.frame_bytes(energies) / taken < 1.5


class TestSaidBeforehand:
    @pytest.fixture
    def small(self, monkeypatch):
        """Where 50 000 bytes are a lot."""
        monkeypatch.setattr(memory, "LARGE_BYTES", 50_000)

    def test_a_warning_before_the_first_stride(self, models, small):
        seen = []
        observers = [(lambda view: seen.append(view.step), 1)]
        options = {"steps": 40, "interval": 1, "observers": observers, **BATH}
        with pytest.warns(FlashMDWarning, match=r"GiB of memory.* give trajectory=FILE, .*interval than 1"):
            rollout(make_crystal(2), models("pair_stride"), **options)

    @pytest.mark.parametrize(
        "options",
        [{"interval": 4}, {"interval": 1, "trajectory": "run.traj"}, {"interval": 1, "trajectory": Output(None)}],
    )
    def test_what_it_advises_is_silent(self, models, small, options, tmp_path, monkeypatch, recwarn):
        monkeypatch.chdir(tmp_path)
        rollout(make_crystal(2), models("pair_stride"), steps=40, **options, **BATH)
        assert not [w for w in recwarn if issubclass(w.category, FlashMDWarning)]

    def test_replicas_multiply(self, models, small, recwarn):
        atoms = make_crystal(2)
        rollout(atoms, models("pair_stride"), steps=40, interval=4, **BATH)
        assert not [w for w in recwarn if issubclass(w.category, FlashMDWarning)]
        with pytest.warns(FlashMDWarning, match="GiB of memory"):
            rollout([atoms] * 4, models("pair_stride"), steps=40, interval=4, **BATH)

    def test_a_simulation_of_no_planned_length(self, models, small, recwarn):
        """Said when it comes to that, and again at twice as much, not with every stride."""
        with Simulation(make_crystal(2), models("pair_stride"), interval=1, temperature_K=60, seed=1) as simulation:
            for _ in range(200):
                simulation.step()
        assert 2 <= len([w for w in recwarn if "GiB of memory" in str(w.message)]) <= 6

    def test_what_cannot_be_is_refused(self, models, monkeypatch, tmp_path):
        monkeypatch.setattr(memory, "memory_limit", lambda: 2 * 2**30)
        options = {"steps": 10**9, "interval": 10, "checkpoint": tmp_path / "c", **BATH}
        with pytest.raises(InputError, match=r"about .* GiB of memory, of 2 GiB in all: give trajectory=FILE"):
            rollout(make_crystal(2), models("pair_stride"), **options)
        assert not list(tmp_path.iterdir())

    def test_what_the_process_may_have(self, monkeypatch, tmp_path):
        """A batch system's cgroups, of either version and nested, or the machine."""
        machine = memory.memory_limit()
        assert machine > 2**20
        assert 0 < memory.free_memory() < 2**50
        monkeypatch.setattr(memory, "Path", lambda *parts: tmp_path.joinpath(*(part.lstrip("/") for part in parts)))
        assert memory.free_memory() is None
        (tmp_path / "proc/self").mkdir(parents=True)
        for line, folder, name in (
            ("0::/slurm/job_1/step_0", "sys/fs/cgroup/slurm/job_1", "memory.max"),
            ("4:cpu,memory:/slurm/job_1/step_0", "sys/fs/cgroup/memory/slurm/job_1", "memory.limit_in_bytes"),
        ):
            (tmp_path / "proc/self/cgroup").write_text(f"9:pids:/x\n{line}\n")
            (tmp_path / folder / "step_0").mkdir(parents=True)
            (tmp_path / folder / name).write_text("1048576\n")
            (tmp_path / folder / "step_0" / name).write_text("max\n")
            assert memory.memory_limit() == 2**20


class TestOnlyTheLast:
    def test_everything_is_measured(self, models):
        whole = rollout(make_crystal(2), models("pair_stride"), steps=25, interval=10, **BATH)
        last = rollout(make_crystal(2), models("pair_stride"), steps=25, trajectory=Output(None, 10), **BATH)
        assert len(whole) == 4
        assert len(last) == 1
        np.testing.assert_array_equal(last[0].positions, whole[-1].positions)
        np.testing.assert_array_equal(last.times_ps, whole.times_ps)
        np.testing.assert_array_equal(last.temperature_K["total"], whole.temperature_K["total"])

    def test_in_the_hands_of_a_caller(self, models):
        """A last frame off the beat comes and goes; frames are given as they come."""
        options = {"steps": 9, "trajectory": Output(None, 4), "temperature_K": 60.0, "seed": 1}
        with Simulation(make_crystal(2), models("pair_stride"), **options) as simulation:
            simulation.step(6)
            assert [frame.info["step"] for frame in simulation.trajectory] == [6]
            simulation.step()
            assert [frame.info["step"] for frame in simulation.trajectory] == [7]
            assert list(simulation.trajectory.times_ps) == pytest.approx([0.0, 0.008, 0.014])
        with Simulation(make_crystal(2), models("pair_stride"), **options) as simulation:
            assert [frame.info["step"] for frame in simulation] == [0, 4, 8, 9]
            with pytest.raises(InputError, match="frame 0 was not kept"):
                next(iter(simulation))

    def test_a_file_stays_a_file(self, models, tmp_path):
        path = tmp_path / "run.extxyz"
        rollout(make_crystal(2), models("pair_stride"), steps=4, checkpoint=tmp_path / "c", trajectory=path, **BATH)
        run = resume(tmp_path / "c", steps=8, trajectory=Output(None), model=models("pair_stride"), progress=False)
        assert len(run) == 4
        assert path.read_text().count("Lattice") == 9


def test_the_command_keeps_no_frames(tmp_path):
    """The largest memory of a process with 500 frames, which would be 35 MB, and with three."""
    atoms = Atoms("OH" * 600, positions=np.random.default_rng(1).uniform(0, 2000, (1200, 3)))
    atoms.write(tmp_path / "start.extxyz")
    code = (
        "import resource, sys\nfrom flashmd_rs.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for interval in (250, 1):
        command = ["run", "start.extxyz", "--model", fixture_model("free_flight"), "--temperature-k", 60, "--seed", 1]
        command += ["--steps", 500, "--interval", interval, "--guard", "off"]
        command = [sys.executable, "-c", code, *map(str, command)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True)
        assert "not kept (give --trajectory FILE)" in done.stdout
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 12, peaks
