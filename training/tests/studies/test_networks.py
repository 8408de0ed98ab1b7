"""Networks side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
from alloys import EMT, alloy
from typer.testing import CliRunner

from flashmd_rs.reference.system import System
from flashmd_train.cli import app
from flashmd_train.studies.networks import NETWORKS, Comparison
from flashmd_train.workflow import trainings


@pytest.fixture
def compared(alloy_file: Path) -> Comparison:
    return Comparison(
        system=System((alloy(),), EMT),
        files=[alloy_file],
        prior="free",
        stride_fs=16.0,
        temperature_K=600.0,
        minutes=0.01,
        nvt_ps=0.8,
        reference_ps=0.2,
        energies=5,
    )


def test_a_row_for_each_network_and_the_reference(
    compared: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "TRIAL_STEPS", 2)
    monkeypatch.setattr(trainings, "TRIAL_FORCE_STEPS", 2)
    lines = compared.run(tmp_path, ["moments", "flashmd-tiny"])
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[0] for row in rows] == ["moments", "flashmd-tiny", "the reference"]
    assert all(int(row[1]) >= 1 and float(row[5]) > 0 and row[3].endswith(" %") for row in rows[:-1])
    assert all(row[7].endswith("of 0.8") for row in rows[:-1])
    assert rows[-1][7] == "0.2 of 0.2"


def test_every_network_can_be_built(compared: Comparison) -> None:
    for network in NETWORKS.values():
        kind, settings = network(compared)
        training, _ = trainings.KINDS[kind]
        training.model_validate({"model": settings})


def test_unknown_networks_are_named(compared: Comparison, tmp_path: Path, alloy_file: Path) -> None:
    with pytest.raises(ValueError, match="got networks schnet, wanted some of moments, lookahead"):
        compared.run(tmp_path, ["schnet", "lookahead"])
    result = CliRunner().invoke(app, ["networks", str(tmp_path), "--data", str(alloy_file)])
    assert result.exit_code == 2
    assert "stride-fs" in result.output
