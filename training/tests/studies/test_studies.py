"""The studies end to end at their smallest: every part runs, says numbers, and a rerun repeats nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashmd_train.fit.config import Data, DirectTraining, Optimizer
from flashmd_train.models.config import DirectConfig
from flashmd_train.studies import active, water_nve


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


@pytest.mark.timeout(900)
def test_the_water_study(tmp_path: Path) -> None:
    report = water_nve.study(tmp_path, "ci", workers=2)
    text = report.read_text()
    assert "| plain | 1 |" in text
    assert "| mass-scaled | 1 |" in text
    assert "| OpenMM, 0.5 fs |" in text
    assert text.count("| Langevin") == 2
    assert "augmented, 8 frames averaged" in text
    for picture in ("ablation.png", "momenta.png", "rotations.png"):
        assert (tmp_path / picture).stat().st_size > 10_000
    before = stamps(tmp_path)
    assert water_nve.study(tmp_path, "ci", workers=1).read_text() == text
    assert stamps(tmp_path) == before
    with pytest.raises(ValueError, match="another scale"):
        water_nve.study(tmp_path, "default", workers=1)


@pytest.mark.timeout(900)
def test_active_learning(data_file: Path, tmp_path: Path) -> None:
    shape = DirectConfig(
        stride_fs=2.0,
        cutoff_A=4.0,
        backbone="painn",
        prior="free",
        legendre_orders=2,
        options=dict(features=8, radial=6),
    )
    settings = DirectTraining(
        model=shape, data=Data(files=(data_file,)), optimizer=Optimizer(steps=20, warmup=5), every=20
    )
    loop = active.Loop(
        settings,
        waters=64,
        rounds=1,
        frames=4,
        runs=1,
        time_ps=0.05,
        temperature_K=300.0,
        extra_steps=10,
        equilibration_ps=1.0,
    )
    text = active.active(loop, tmp_path / "active").read_text()
    assert text.count("\n| ") == 3  # the head and two rounds
    assert (tmp_path / "active" / "flagged" / "round1" / "model.onnx").exists()
