"""Systems that lack what Linux has: its parts are taken away in a process of its own, which then runs and writes."""

import pytest

from conftest import fixture_model

# What Python does not offer there.
MACOS = """
import fcntl, os
for module, names in ((os, ("posix_fallocate", "memfd_create", "sched_getaffinity", "pidfd_open")),
                      (fcntl, ("F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW"))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""
WINDOWS = (
    MACOS
    + """
import signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("pread", "pwrite", "O_DIRECTORY", "sysconf", "fork", "getuid", "statvfs"):
    delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGALRM", "SIGQUIT", "SIGKILL", "pthread_sigmask"):
    delattr(signal, name)
"""
)
RUN = f"""
import numpy as np
import flashmd_rs
from ase.build import bulk
from flashmd_rs.temperature import draw_momenta
atoms = bulk("Ar", "sc", a=2.5) * (2, 2, 2)
atoms.set_momenta(draw_momenta(atoms.get_masses(), 30, seed=1))
model = flashmd_rs.Model({str(fixture_model("pair_stride"))!r}, device="cpu", threads=1)
common = dict(temperature_K=30, interval=1, seed=1, progress=False)
whole = flashmd_rs.rollout(atoms, model, steps=8, **common)
for suffix in ("traj", "h5md", "extxyz", "xtc", "dcd"):
    file, checkpoint = f"run.{{suffix}}", flashmd_rs.Checkpoint(f"checkpoint-{{suffix}}", 2)
    first = flashmd_rs.rollout(
        atoms, model, steps=4, trajectory=file, logfile=f"log-{{suffix}}", checkpoint=checkpoint, **common)
    assert len(first) == 5
    run = flashmd_rs.resume(checkpoint.path, steps=8, progress=False)
    precision = {{"traj": 0, "h5md": 0, "extxyz": 1e-8, "xtc": 6e-3, "dcd": 1e-5}}[suffix]
    assert len(run) == 4
    for here, there in zip(run, whole.frames[5:], strict=True):
        np.testing.assert_allclose(here.positions, there.positions, rtol=0, atol=precision)
    print(suffix)
"""
LOCKED = f"""
import threading
import flashmd_rs
from ase import Atoms
free = {str(fixture_model("free_flight"))!r}
atoms = Atoms("H2", positions=[[0, 0, 0], [3, 0, 0]])
common = dict(temperature_K=30, seed=1, trajectory="run.extxyz")
first = flashmd_rs.Simulation(atoms, free, checkpoint="c", **common)
first.step(1)
for other in ({{}}, {{"trajectory": None, "checkpoint": "c"}}):
    try:
        flashmd_rs.Simulation(atoms, free, **common | other).step(1)
        print("not noticed")
    except (flashmd_rs.CheckpointError, flashmd_rs.InputError, OSError) as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("system", [MACOS, WINDOWS], ids=["macos", "windows"])
def test_every_format_is_written_and_gone_on_with(system, shell):
    """Locked, written in segments, joined by a checkpoint's run and by the one that goes on, and read back."""
    result = shell("-c", system + RUN, module=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["traj", "h5md", "extxyz", "xtc", "dcd"]


def test_a_second_run_is_refused_by_other_locks(shell):
    """``flock`` where there is no lock of an open file description."""
    result = shell("-c", MACOS + LOCKED, module=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["BlockingIOError", "CheckpointError"]


@pytest.mark.parametrize("system", [MACOS, WINDOWS], ids=["macos", "windows"])
@pytest.mark.parametrize("command", [["doctor"], ["run", "--help"], ["resume", "--help"]])
def test_the_command_opens(system, command, shell):
    code = f"{system}\nimport sys\nsys.argv = {['flashmd-rs', *command]!r}\nfrom flashmd_rs.cli import app\napp()"
    result = shell("-c", code, module=False)
    assert result.returncode == 0, result.stderr
