"""Learning curves, from scratch and from other weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from alloys import CUTOFF_A, SPECIES
from small_models import OPTIONS
from typer.testing import CliRunner

from flashmd_train.cli import app
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.config import Data, DirectTraining, Optimizer
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.metrics import stride_errors
from flashmd_train.learning.start import begin_from
from flashmd_train.models.build import build
from flashmd_train.models.config import DirectConfig
from flashmd_train.studies.learning_curve import errors_on

TINY = OPTIONS["pet"]


def settings(file: Path, species: tuple[str, ...] = SPECIES, **more: object) -> DirectTraining:
    model = DirectConfig(species=species, cutoff_A=CUTOFF_A, stride_fs=16.0, backbone="pet", prior="none", options=TINY)
    return DirectTraining(
        model=model, data=Data(files=(file,)), optimizer=Optimizer(steps=2, warmup=0), every=1, **more
    )


def test_a_table_of_every_way_and_number(alloy_file: Path, tmp_path: Path) -> None:
    train_direct(settings(alloy_file), tmp_path / "start")
    given = settings(alloy_file, start=tmp_path / "start" / "checkpoint.pt")
    (tmp_path / "c.yaml").write_text(given.model_dump_json())
    command = ["learning-curve", str(tmp_path / "c.yaml"), str(alloy_file), str(tmp_path / "runs")]
    command += ["--segments", "1", "--segments", "3", "--tune", "heads", "--tune", "all", "--seeds", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.output.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| segments", "| from scratch", "| heads", "| all"]
    assert all(" ± " in cell for row in rows[1:] for cell in row[1:])
    again = CliRunner().invoke(app, command)
    assert again.output.splitlines()[-5:] == result.output.splitlines()[-5:]
    assert "loss" not in again.output


def test_so_many_segments_are_trained_on(alloy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one segment all steps draw from the same."""
    given = settings(alloy_file)
    drawn = []
    draw = StridePairs.draw
    monkeypatch.setattr(StridePairs, "draw", lambda self, *a: drawn.append(self.index.tolist()) or draw(self, *a))
    train_direct(given, tmp_path / "all")
    train_direct(given.model_copy(update=dict(data=given.data.model_copy(update=dict(segments=1)))), tmp_path / "one")
    assert [len(index) for index in drawn] == [4, 4, 1, 1]
    assert drawn[2][0] in drawn[0]


def test_errors_do_not_depend_on_the_order_of_species(alloy_file: Path, tmp_path: Path) -> None:
    model = train_direct(settings(alloy_file), tmp_path / "run")
    index = np.array([(0, s) for s in range(6)])
    wanted = stride_errors(model.eval(), StridePairs(Dataset([alloy_file]), index, 16.0, CUTOFF_A))
    other = build(model.config.model_copy(update={"species": tuple(reversed(SPECIES))}))
    begin_from(tmp_path / "run" / "checkpoint.pt", other)
    found = errors_on(other, alloy_file)
    assert found["momentum_error"] == pytest.approx(wanted["momentum_error"], rel=1e-5)
    assert found["momentum_error_Au"] == pytest.approx(wanted["momentum_error_Au"], rel=1e-5)
    with pytest.raises(ValueError, match="holds Au, which the model does not know"):
        errors_on(build(model.config.model_copy(update={"species": ("Cu",)})), alloy_file)


def test_a_curve_wants_a_start(alloy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(settings(alloy_file).model_dump_json())
    result = CliRunner().invoke(app, ["learning-curve", str(tmp_path / "c.yaml"), str(alloy_file), str(tmp_path)])
    assert result.exit_code == 2
    assert "the settings name no start" in result.output


def test_other_ways_and_other_settings_are_refused(alloy_file: Path, tmp_path: Path) -> None:
    train_direct(settings(alloy_file), tmp_path / "start")
    given = settings(alloy_file, start=tmp_path / "start" / "checkpoint.pt")
    (tmp_path / "c.yaml").write_text(given.model_dump_json())
    command = ["learning-curve", str(tmp_path / "c.yaml"), str(alloy_file), str(tmp_path / "runs"), "--segments", "1"]
    wrong = CliRunner().invoke(app, [*command, "--tune", "head"])
    assert wrong.exit_code == 2
    assert "tune: Input should be 'all', 'heads' or 'adapters', got 'head'" in wrong.output
    assert CliRunner().invoke(app, [*command, "--seeds", "1"]).exit_code == 0
    other = CliRunner().invoke(app, [*command, "--seeds", "1", "--set", "optimizer.steps=3"])
    assert other.exit_code == 2
    assert "holds a training with other settings; name another folder" in other.output
