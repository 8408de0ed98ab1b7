"""The evaluation end to end at its smallest: every part runs, says numbers, and a rerun repeats nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_systems
from ase import units

from flashmd_rs.evaluation.claims import Floors
from flashmd_rs.evaluation.evaluate import evaluate
from flashmd_rs.evaluation.integrators.by_name import parse_integrator
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import energy_excess, load_results
from flashmd_rs.evaluation.runs import measure_mean_energy, start

FIXTURES = Path(__file__).parents[1] / "fixtures"
MODEL, ENERGY = str(FIXTURES / "verlet.onnx"), f"verlet:2@{FIXTURES / 'pair_energy.onnx'}"


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*-*.json"))}


def test_every_part_of_an_evaluation(tmp_path: Path) -> None:
    """The model, the energy model and the reference are one velocity Verlet, so their figures must be the same."""
    protocol = EvaluationProtocol(
        system=small_systems.crystal(),
        name="argon",
        temperature_K=200.0,
        nve_ps=0.2,
        nvt_ps=0.4,
        npt_ps=0.2,
        seeds=2,
        equilibration_ps=0.5,
        frames=100,
        dihedrals=((0, 1, 4, 13), (1, 4, 13, 2)),
    )
    texts = ["verlet:2", ENERGY, MODEL, f"{MODEL}:metropolis"]
    page = evaluate(texts, protocol, tmp_path, workers=2, floors=Floors(100.0, 0.5, 0.5, 1.0))
    text, summary = page.read_text(), json.loads((tmp_path / "evaluation.json").read_text())
    for part in (
        "## Claims",
        "## Cost",
        "## NVE, 0.2 ps",
        "200 K, 0.4 ps",
        "1 bar, 0.2 ps",
        "## Momenta",
        "start by start",
        "Jensen–Shannon divergence of 0,1,4,13 and 1,4,13,2, bits",
    ):
        assert part in text
    for ensemble in ("nve", "nvt", "npt"):
        assert (tmp_path / f"pairs-{ensemble}.png").exists()
        assert (tmp_path / f"dihedrals-{ensemble}.png").exists()
        assert (tmp_path / f"maps-{ensemble}.png").exists()
    found = {t: load_results(tmp_path, parse_integrator(t), protocol) for t in texts}
    reference, by_energy, model = (found[t]["nve"][0] for t in texts[:3])
    assert by_energy["trace"] == reference["trace"]
    assert by_energy["pairs"] == reference["pairs"]
    assert np.allclose(model["trace"]["T"], reference["trace"]["T"], rtol=1e-4)
    assert np.allclose(model["pairs"]["Ar–Ar"]["blocks"], reference["pairs"]["Ar–Ar"]["blocks"], atol=0.2)
    assert reference["evaluations_per_ps"] == 500
    assert model["evaluations_per_ps"] == pytest.approx(500, abs=5)
    assert not found[texts[3]]["nve"]
    assert found[texts[3]]["nvt"][0]["accepted"] > 0.9
    assert summary["reference"] == "verlet:2"
    mean, error, bath = summary["integrators"][MODEL]["nvt"]["temperature_K"]["total"]
    assert 100 < mean < 400
    # 0.4 ps in a bath of 1 ps cannot tell its error; two starts can.
    own = [run["temperature_estimate_K"]["total"] for run in found[MODEL]["nvt"]]
    assert [single for _, single, _ in own] == [None, None]
    assert error == pytest.approx(abs(own[0][0] - own[1][0]) / 2)
    assert bath == 200.0
    assert summary["integrators"][MODEL]["nve"]["ns_per_day"] > 0
    assert summary["integrators"]["verlet:2"]["npt"]["density_g_per_cm3"][0] > 0
    stable = [claim for claim in summary["claims"] if claim["quantity"].startswith("stable")]
    assert len(stable) == 3 * 3 + 2
    assert {claim["verdict"] for claim in stable} == {"met"}

    before = stamps(tmp_path)
    assert evaluate(texts, protocol, tmp_path, workers=1, floors=Floors(100.0, 0.5, 0.5, 1.0)).read_text() == text
    assert stamps(tmp_path) == before
    alone = evaluate(["verlet:2"], replace(protocol, nve_ps=0.0, npt_ps=0.0), tmp_path, workers=1).read_text()
    assert "## NVE" not in alone
    assert "## Claims" not in alone


def test_what_calls_the_reference_may_run_for_less(tmp_path: Path) -> None:
    protocol = EvaluationProtocol(
        system=small_systems.crystal(2),
        temperature_K=200.0,
        nve_ps=0.4,
        reference_ps=0.2,
        equilibration_ps=0.5,
        frames=100,
    )
    evaluate(["verlet:2", ENERGY], protocol, tmp_path, workers=1)
    summary = json.loads((tmp_path / "evaluation.json").read_text())["integrators"]
    assert summary["verlet:2"]["nve"]["stable_ps"] == pytest.approx(0.2)
    assert summary[ENERGY]["nve"]["stable_ps"] == pytest.approx(0.4)


def test_a_run_that_explodes_is_no_met_claim(tmp_path: Path) -> None:
    """Beyond three times its temperature, whatever that is, a run has exploded."""
    protocol = EvaluationProtocol(
        system=small_systems.crystal(2), temperature_K=200.0, nve_ps=0.0, nvt_ps=4.0, equilibration_ps=0.5, frames=100
    )
    evaluate(["verlet:2", "verlet:200"], protocol, tmp_path, workers=1, floors=Floors(temperature_K=1e6))
    claims = json.loads((tmp_path / "evaluation.json").read_text())["claims"]
    verdicts = {(claim["integrator"], claim["quantity"].split()[0]): claim["verdict"] for claim in claims}
    assert verdicts["verlet:2", "stable"] == "met"
    assert verdicts["verlet:200", "stable"] == verdicts["verlet:200", "T"] == "not met"


def test_the_mean_energy_of_a_bath(tmp_path: Path) -> None:
    """What a start holds beyond the mean of the bath, and the mean, are what it holds."""
    protocol = EvaluationProtocol(system=small_systems.hydroxyls(20), equilibration_ps=0.2, bath_ps=1.0)
    measure_mean_energy(protocol, tmp_path)
    (potential,) = map(np.load, (tmp_path / "starts").glob("*bath*"))
    frame, degrees = start(protocol, 0, tmp_path).get(), 3 * 40
    total = frame.energy + 1.0
    excess = energy_excess({"atoms": 40, "trace": {"energy_eV": [total]}}, potential, 300.0)
    held = potential.mean() + (degrees - 3) * units.kB * 300.0 / 2 + degrees * units.kB * excess["energy_excess_K"]
    assert len(potential) == 10
    assert np.isclose(held, total)
    assert 0 < excess["energy_excess_error_K"] < 60


def test_systems_of_one_name_do_not_share_files() -> None:
    one, other = (EvaluationProtocol(system=small_systems.crystal(cells), name="argon") for cells in (2, 3))
    assert one.starts_name != other.starts_name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nve_ps": 0.0}, "wanted some of one of them"),
        ({"temperature_K": 0.0}, "temperature_K = 0.0, wanted more than 0"),
        ({"frames": 10}, "at least 100"),
        ({"dihedrals": ((0, 1, 2, 99),)}, "wanted four different atoms, from 0 to 7"),
    ],
)
def test_a_protocol_that_cannot_be(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EvaluationProtocol(system=small_systems.crystal(2), **changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("verlet:fast", "wanted verlet:FS"),
        ("verlet:-1", "wanted verlet:FS"),
        ("respa:4", "leave respa out"),
        (f"verlet:2@{MODEL}", "wanted an energy model"),
        (str(FIXTURES / "pair_energy.onnx"), "verlet:FS@"),
        (f"{MODEL}:hot", "MODEL:POLICY"),
        (f"{MODEL}:metropolis", "runs in nve"),
    ],
)
def test_an_integrator_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    protocol = EvaluationProtocol(system=small_systems.crystal(2), temperature_K=200.0)
    with pytest.raises(ValueError, match=said):
        evaluate([text], protocol, tmp_path, workers=1)
