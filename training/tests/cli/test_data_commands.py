"""The commands `generate` and `check`: refused in one sentence, read by the trainer, an exit code for bad data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from flashmd_train.cli import app
from flashmd_train.data.segments import Segments

# 32 ions: thousands of steps a second.
IONS = ["silver-iodide", "--size", "2", "--spacing-fs", "4", "--length-fs", "16", "--equilibration-ps", "0.5"]
HOT = ["--temperature-k", "500", "--temperature-k", "650", "--decorrelation-fs", "120", "--workers", "1"]


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ions") / "thermal.h5"
    result = CliRunner().invoke(app, ["generate", IONS[0], str(path), *IONS[1:], *HOT, "--segments", "80"])
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
        (["gold"], "no system 'gold'; there are water"),
        (["water", "--temperature-k", "-5"], "temperatures_K must be positive, got (-5.0,)"),
        (["water", "--temperature-k", "nan"], "temperatures_K must be positive"),
        (["water", "--temperature-k", "300", "--temperature-k", "300"], "given twice"),
        (["water", "--size", "0"], "size must be positive, got 0"),
        (["water", "--segments", "0"], "segments must be positive, got 0"),
        (["water", "--seed", "-1"], "seed and decorrelation_fs must not be negative"),
        (["water", "--spacing-fs", "0.3"], "spacing_fs = 0.3 fs is not a multiple of 0.25 fs"),
        (["water", "--length-fs", "33"], "length_fs = 33.0 fs is not a multiple of 4.0 fs"),
        (["water", "--timestep-fs", "nan"], "timestep_fs must be positive, got nan"),
        (["silver-iodide", "--size", "2", "--workers", "-1"], "workers must be positive, got -1"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", arguments[0], str(tmp_path / "data.h5"), *arguments[1:]])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
