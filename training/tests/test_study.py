"""The studies end to end at their smallest: every part runs, says numbers, and a rerun repeats nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units

pytest.importorskip("flashmd_rs")

from flashmd_train.config import Data, DirectConfig, DirectTraining, Optimizer
from flashmd_train.studies import active, evaluate, water_nve
from flashmd_train.studies.movers import mover


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
def test_active_learning_and_evaluation(data_file: Path, tmp_path: Path) -> None:
    shape = DirectConfig(
        stride_fs=2.0, cutoff_A=4.0, backbone="painn", prior="free", modes=2, options=dict(features=8, radial=6)
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
    model = tmp_path / "active" / "flagged" / "round1" / "model.onnx"
    folder = tmp_path / "evaluation"
    course = evaluate.Course("water", 64, 300.0, nve_ps=0.05, nvt_ps=0.05, seeds=2, equilibration_ps=1.0)
    movers = ["verlet:0.5", "respa:2", str(model), f"{model}:none", "water-nve:metropolis"]
    page = evaluate.evaluate(movers, course, folder, workers=2)
    text = page.read_text()
    # Energy, equipartition, motion and bath, momenta in both, and each of two starts; the model is there twice.
    assert text.count("| model |") == 2 * (6 + 2)
    assert text.count("| Verlet 0.5 fs |") == text.count("| r-RESPA 2 fs |") == 6 + 2
    assert text.count("| water-nve, metropolis |") == 2  # In the bath only.
    assert len(re.findall(r"\d % \|", text)) == 1
    # T, of H, of O, and O less H, of two starts each.
    total, hydrogen, oxygen, apart = map(
        float, re.findall(r"\| water-nve, metropolis " + 4 * r"\| (\S+) ± \S+ ", text)[0]
    )
    assert apart == pytest.approx(oxygen - hydrogen, abs=0.16)
    assert total == pytest.approx((2 * hydrogen + oxygen) / 3, abs=0.16)
    per_ps = {
        text: evaluate._results(folder, mover(text).key, course)["nve"][0]["evaluations_per_ps"] for text in movers[:3]
    }
    assert per_ps == pytest.approx(dict(zip(movers, (2000, 500, 500))))
    before = stamps(folder)
    assert evaluate.evaluate(movers, course, folder, workers=1).read_text() == text
    assert stamps(folder) == before
    alone = evaluate.evaluate(movers, replace(course, nve_ps=0.0), folder, workers=1).read_text()
    assert alone.count("| model |") == 2 * 2
    assert "--nve-ps 0" in alone
    assert "## NVE" not in alone
    # What a start holds beyond the mean of the bath, and the mean, are what it holds.
    course = replace(course, bath_ps=1.0)
    evaluate._bath(course, folder)
    (potential,) = map(np.load, (folder / "starts").glob("*bath*"))
    run, _ = evaluate._results(folder, mover("verlet:0.5").key, course)["nve"]
    degrees, thermal = 3 * 192, units.kB * 300.0
    held = potential.mean() + (degrees - 3) * thermal / 2 + degrees * units.kB * run["energy_excess_K"]
    assert len(potential) == 10
    assert np.isclose(held, run["trace"]["energy_eV"][0])
    assert 0 < run["energy_excess_error_K"] < 30
    with pytest.raises(ValueError, match="verlet:FS"):
        evaluate.evaluate(["verlet:fast"], course, folder, workers=1)
