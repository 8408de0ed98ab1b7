"""What the tests share: fixture models, small systems, a real shell of the command."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

import flashmd_rs
from flashmd_rs.temperature import draw_momenta

TESTS = Path(__file__).parent
FIXTURES = TESTS / "fixtures"
BAD = TESTS / "bad"


def fixture_model(name):
    """Path of a fixture model."""
    return FIXTURES / f"{name}.onnx"


@pytest.fixture(autouse=True)
def signal_handlers():
    """Handlers of Ctrl-C and SIGTERM are those of before: i-PI puts its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def models():
    """Opened fixture models by name, each opened once, on one thread."""
    opened = {}

    def get(name):
        if name not in opened:
            opened[name] = flashmd_rs.Model(fixture_model(name), device="cpu", threads=1)
        return opened[name]

    return get


@pytest.fixture
def gas():
    """40 atoms of H and O, 60 K, far apart, without a cell."""
    rng = np.random.default_rng(5)
    atoms = Atoms(["H", "O"] * 20, positions=rng.uniform(0, 200, (40, 3)))
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 60.0, seed=1))
    return atoms


@pytest.fixture
def crystal():
    """64 Ar atoms on a simple cubic lattice near the rest length of the pair models, 50 K, rattled."""
    return make_crystal()


def make_crystal(size=4, temperature_K=50.0, seed=3):
    atoms = bulk("Ar", "sc", a=2.5) * (size, size, size)
    atoms.rattle(0.02, seed=seed)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), temperature_K, seed=seed))
    return atoms


@pytest.fixture
def shell(tmp_path):
    """Run ``python -m flashmd_rs …`` (or any ``python`` arguments) in an empty folder; returns the finished process."""

    def run(*arguments, module=True, env=None, timeout=120):
        command = [sys.executable, *(["-m", "flashmd_rs"] if module else []), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200", **(env or {})}
        environment = {key: value for key, value in environment.items() if value is not None}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def h5md_tables(path):
    """Every number in an H5MD file, by name."""
    import h5py

    tables = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: tables.update({name: item[()]} if hasattr(item, "shape") else {}))
    return sorted(tables.items())


def one_clear_error(stderr):
    """True if standard error is one line that opens with ``error:`` and shows nothing from inside."""
    lines = stderr.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in stderr


@contextmanager
def file_size_limit(size):
    """Nobody in this process can make a file larger than that: an answer like a full disk's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
