"""`generate --trajectory` and `check` on the command line: what is printed, and the exit codes."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from typer.testing import CliRunner, Result

from flashmd_train.cli import app

EMT_FLAGS = ("--calculator", "ase.calculators.emt:EMT")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.8 ps of hot aluminium by ASE's velocity Verlet, without energies."""
    atoms = bulk("Al", cubic=True).repeat(2)
    atoms.calc = EMT()
    thermalize_momenta(atoms, 900.0, rng=np.random.default_rng(1))
    Stationary(atoms)
    frames: list[Atoms] = []

    def keep() -> None:
        frames.append(atoms.copy())
        frames[-1].info["time_fs"] = 8.0 * len(frames)

    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(keep, interval=4)
    dynamics.run(400)
    path = tmp_path_factory.mktemp("trajectory") / "al.extxyz"
    # What came first has the potential energy of a perfect crystal.
    write(path, frames[10:])
    return path


def test_a_trajectory_is_labelled_and_checked(trajectory: Path, tmp_path: Path) -> None:
    config = tmp_path / "system.yaml"
    config.write_text("calculator: ase.calculators.emt:EMT\ngenerate:\n  spacing_fs: 4\n  temperature_k: [300, 600]\n")
    made = run("generate", tmp_path / "al.h5", "--trajectory", trajectory, "--config", config)
    assert made.exit_code == 0, made.output
    assert "al.extxyz: 91 frames every 8 fs at" in made.output
    with h5py.File(tmp_path / "al.h5") as file:
        assert file["forces"].shape == (11, 9, 32, 3)
    checked = run("check", tmp_path / "al.h5", *EMT_FLAGS, "--plot", tmp_path / "al.png")
    assert json.loads(checked.stdout.splitlines()[0])["noise_share_of_kinetic"] < 0.05
    assert (tmp_path / "al.png").read_bytes().startswith(b"\x89PNG")
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_a_refusal_exits_with_one(trajectory: Path, tmp_path: Path) -> None:
    assert run("generate", tmp_path / "al.h5", "--trajectory", trajectory).exit_code == 0
    with h5py.File(tmp_path / "al.h5", "r+") as file:
        assert "forces" not in file
        file["momenta"][:] = np.abs(file["momenta"][:])
    refused = run("check", tmp_path / "al.h5", "--plot", tmp_path / "al.png")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("refusal: Al at")


def test_nothing_to_simulate_is_said(tmp_path: Path) -> None:
    nothing = run("generate", tmp_path / "al.h5")
    assert nothing.exit_code == 2
    assert nothing.stderr.startswith("error: got nothing to simulate: give --structure")
