"""Replicas on executors: each has the bits of its run alone, whatever becomes of the workers."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import ase.io
import numpy as np
import pytest

from flashmd_rs import InputError, Langevin, Simulation, ensemble, rollout

from conftest import TESTS, fixture_model, make_crystal

SUFFIXES = {"trajectory": "extxyz", "checkpoint": "ckpt"}
GIVEN = {"temperature_K": 60.0, "thermostat": Langevin(50), "seed": 7}


def alone(replica, steps, atoms=None):
    atoms = make_crystal(2) if atoms is None else atoms
    return rollout([atoms], fixture_model("pair_stride"), replica=replica, steps=steps, progress=False, **GIVEN)[0]


def same(some, others):
    return all(np.array_equal(a, b) for a, b in zip((some.positions, some.get_momenta()), others, strict=True))


def ends(trajectory):
    return trajectory.frames[-1].positions, trajectory.frames[-1].get_momenta()


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor(2)], ids=["processes", "threads"])
def test_each_replica_is_its_run_alone(pool):
    runs = ensemble(make_crystal(2), fixture_model("pair_stride"), n=3, executor=pool, steps=12, **GIVEN)
    assert len(runs) == 3
    for k, run in enumerate(runs):
        assert same(run.frames[-1], ends(alone(k, 12)))
        assert run.report["replica"] == k
    assert not same(runs[0].frames[-1], ends(runs[1]))


def test_structures_of_their_own(tmp_path):
    structures = [make_crystal(2, seed=s) for s in (1, 2)]
    files = {name: str(tmp_path / f"run-{{replica}}.{suffix}") for name, suffix in SUFFIXES.items()}
    runs = ensemble(structures, fixture_model("pair_stride"), executor=ThreadPoolExecutor(1), steps=8, **GIVEN, **files)
    for k, run in enumerate(runs):
        assert same(run.frames[-1], ends(alone(k, 8, structures[k])))
        assert len(ase.io.read(tmp_path / f"run-{k}.extxyz", ":")) == len(run.frames)
    # Again, further: each goes on from its checkpoint.
    runs = ensemble(
        structures, fixture_model("pair_stride"), executor=ThreadPoolExecutor(1), steps=20, **GIVEN, **files
    )
    for k, run in enumerate(runs):
        assert same(run.frames[-1], ends(alone(k, 20, structures[k])))


@pytest.mark.filterwarnings("ignore::flashmd_rs.FlashMDWarning")
def test_a_replica_that_fails_says_so_and_leaves_the_others(gas):
    hot = gas.copy()
    hot.set_momenta(100.0 * gas.get_momenta())
    given = {"executor": ThreadPoolExecutor(1), "steps": 5, "guard": "off", "rescale_energy": False}
    cold, hot = ensemble([gas, hot], fixture_model("explodes"), **given, **GIVEN)
    assert cold.failure is None
    assert hot.failure is not None


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_on_a_cluster_changes_no_bit(tmp_path):
    """A real Dask cluster gives its replicas to another worker, where they go on from their checkpoints."""
    distributed = pytest.importorskip("distributed")
    steps, count = 6000, 4
    files = {
        "trajectory": str(tmp_path / "run-{replica}.traj"),
        "checkpoint": str(tmp_path / "run-{replica}.ckpt"),
        "interval": 1000,
    }
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as waiting,
    ):
        model = fixture_model("pair_stride")
        running = waiting.submit(
            ensemble, make_crystal(2), model, n=count, executor=client.get_executor(), steps=steps, **GIVEN, **files
        )
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.02)
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        runs = running.result(timeout=120)
    for k, run in enumerate(runs):
        assert same(run.frames[-1], ends(alone(k, steps)))
        assert len(ase.io.read(tmp_path / f"run-{k}.traj", ":")) == steps // 1000 + 1


PROGRAM = """
import sys
from flashmd_rs import ensemble
sys.path.insert(0, {tests!r})
from conftest import fixture_model, make_crystal

if __name__ == "__main__":
    ensemble(make_crystal(2), fixture_model("pair_stride"), n=2, steps=10**9, seed=7, temperature_K=60.0,
             checkpoint={folder!r} + "/run-{{replica}}.ckpt")
"""


def alive_in_session(session):
    """Whether a process of the session lives; who has ended and is not waited for does not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                return True
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.timeout(120)
def test_an_interrupt_of_the_caller_alone_ends_its_workers(tmp_path):
    """As of a notebook, which a terminal's workers would not survive anyway; runs save their checkpoints."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(tests=str(TESTS), folder=str(tmp_path)))
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, text=True, start_new_session=True)
    checkpoints = [tmp_path / f"run-{k}.ckpt" for k in range(2)]
    while not any(path.exists() for path in checkpoints):  # one after the other where there is one processor
        assert parent.poll() is None, parent.stderr.read()
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(30) != 0
    assert "KeyboardInterrupt" in parent.stderr.read()
    while alive_in_session(parent.pid):
        time.sleep(0.05)
    for path in filter(Path.exists, checkpoints):
        assert Simulation.load(path, steps=10**9).nsteps > 0


def test_what_cannot_be_shared_is_refused(tmp_path):
    def refuse(said, *atoms, **given):
        with pytest.raises(InputError, match=said):
            ensemble(*(atoms or (make_crystal(2),)), fixture_model("pair_stride"), **({"seed": 1, "steps": 2} | given))

    refuse("got one structure and no number of replicas: give n")
    refuse("got n=3 and 1 structures", [make_crystal(2)], n=3)
    refuse("got no seed", n=2, seed=None)
    refuse("got replica, which is what is counted", n=2, replica=4)
    refuse(r"got checkpoint='run.ckpt' for 2 replicas: wanted '\{replica\}' in the name", n=2, checkpoint="run.ckpt")
