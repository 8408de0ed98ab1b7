"""Restart: to the last bit as if the run had not stopped, after any end and for every ensemble."""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from flashmd_rs import (
    Bussi,
    CellRescaling,
    Checkpoint,
    CheckpointError,
    FlashMDWarning,
    InputError,
    Langevin,
    Model,
    MonteCarloBarostat,
    StabilityError,
    resume,
    rollout,
)
from flashmd_rs._engine.checkpoint import locked, read_checkpoint

from conftest import fixture_model, h5md_tables, make_crystal, one_clear_error

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50)}
SOFT = {"interval": 3, "compressibility_per_bar": 1e-5}
PRESSURE = {**BATH, "pressure_bar": 2000.0, "barostat": CellRescaling(**SOFT)}
ENSEMBLES = {
    "nve": {"rescale_energy": False, "energy_model": fixture_model("pair_energy")},
    "rescaled": {},
    "per species": {"rescale_energy": "species"},
    "per molecule": {"rescale_energy": "molecule"},
    "langevin": BATH,
    "bussi": {**BATH, "thermostat": Bussi(50)},
    "rescaled under a bath": {**BATH, "rescale_energy": True},
    "rotated": {**BATH, "random_rotation": True},
    "cell rescaling": PRESSURE,
    "anisotropic": {**PRESSURE, "barostat": CellRescaling(coupling="anisotropic", **SOFT)},
    "monte carlo": {**PRESSURE, "barostat": MonteCarloBarostat(**SOFT)},
    "all at once": {**PRESSURE, "rescale_energy": "molecule", "random_rotation": True},
}


def start(replica=0):
    atoms = make_crystal(3, seed=3 + replica)
    atoms.set_tags(range(len(atoms)))
    return atoms


def assert_same_frames(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.info["step"] == other.info["step"]
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.get_momenta(), other.get_momenta())
        np.testing.assert_array_equal(one.cell.array, other.cell.array)
        np.testing.assert_array_equal(one.get_tags(), other.get_tags())


class TestSameBits:
    @pytest.mark.parametrize("replicas", [1, 3])
    @pytest.mark.parametrize("ensemble", ENSEMBLES)
    def test_n_and_m_strides_are_n_plus_m(self, models, tmp_path, ensemble, replicas):
        """Stopped twice, once where neither a frame nor a checkpoint was due, against one run of 60 strides."""
        options = {"seed": 11, "interval": 7, **ENSEMBLES[ensemble]}
        atoms = [start(r) for r in range(replicas)] if replicas > 1 else start()
        mark = "{replica}" if replicas > 1 else ""
        files = {
            "trajectory": tmp_path / f"run{mark}.traj",
            "checkpoint": Checkpoint(tmp_path / "run.ckpt", interval=5),
        }
        whole = rollout(atoms, models("pair_stride"), steps=60, trajectory=tmp_path / f"whole{mark}.traj", **options)
        rollout(atoms, models("pair_stride"), steps=23, **files, **options)
        rollout(atoms, models("pair_stride"), steps=38, resume=True, **files, **options)
        rest = rollout(atoms, models("pair_stride"), steps=60, resume=True, **files, **options)
        several = replicas > 1
        for run, part, r in zip(*([whole, rest] if several else [[whole], [rest]]), range(replicas), strict=True):
            end = str(r) if several else ""
            assert_same_frames(
                ase.io.read(tmp_path / f"run{end}.traj", ":"), ase.io.read(tmp_path / f"whole{end}.traj", ":")
            )
            assert part.frames[0].info["step"] == 42
            assert_same_frames(list(part.frames), list(run.frames)[-len(part) :])
            for name in ("heat_eV", "work_eV", "rescaling", "barostat"):
                assert part.report["statistics"][name] == run.report["statistics"][name], name
            if run.conserved_energy is not None:
                np.testing.assert_array_equal(part.conserved_energy, run.conserved_energy[-len(part) :])

    def test_noise_of_the_model(self, models, gas, tmp_path):
        options = {"temperature_K": 60.0, "seed": 2, "progress": False}
        whole = rollout(gas, models("noisy"), steps=20, **options)
        rollout(gas, models("noisy"), steps=9, checkpoint=tmp_path / "c", **options)
        rest = rollout(gas, models("noisy"), steps=20, checkpoint=tmp_path / "c", resume=True, **options)
        assert_same_frames([rest.frames[-1]], [whole.frames[-1]])

    def test_resume_needs_nothing_else(self, tmp_path):
        """The file knows the call; a moved folder is found again; the end can be moved."""
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(fixture_model("pair_stride"), folder / "model.onnx")
        shutil.copy(fixture_model("pair_energy"), folder / "energy.onnx")
        model, energy = Model(folder / "model.onnx"), Model(folder / "energy.onnx")
        files = {"trajectory": folder / "run.extxyz", "logfile": folder / "run.log", "checkpoint": folder / "run.ckpt"}
        options = {"seed": 5, "interval": 4, "energy_model": energy, **PRESSURE, "barostat": MonteCarloBarostat(**SOFT)}
        rollout(start(), model, steps=10, **files, **options)
        whole = rollout(
            start(), model, steps=30, trajectory=tmp_path / "w.extxyz", logfile=tmp_path / "w.log", **options
        )
        folder.rename(tmp_path / "moved")
        moved = tmp_path / "moved"
        rest = resume(moved / "run.ckpt", steps=30)
        assert (moved / "run.extxyz").read_bytes() == (tmp_path / "w.extxyz").read_bytes()
        assert (moved / "run.log").read_bytes() == (tmp_path / "w.log").read_bytes()
        assert_same_frames([rest.frames[-1]], [whole.frames[-1]])
        assert rest.report["steps"] == 20
        done = resume(moved / "run.ckpt")
        assert done.report["steps"] == 0

    def test_constraints_come_back(self, tmp_path):
        from ase.constraints import FixAtoms

        atoms = start()
        atoms.set_constraint(FixAtoms([0, 5]))
        options = {**BATH, "seed": 5}
        whole = rollout(atoms, fixture_model("pair_stride"), steps=20, **options)
        rollout(atoms, fixture_model("pair_stride"), steps=10, checkpoint=tmp_path / "c", **options)
        rest = resume(tmp_path / "c", steps=20)
        assert_same_frames([rest.frames[-1]], [whole.frames[-1]])
        np.testing.assert_array_equal(rest.frames[-1].positions[[0, 5]], atoms.positions[[0, 5]])

    def test_another_seed_from_here_on(self, models, tmp_path):
        options = {**BATH, "seed": 5, "checkpoint": tmp_path / "c"}
        rollout(start(), models("pair_stride"), steps=10, **options)
        shutil.copy(tmp_path / "c", tmp_path / "d")
        same, other = resume(tmp_path / "c", steps=20), resume(tmp_path / "d", steps=20, seed=6)
        assert other.seed == 6
        assert not np.array_equal(same.frames[-1].positions, other.frames[-1].positions)

    def test_an_energy_of_a_program_must_be_given_again(self, models, tmp_path):
        from ase.calculators.lj import LennardJones

        def energy():
            return LennardJones(sigma=2.0, epsilon=0.01, rc=4.0)

        options = {**BATH, "seed": 5, "checkpoint": tmp_path / "c"}
        whole = rollout(start(), models("pair_stride"), steps=12, energy_model=energy(), **BATH, seed=5)
        rollout(start(), models("pair_stride"), steps=5, energy_model=energy(), **options)
        with pytest.raises(InputError, match="takes its energies from LennardJones"):
            resume(tmp_path / "c", steps=12)
        rest = resume(tmp_path / "c", steps=12, energy_model=energy())
        assert rest.potential_energy[-1] == whole.potential_energy[-1]

    def test_a_failed_replica_stays_failed(self, models, gas, tmp_path):
        """The one that dies leaves the others alone, also over a restart."""
        hot = gas.copy()
        hot.set_momenta(200.0 * gas.get_momenta())
        options = {"seed": 1, "temperature_K": [60.0, 60.0], "checkpoint": Checkpoint(tmp_path / "c", interval=2)}
        with pytest.warns(FlashMDWarning, match="replica 1 ended early"):
            first = rollout([gas, hot], models("explodes"), steps=4, **options)
        assert first[0].failure is None
        with pytest.warns(FlashMDWarning, match="replica 1 ended early"):
            rest = rollout([gas, hot], models("explodes"), steps=6, **options, resume=True)
        assert str(rest[1].failure).split(";")[0] == str(first[1].failure).split(";")[0]
        assert rest[1].failure.step == first[1].failure.step
        assert rest[0].frames[-1].info["step"] == 6


def contents(path):
    if path.suffix == ".traj":
        return [(f.positions, f.get_momenta(), f.cell.array, f.info["step"]) for f in ase.io.read(path, ":")]
    if path.suffix == ".h5md":
        return h5md_tables(path)
    return path.read_bytes()


def a_run(folder, suffix, steps=40, **more):
    """What a job script does: go on if there is something to go on from."""
    os.chdir(folder)
    options = {"seed": 7, "interval": 2, "resume": "auto", "progress": False, **BATH, **more}
    files = {"trajectory": f"run{suffix}", "logfile": "run.log", "checkpoint": Checkpoint("run.ckpt", interval=3)}
    rollout(start(), Model(fixture_model("pair_stride"), threads=1), steps=steps, **files, **options)


def forkserver():
    """Children without an ONNX Runtime session in their past, and without the time an import takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_checkpoint", "MDAnalysis.lib.formats.libmdaxdr", "h5py", "ase.io.extxyz"])
    return context


def run_in_child(*arguments, kill_after=None, **more):
    child = forkserver().Process(target=a_run, args=arguments, kwargs=more)
    child.start()
    child.join(kill_after)
    if child.is_alive():
        child.kill()
        child.join()
    return child.exitcode


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])
@pytest.mark.parametrize("suffix", [".extxyz", ".xtc", ".h5md", ".traj"])
def test_kill_9_at_any_instant(tmp_path, suffix, kills):
    """SIGKILL, up to three times in one run: trajectory and log are those of the undisturbed one."""
    reference = tmp_path / "reference"
    reference.mkdir()
    begun = time.perf_counter()
    assert run_in_child(reference, suffix) == 0
    duration, instants, killed = time.perf_counter() - begun, random.Random(suffix), 0
    while killed < kills:
        folder = tmp_path / "run"
        folder.mkdir()
        for attempt in range(instants.randint(1, 3)):
            begun = time.perf_counter()
            code = run_in_child(folder, suffix, kill_after=instants.uniform(0.1, 1.0) * duration)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            if code == 0 and attempt == 0:
                duration = min(duration, time.perf_counter() - begun)
        assert run_in_child(folder, suffix) == 0
        np.testing.assert_equal(contents(folder / f"run{suffix}"), contents(reference / f"run{suffix}"))
        assert (folder / "run.log").read_bytes() == (reference / "run.log").read_bytes()
        left = {path.name for path in folder.iterdir()} - {path.name for path in reference.iterdir()}
        assert left <= {"run.ckpt.new"}
        shutil.rmtree(folder)


def wait_for(condition, seconds=30):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end
        time.sleep(0.01)


class TestStopped:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_signals_save(self, shell, tmp_path, number, code):
        """A signal between two checkpoints: what was done since the last one is in the file all the same."""
        start().write(tmp_path / "start.extxyz")
        command = ("run", "start.extxyz", "--model", fixture_model("pair_stride"), "--temperature-k", 60, "--seed", 4)
        whole = ("--steps", 100_000_000, "--interval", 50, "--checkpoint", "run.ckpt", "--checkpoint-interval", 10**8)
        files = ("--trajectory", "run.extxyz", "--logfile", "run.log")
        arguments = [sys.executable, "-m", "flashmd_rs", *map(str, (*command, *whole, *files))]
        process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: (tmp_path / "run.log").exists() and len((tmp_path / "run.log").read_bytes()) > 3000)
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert "flashmd-rs resume run.ckpt" in process.stderr.read()
        saved = read_checkpoint(tmp_path / "run.ckpt")
        assert saved.step >= 50 * (len(ase.io.read(tmp_path / "run.extxyz", ":")) - 1) > 0
        steps = saved.step + 70
        assert shell("resume", "run.ckpt", "--steps", steps).returncode == 0
        files = ("--trajectory", "whole.extxyz", "--logfile", "whole.log")
        assert shell(*command, "--steps", steps, "--interval", 50, *files).returncode == 0
        assert (tmp_path / "run.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
        assert (tmp_path / "run.log").read_bytes() == (tmp_path / "whole.log").read_bytes()

    def test_a_handler_of_the_program_is_left_alone(self, models, tmp_path):
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            handler = signal.getsignal(signal.SIGTERM)
            rollout(start(), models("pair_stride"), steps=3, checkpoint=tmp_path / "c", **BATH)
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, before)
        rollout(start(), models("pair_stride"), steps=3, checkpoint=tmp_path / "d", **BATH)
        assert signal.getsignal(signal.SIGTERM) is before

    def test_command(self, shell, tmp_path):
        start().write(tmp_path / "start.extxyz")
        result = shell(
            *("run", "start.extxyz", "--model", fixture_model("pair_stride"), "--steps", 30, "--temperature-k", 60),
            *("--pressure-bar", 2000, "--barostat", "monte_carlo", "--checkpoint", "run.ckpt", "--seed", 1),
            *("--checkpoint-interval", 10, "--trajectory", "run.extxyz", "--thermostat", "bussi"),
        )
        assert result.returncode == 0, result.stderr
        again = shell("resume", "run.ckpt", "--time-ps", 0.1)
        assert again.returncode == 0, again.stderr
        assert "strides" in again.stdout
        assert "20" in again.stdout
        assert len(ase.io.read(tmp_path / "run.extxyz", ":")) == 51
        assert one_clear_error(shell("resume", "nothing.ckpt").stderr)
        assert one_clear_error(shell("resume", "start.extxyz").stderr)
        assert one_clear_error(shell("resume", "run.ckpt", "--steps", 3).stderr)


def limited_run(folder, limit):
    """A run on a disk that takes files up to a size."""
    os.chdir(folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    options = {"seed": 7, "interval": 1000, "progress": False, "resume": "auto", **BATH}
    checkpoint = Checkpoint("run.ckpt", interval=3)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        rollout(start(), fixture_model("pair_stride"), steps=40, checkpoint=checkpoint, **options)
    except OSError as error:
        os._exit(28 if error.filename and "cannot write the checkpoint" in str(error) else 1)


def forbidden_run(folder):
    """A user who loses the right to write in the middle of the run."""
    os.chdir(folder)
    options = {"seed": 7, "interval": 1, "progress": False, **BATH}

    from ase.calculators.lj import LennardJones

    class Energy(LennardJones):
        calls = 0

        def get_potential_energy(self, *_, **__):
            self.calls += 1
            if self.calls == 8:
                Path(folder).chmod(0o555)
                os.seteuid(65534)
            return 0.0

    energy = Energy()
    try:
        rollout(
            start(),
            fixture_model("pair_stride"),
            steps=40,
            checkpoint=Checkpoint("run.ckpt", interval=3),
            energy_model=energy,
            **options,
        )
    except PermissionError as error:
        os._exit(13 if "cannot write the checkpoint: Permission denied" in str(error) else 1)


class TestNothingIsLost:
    def test_disk_full_midway(self, tmp_path):
        """A limit on the size of files answers like a full disk; the checkpoint before is whole."""
        folder = tmp_path / "full"
        folder.mkdir()
        a_run(folder, ".extxyz", steps=6)
        before = read_checkpoint(folder / "run.ckpt")
        half = (folder / "run.ckpt").stat().st_size // 2
        child = forkserver().Process(target=limited_run, args=(folder, half))
        child.start()
        child.join()
        assert child.exitcode == 28
        after = read_checkpoint(folder / "run.ckpt")
        assert after.step == before.step == 6
        assert after.passed_over is None
        assert not (folder / "run.ckpt.new").exists()

    def test_permission_lost_midway(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("run")
        if os.geteuid() != 0:
            pytest.skip("gives up root's rights, which this user does not have")
        child = forkserver().Process(target=forbidden_run, args=(folder,))
        child.start()
        child.join()
        folder.chmod(0o755)
        assert child.exitcode == 13
        assert read_checkpoint(folder / "run.ckpt").step == 6

    def test_the_one_before_steps_in(self, models, tmp_path):
        path = tmp_path / "c"
        options = {**BATH, "seed": 5, "checkpoint": Checkpoint(path, interval=4)}
        whole = rollout(start(), models("pair_stride"), steps=20, **BATH, seed=5)
        rollout(start(), models("pair_stride"), steps=10, **options)
        good, before = path.read_bytes(), (tmp_path / "c.previous").read_bytes()
        for damaged in (good[:-1], good[:100], b"", good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.warns(FlashMDWarning, match="going on from the one before it"):
                rest = rollout(start(), models("pair_stride"), steps=20, resume=True, **options)
            assert rest.report["steps"] == 12
            assert_same_frames([rest.frames[-1]], [whole.frames[-1]])
            if damaged is not None:
                assert (tmp_path / "c.damaged").read_bytes() == damaged
            path.write_bytes(good)
            (tmp_path / "c.previous").write_bytes(before)

    def test_any_damage_is_seen(self, models, tmp_path):
        """Every single byte of the file changed, one by one: never another run, never anything but CheckpointError."""
        path = tmp_path / "c"
        rollout(make_crystal(1).repeat((2, 1, 1)), models("pair_stride"), steps=2, seed=1, checkpoint=path, **BATH)
        (tmp_path / "c.previous").unlink()
        good = path.read_bytes()
        whole = read_checkpoint(path)
        rng = np.random.default_rng(1)
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ int(rng.integers(1, 256))]) + good[at + 1 :])
            try:
                found = read_checkpoint(path)
            except CheckpointError:
                continue
            # A byte of padding between header and tensors may be any white space.
            assert replace(found, structures=[]) == replace(whole, structures=[])
            np.testing.assert_array_equal(found.structures[0].positions, whole.structures[0].positions)
        for length in range(0, len(good), 7):
            path.write_bytes(good[:length])
            with pytest.raises(CheckpointError, match="not a whole checkpoint"):
                read_checkpoint(path)

    def test_a_checkpoint_is_not_replaced_by_another_run(self, models, tmp_path):
        path = tmp_path / "c"
        rollout(start(), models("pair_stride"), steps=2, checkpoint=path, **BATH)
        kept = path.read_bytes()
        with pytest.raises(InputError, match="there is a checkpoint already"):
            rollout(start(), models("pair_stride"), steps=2, checkpoint=path, **BATH)
        assert path.read_bytes() == kept

    def test_a_refused_resume_cuts_nothing(self, models, tmp_path):
        files = {"checkpoint": tmp_path / "c", "trajectory": tmp_path / "run.extxyz", "logfile": tmp_path / "log"}
        checkpoint = Checkpoint(tmp_path / "c", interval=10, allow_other_model=True)
        rollout(start(), models("pair_stride"), steps=23, interval=5, **{**files, "checkpoint": checkpoint}, **BATH)
        kept = [path.read_bytes() for path in files.values()]
        with pytest.raises(CheckpointError):
            rollout(start()[:-1], models("pair_stride"), steps=40, resume=True, **files, **BATH)
        with pytest.raises(InputError, match="stride_fs"):
            other = fixture_model("free_flight")
            rollout(start(), other, steps=40, resume=True, **{**files, "checkpoint": checkpoint}, **BATH)
        assert [path.read_bytes() for path in files.values()] == kept

    def test_a_file_by_another_name_is_the_same_file(self, models, tmp_path):
        real, link = tmp_path / "real", tmp_path / "link"
        real.mkdir()
        link.symlink_to(real)
        options = {"seed": 5, "interval": 2, **BATH}
        whole = tmp_path / "whole.extxyz"
        rollout(start(), models("pair_stride"), steps=14, trajectory=whole, **options)
        files = {"trajectory": link / "r.extxyz", "checkpoint": link / "c"}
        rollout(start(), models("pair_stride"), steps=10, **files, **options)
        files = {"trajectory": real / "r.extxyz", "checkpoint": real / "c"}
        rollout(start(), models("pair_stride"), steps=14, resume=True, **files, **options)
        assert (real / "r.extxyz").read_bytes() == whole.read_bytes()

    def test_a_lone_previous_is_not_replaced(self, models, tmp_path):
        """What a crash between two renames leaves."""
        rollout(start(), models("pair_stride"), steps=10, checkpoint=tmp_path / "c", **BATH)
        (tmp_path / "c").unlink()
        with pytest.raises(InputError, match="there is a checkpoint already"):
            rollout(start(), models("pair_stride"), steps=2, checkpoint=tmp_path / "c", **BATH)

    def test_two_runs_do_not_share_a_checkpoint(self, models, tmp_path):
        with locked(tmp_path / "c"), pytest.raises(CheckpointError, match="another run is at work"):
            rollout(start(), models("pair_stride"), steps=2, checkpoint=tmp_path / "c", resume="auto", **BATH)
        rollout(start(), models("pair_stride"), steps=2, checkpoint=tmp_path / "c", resume="auto", **BATH)
        assert {path.name for path in tmp_path.iterdir()} == {"c", "c.previous"}

    def test_checking_paths_leaves_no_trace(self, models, tmp_path):
        """Nor does it take a link away that points nowhere yet."""
        (tmp_path / "scratch").mkdir()
        link = tmp_path / "run.extxyz"
        link.symlink_to(tmp_path / "scratch" / "run.extxyz")
        with pytest.raises(InputError):
            rollout(start(), models("pair_stride"), steps=0, trajectory=link, checkpoint=tmp_path / "c", **BATH)
        assert link.is_symlink()
        assert {path.name for path in tmp_path.iterdir()} == {"scratch", "run.extxyz"}
        rollout(start(), models("pair_stride"), steps=1, trajectory=link, **BATH)
        assert len(ase.io.read(tmp_path / "scratch" / "run.extxyz", ":")) == 2


class TestWhatMayChange:
    def test_rescaling_from_here_on(self, models, tmp_path):
        """The heat given until then is not owed again: the conserved energy stays where it is."""
        options = {"energy_model": models("pair_energy"), "seed": 1, **BATH, "checkpoint": tmp_path / "c"}
        first = rollout(start(), models("pair_stride"), steps=60, rescale_energy=False, **options)
        rest = rollout(start(), models("pair_stride"), steps=90, rescale_energy=True, resume=True, **options)
        assert abs(first.report["statistics"]["heat_eV"]) > 0.05
        assert rest.conserved_energy[-1] == pytest.approx(first.conserved_energy[-1], abs=1e-8)

    def test_a_barostat_that_rests_for_a_while(self, models, tmp_path):
        """NpT, NVT, NpT: the molecules of the start are still known."""
        options = {"seed": 1, "checkpoint": tmp_path / "c", "energy_model": models("pair_energy")}
        rollout(start(), models("pair_stride"), steps=10, **PRESSURE, **options)
        rollout(start(), models("pair_stride"), steps=20, resume=True, **BATH, **options)
        rest = rollout(start(), models("pair_stride"), steps=30, resume=True, **PRESSURE, **options)
        assert rest.report["statistics"]["barostat"]["tried"] == 3 + 3 + 1

    def test_a_cluster_keeps_its_first_temperature(self, models, gas, tmp_path):
        """Without a cell, too, the guard compares with the start of the whole run."""
        options = {"rescale_energy": False, "seed": 1, "steps": 12}
        with pytest.warns(FlashMDWarning, match="frozen"):
            whole = rollout(gas, models("freezes"), **options)
        rollout(gas, models("freezes"), **{**options, "steps": 4}, checkpoint=tmp_path / "c")
        with pytest.warns(FlashMDWarning, match="frozen"):
            rest = rollout(gas, models("freezes"), checkpoint=tmp_path / "c", resume=True, **options)
        assert rest.report["statistics"]["guard"] == whole.report["statistics"]["guard"]

    def test_a_replica_that_broke_can_be_read(self, models, tmp_path):
        """Its state is the last good one, so the checkpoint of the others stays whole."""
        from ase.calculators.lj import LennardJones

        class Broken(LennardJones):
            def get_forces(self, atoms=None, *arguments, **more):
                forces = super().get_forces(atoms, *arguments, **more)
                return forces * np.nan if len(atoms) == 8 and np.ptp(atoms.positions - self.first) > 0 else forces

        small = make_crystal(2)
        small.set_momenta(4.0 * small.get_momenta())
        energy = Broken(sigma=2.0, epsilon=0.01, rc=4.0)
        energy.first = small.positions.copy()
        options = {"guard": "fallback", "temperature_K": 50.0, "seed": 1, "energy_model": energy}
        with pytest.warns(FlashMDWarning, match="replica 1 ended early"):
            rollout([start(), small], models("watched"), steps=6, checkpoint=tmp_path / "c", **options)
        saved = read_checkpoint(tmp_path / "c")
        assert saved.step == 6
        assert np.isfinite(saved.structures[1].positions).all()

    def test_another_energy_model_is_refused(self, models, tmp_path):
        shutil.copy(fixture_model("pair_energy"), tmp_path / "energy.onnx")
        options = {"seed": 1, "checkpoint": tmp_path / "c", "energy_model": tmp_path / "energy.onnx", **BATH}
        rollout(start(), models("pair_stride"), steps=4, **options)
        data = (tmp_path / "energy.onnx").read_bytes()
        (tmp_path / "energy.onnx").write_bytes(
            data.replace(b"an analytic model for tests", b"an analytic model for TESTS")
        )
        with pytest.raises(CheckpointError, match="made with the energy model of SHA-256"):
            resume(tmp_path / "c", steps=8)
        assert resume(tmp_path / "c", steps=8, allow_other_model=True).report["steps"] == 4

    def test_ctrl_c_in_an_energy_saves(self, models, tmp_path):
        """It is held until the stride is whole."""
        from ase.calculators.lj import LennardJones

        class Interrupted(LennardJones):
            calls = 0

            def get_potential_energy(self, *_, **__):
                self.calls += 1
                if self.calls == 7:
                    os.kill(os.getpid(), signal.SIGINT)
                return 0.0

        options = {"energy_model": Interrupted(), "interval": 1, "seed": 1, **BATH}
        checkpoint = Checkpoint(tmp_path / "c", interval=1000)
        with pytest.raises(KeyboardInterrupt):
            rollout(start(), models("pair_stride"), steps=50, checkpoint=checkpoint, **options)
        assert read_checkpoint(tmp_path / "c").step == 6


class TestRefused:
    @pytest.fixture
    def saved(self, models, tmp_path):
        path = tmp_path / "c"
        rollout(start(), models("pair_stride"), steps=4, checkpoint=path, seed=1, **BATH)
        return path

    def test_another_model(self, models, saved):
        options = {"resume": True, "steps": 8, **BATH}
        with pytest.raises(CheckpointError, match="allow_other_model"):
            rollout(start(), models("pair_alone"), checkpoint=saved, **options)
        with pytest.raises(CheckpointError, match="made with the model of SHA-256"):
            resume(saved, model=fixture_model("pair_alone"), steps=8)
        checkpoint = Checkpoint(saved, allow_other_model=True)
        run = rollout(start(), models("pair_alone"), checkpoint=checkpoint, **options)
        assert run.report["steps"] == 4

    @pytest.mark.parametrize(
        "change",
        [
            lambda atoms: atoms[:-1],
            lambda atoms: [atoms, atoms],
            lambda atoms: atoms.set_pbc([True, True, False]) or atoms,
            lambda atoms: atoms.set_masses(np.full(len(atoms), 39.95)) or atoms,
        ],
    )
    def test_other_atoms(self, models, saved, change):
        with pytest.raises(CheckpointError, match="give the structure"):
            rollout(change(start()), models("pair_stride"), checkpoint=saved, resume=True, steps=8, **BATH)

    def test_a_barostat_where_no_molecules_were_found(self, models, saved):
        with pytest.raises(InputError, match="did not look for molecules"):
            rollout(start(), models("pair_stride"), checkpoint=saved, resume=True, steps=8, **PRESSURE)

    def test_arguments(self, models, saved, tmp_path):
        with pytest.raises(InputError, match="beyond the 3 strides"):
            resume(saved, steps=3)
        with pytest.raises(InputError, match="resume needs the checkpoint"):
            rollout(start(), models("pair_stride"), resume=True, steps=8)
        with pytest.raises(InputError, match="wanted True, False or 'auto'"):
            rollout(start(), models("pair_stride"), checkpoint=saved, resume="maybe", steps=8)
        with pytest.raises(InputError, match="interval=0"):
            Checkpoint(tmp_path / "n", interval=0)
        with pytest.raises(InputError, match="same file"):
            rollout(start(), models("pair_stride"), checkpoint=tmp_path / "n", logfile=tmp_path / "n", steps=8, **BATH)
        with pytest.raises(FileNotFoundError):
            rollout(start(), models("pair_stride"), checkpoint=tmp_path / "none", resume=True, steps=8, **BATH)
        with pytest.raises(OSError, match="cannot write the checkpoint"):
            rollout(start(), models("pair_stride"), checkpoint=tmp_path / "no" / "c", steps=8, **BATH)

    @pytest.mark.parametrize("schema", [2, 9])
    def test_another_schema(self, saved, schema):
        """A file of an earlier or later version says so, and is not taken for a damaged one."""
        data = saved.read_bytes()
        assert b'\\"schema\\":4' in data
        saved.write_bytes(data.replace(b'\\"schema\\":4', b'\\"schema\\":%d' % schema, 1))
        (saved.parent / "c.previous").unlink()
        with pytest.raises(CheckpointError, match=f"schema {schema}, this version reads schema 4"):
            resume(saved)

    def test_the_trajectory_is_gone(self, models, tmp_path):
        files = {"checkpoint": tmp_path / "c", "trajectory": tmp_path / "run.extxyz"}
        rollout(start(), models("pair_stride"), steps=4, **files, **BATH)
        (tmp_path / "run.extxyz").unlink()
        with pytest.raises(FileNotFoundError, match="cannot go on with the trajectory"):
            resume(tmp_path / "c", steps=8)


def test_the_file_is_safetensors(models, tmp_path):
    """Read without a library: a length, a JSON header, little-endian tensors."""
    path = tmp_path / "c"
    run = rollout(start(), models("pair_stride"), steps=4, checkpoint=path, seed=1, **BATH)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    first, last = head["0.positions"]["data_offsets"]
    positions = np.frombuffer(data[8 + size + first : 8 + size + last], "<f8").reshape(-1, 3)
    np.testing.assert_array_equal(positions, run.frames[-1].positions)
    header = json.loads(head["__metadata__"]["flashmd"])
    assert header["schema"] == 4
    assert header["step"] == 4
    assert header["model_sha256"] == models("pair_stride").sha256


def test_an_unstable_run_goes_on_from_before(models, gas, tmp_path):
    """A failure is never what is saved last: another seed may take the run past it."""
    path = tmp_path / "c"
    with pytest.raises(StabilityError) as caught:
        checkpoint = Checkpoint(path, interval=1)
        rollout(gas, models("explodes"), steps=1000, temperature_K=300, seed=1, checkpoint=checkpoint)
    assert read_checkpoint(path).step == caught.value.step - 1


class Wanderer(Calculator):
    """An energy whose program changes the working directory, as some do."""

    implemented_properties = ("energy",)

    def __init__(self, elsewhere):
        super().__init__()
        self.elsewhere = elsewhere

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        os.chdir(self.elsewhere)
        self.results = {"energy": 0.0}


def test_files_stay_where_the_run_was_started(models, tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    files = {"trajectory": "run.xtc", "logfile": "run.log", "checkpoint": "run.ckpt"}
    energy = Wanderer(elsewhere)
    rollout(start(), models("pair_stride"), steps=6, rescale_energy=False, energy_model=energy, interval=2, **files)
    assert Path.cwd() == elsewhere
    assert list(elsewhere.iterdir()) == []
    assert {"run.xtc", "run.log", "run.ckpt"} <= {file.name for file in here.iterdir()}


def test_an_opened_model_is_continued_as_it_was_opened(tmp_path):
    model = Model(fixture_model("pair_stride"), device="cpu", threads=1)
    rollout(start(), model, steps=2, rescale_energy=False, checkpoint=tmp_path / "c")
    recorded = read_checkpoint(tmp_path / "c").model
    assert (recorded["device"], recorded["threads"]) == ("cpu", 1)
    assert resume(tmp_path / "c", steps=4).report["threads"] == 1
