"""Published files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from alloys import CUTOFF_A, EVERY, alloy_training
from typer.testing import CliRunner

from flashmd_train.cli import app
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.learning.direct import train_direct
from flashmd_train.model_files.contract import DIRECT_INPUTS
from flashmd_train.model_files.exports import probes
from flashmd_train.model_files.parity import run_onnx
from flashmd_train.studies.ranking import ranking


def test_publishing_writes_the_contracts_metadata(alloy_file: Path, alloy_energy: Path, tmp_path: Path) -> None:
    train_direct(alloy_training(alloy_file, noise=True), tmp_path / "direct")
    metadata = publish(tmp_path / "direct", tmp_path / "d.onnx", [alloy_file], alloy_energy, {"runs": 1})
    model = onnx.load(tmp_path / "d.onnx")
    entries = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert entries == {"flashmd": metadata}
    assert metadata["kind"] == "direct"
    assert metadata["stride_fs"] == 16.0
    assert metadata["reference"] == "effective-medium theory, velocity Verlet"
    assert metadata["energy_model"]["name"] == "e"
    assert metadata["validation"]["onnx_parity"] < 1e-4  # of the uncertainty, a small difference of near equal features
    assert metadata["validation"]["runs"] == 1
    assert metadata["validation"]["calibration"] == "none: momenta are as trained"
    assert metadata["provenance"]["versions"].keys() >= {"torch", "onnx", "ase"}
    assert len(metadata["domain"]["largest_uncertainty"]) == 2
    assert metadata["domain"]["density_g_per_cm3"][0] == pytest.approx(14.9, abs=0.1)
    assert [i.name for i in model.graph.input] == list(DIRECT_INPUTS[:6])
    assert [o.name for o in model.graph.output] == ["displacement", "momenta_out", "residual_scale", "uncertainty"]
    table = ranking(tmp_path / "d.onnx", [alloy_file], 2)
    assert f"| {alloy_file.stem} | all |" in table
    assert "| all | all |" in table
    graph = StridePairs(Dataset([alloy_file]), EVERY, 16.0, CUTOFF_A).unaugmented(0).graph
    assert [x.shape for x in run_onnx(model, graph, DIRECT_INPUTS)] == [(32, 3), (32, 3), (32, 3), (32, 2)]


def test_the_command_names_the_potential_and_says_how_it_calibrated(alloy_file: Path, tmp_path: Path) -> None:
    train_direct(alloy_training(alloy_file), tmp_path / "run")
    arguments = ["export", str(tmp_path / "run"), str(tmp_path / "d.onnx"), "--data", str(alloy_file)]
    # Two steps make no model.
    (tmp_path / "system.yaml").write_text(
        "calculator: ase.calculators.emt:EMT\ngenerate: {segments: 6, temperature_k: [500, 700]}\n"
    )
    balanced = CliRunner().invoke(app, [*arguments, "--config", str(tmp_path / "system.yaml")])
    assert balanced.exit_code == 0, balanced.output
    assert "calibration: one-stride gain: " in balanced.output
    assert "train the model further" in balanced.output
    wrong = CliRunner().invoke(app, [*arguments, "--calculator", "ase.calculators.lj:LennardJones"])
    assert wrong.exit_code == 2
    assert "wanted the potential of the data" in wrong.output


@pytest.mark.parametrize("kinds", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("cutoff", [2.0, 3.0, 6.0])
def test_probes_hold_every_species_and_edges(kinds: int, cutoff: float) -> None:
    masses = tuple(np.linspace(1.0, 200.0, kinds).tolist())
    graphs = probes("free", cutoff, masses)
    for graph in graphs:
        assert set(graph.species.tolist()) == set(range(kinds))
        assert graph.mask.any()
    assert len({graph.mask.shape for graph in graphs}) > 1
