"""The evaluation end to end at its smallest: every part runs, says numbers, and a rerun repeats nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units

from flashmd_rs.evaluation.evaluate import evaluate, measure_bath
from flashmd_rs.evaluation.integrators import parse_integrator
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import load_results


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


def test_every_part_of_an_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    protocol = EvaluationProtocol("water", 64, 300.0, nve_ps=0.05, nvt_ps=0.05, seeds=2, equilibration_ps=1.0)
    integrators = ["verlet:0.5", "respa:2", "water", "water:none", "water-nve:metropolis"]
    page = evaluate(integrators, protocol, folder, workers=2)
    text = page.read_text()
    # Energy, equipartition, motion and bath, momenta in both, and each of two starts; water is there twice.
    assert text.count("| water |") == 2 * (6 + 2)
    assert text.count("| Verlet 0.5 fs |") == text.count("| r-RESPA 2 fs |") == 6 + 2
    assert text.count("| water-nve, metropolis |") == 2  # In the bath only.
    assert len(re.findall(r"\d % \|", text)) == 1
    # T, of H, of O, and O less H, of two starts each.
    total, hydrogen, oxygen, apart = map(
        float, re.findall(r"\| water-nve, metropolis " + 4 * r"\| (\S+) ± \S+ ", text)[0]
    )
    assert apart == pytest.approx(oxygen - hydrogen, abs=0.16)
    assert total == pytest.approx((2 * hydrogen + oxygen) / 3, abs=0.16)
    per_ps = [
        load_results(folder, parse_integrator(text).key, protocol)["nve"][0]["evaluations_per_ps"]
        for text in integrators[:3]
    ]
    assert per_ps == pytest.approx([2000, 500, 62.5])
    before = stamps(folder)
    assert evaluate(integrators, protocol, folder, workers=1).read_text() == text
    assert stamps(folder) == before
    alone = evaluate(integrators, replace(protocol, nve_ps=0.0), folder, workers=1).read_text()
    assert alone.count("| water |") == 2 * 2
    assert "--nve-ps 0" in alone
    assert "## NVE" not in alone
    # What a start holds beyond the mean of the bath, and the mean, are what it holds.
    protocol = replace(protocol, bath_ps=1.0)
    measure_bath(protocol, folder)
    (potential,) = map(np.load, (folder / "starts").glob("*bath*"))
    run, _ = load_results(folder, parse_integrator("verlet:0.5").key, protocol)["nve"]
    degrees, thermal = 3 * 192, units.kB * 300.0
    held = potential.mean() + (degrees - 3) * thermal / 2 + degrees * units.kB * run["energy_excess_K"]
    assert len(potential) == 10
    assert np.isclose(held, run["trace"]["energy_eV"][0])
    assert 0 < run["energy_excess_error_K"] < 30
    with pytest.raises(ValueError, match="verlet:FS"):
        evaluate(["verlet:fast"], protocol, folder, workers=1)
