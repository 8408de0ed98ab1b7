"""Published files."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from small_models import CUTOFF, EVERY, direct_training

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.contract import DIRECT_INPUTS
from flashmd_train.export.parity import run_onnx
from flashmd_train.export.publish import publish
from flashmd_train.fit.direct import train_direct
from flashmd_train.studies.ranking import ranking


def test_publishing_writes_the_contracts_metadata(
    data_file: Path, data: Dataset, energy_run: Path, tmp_path: Path
) -> None:
    publish(energy_run, tmp_path / "e.onnx", [data_file], None, {})
    train_direct(direct_training(data_file, steps=2, model=dict(noise=True)), tmp_path / "direct")
    publish(tmp_path / "direct", tmp_path / "d.onnx", [data_file], tmp_path / "e.onnx", {"runs": 1})
    model = onnx.load(tmp_path / "d.onnx")
    entries = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert set(entries) == {"flashmd"}
    metadata = entries["flashmd"]
    assert metadata["kind"] == "direct"
    assert metadata["stride_fs"] == 2.0
    assert metadata["energy_model"]["name"] == "e"
    assert metadata["validation"]["onnx_parity"] < 1e-4  # of the uncertainty, a small difference of near equal features
    assert metadata["validation"]["runs"] == 1
    assert len(metadata["domain"]["largest_uncertainty"]) == 2
    assert 0.9 < metadata["domain"]["density_g_per_cm3"][0] < 1.1
    assert [i.name for i in model.graph.input] == list(DIRECT_INPUTS[:6])
    assert [o.name for o in model.graph.output] == ["displacement", "momenta_out", "residual_scale", "uncertainty"]
    (bond,) = metadata["domain"]["bonds"]
    assert dict(zip(bond["species"], bond["counts"])) == {"O": 2, "H": 1}
    assert 1.1 < bond["longest_A"] < 1.4
    table = ranking(tmp_path / "d.onnx", [data_file], 2)
    assert f"| {data_file.stem} | all |" in table
    assert "| all | all |" in table
    graph = StridePairs(data, EVERY, 2.0, CUTOFF).unaugmented(0).graph
    assert [x.shape for x in run_onnx(model, graph, DIRECT_INPUTS)] == [(192, 3), (192, 3), (192, 3), (192, 2)]
