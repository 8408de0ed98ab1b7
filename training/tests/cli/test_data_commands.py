"""The commands `generate` and `check`: refused in one sentence, read by the trainer, an exit code for bad data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import read
from typer.testing import CliRunner

from flashmd_train.cli import app
from flashmd_train.data.segments import Segments

SYSTEMS = Path(__file__).parents[3] / "examples" / "systems"
WATER = ["--config", str(SYSTEMS / "water" / "system.yaml")]
# 32 ions: thousands of steps a second.
IONS = ["--config", str(SYSTEMS / "silver-iodide" / "system.yaml")]
IONS += ["--structure-args", "cells=2", "--openmm-args", "cells=2"]
SHORT = ["--spacing-fs", "4", "--length-fs", "16", "--equilibration-ps", "0.5"]
HOT = ["--temperature-k", "500", "--temperature-k", "650", "--decorrelation-fs", "120", "--workers", "1"]


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ions") / "thermal.h5"
    result = CliRunner().invoke(app, ["generate", str(path), *IONS, *SHORT, *HOT, "--segments", "80"])
    assert result.exit_code == 0, result.output
    return path


def test_a_generated_file_is_read_by_the_trainer(thermal: Path) -> None:
    segments = Segments.load(thermal)
    assert segments.positions.shape == (80, 5, 32, 3)
    assert segments.spacing_fs == 4.0
    assert list(np.unique(segments.temperature_K)) == [500.0, 650.0]


def test_check_passes_a_good_file_and_refuses_momenta_that_are_too_large(thermal: Path, tmp_path: Path) -> None:
    image = tmp_path / "plot.png"
    result = CliRunner().invoke(app, ["check", str(thermal), "--plot", str(image)])
    assert result.exit_code == 0, result.output
    assert image.read_bytes().startswith(b"\x89PNG")
    with h5py.File(thermal, "r+") as file:
        file["momenta"][:] = 1.25 * file["momenta"][:]
    result = CliRunner().invoke(app, ["check", str(thermal)])
    assert result.exit_code == 1
    assert "are not Maxwell-Boltzmann" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "got nothing to simulate: give --structure with --calculator"),
        (["--structure", "a.xyz"], "got no potential; wanted one of calculator, openmm and forcefield"),
        (["--config", "none.yaml"], "none.yaml"),
        ([*WATER, "--temperature-k", "-5"], "temperatures_K must be positive, got (-5.0,)"),
        ([*WATER, "--temperature-k", "nan"], "temperatures_K must be positive"),
        ([*WATER, "--temperature-k", "300", "--temperature-k", "300"], "given twice"),
        ([*WATER, "--structure-args", "molecules=0"], "a start structure has 0 atoms"),
        ([*WATER, "--structure-args", "size=64"], "water.py:structure(size=64) fails: TypeError"),
        ([*WATER, "--structure-args", "molecules=64"], "the OpenMM system has 774 particles, the structure 192 atoms"),
        ([*WATER, "--segments", "0"], "segments must be positive, got 0"),
        ([*WATER, "--seed", "-1"], "seed must not be negative, got -1"),
        ([*WATER, "--spacing-fs", "0.3"], "spacing_fs = 0.3 fs is not a multiple of 0.25 fs"),
        ([*WATER, "--length-fs", "33"], "length_fs = 33.0 fs is not a multiple of 4.0 fs"),
        ([*WATER, "--timestep-fs", "nan"], "timestep_fs must be positive, got nan"),
        ([*IONS, "--workers", "-1"], "workers must be positive, got -1"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "data.h5"), *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_structure_takes_what_it_knows_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ions.extxyz"
    result = CliRunner().invoke(app, ["structure", str(path), *IONS, "--temperature-k", "600", "--time-ps", "0.2"])
    assert result.exit_code == 0, result.output
    atoms = read(path)
    assert len(atoms) == 32
    assert 200 < atoms.get_temperature() < 1200
