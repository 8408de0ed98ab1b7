"""Active learning end to end at its smallest, on any system."""

from __future__ import annotations

from pathlib import Path

import pytest
from alloys import EMT, alloy, alloy_data, alloy_training

from flashmd_rs.reference.system import System
from flashmd_train.data.segments import Segments
from flashmd_train.studies.active import Loop, active


@pytest.mark.timeout(900)
def test_active_learning(tmp_path: Path) -> None:
    data = alloy_data(tmp_path / "alloy.h5")
    loop = Loop(
        alloy_training(data, steps=10),
        system=System((alloy(),), EMT),
        rounds=1,
        frames=4,
        runs=1,
        time_ps=0.3,
        temperature_K=600.0,
        extra_steps=10,
        equilibration_ps=0.5,
    )
    folder = tmp_path / "active"
    text = active(loop, folder).read_text()
    assert "4 frames of Au16Cu16 added" in text
    assert text.count("\n| ") == 3  # the head and two rounds
    for arm in ("flagged", "random"):
        labels = Segments.load(folder / arm / "round1" / "labels.h5")
        assert 1 <= len(labels.positions) <= 4
        assert labels.spacing_fs == 8.0
        assert (folder / arm / "round1" / "model.onnx").exists()
