"""Errors and verdicts against statistics whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import small_systems
from scipy.signal import lfilter
from scipy.stats import ttest_ind

from flashmd_rs.evaluation.claims import MET, NOT_MET, UNDECIDED, Floors, chance, claims, verdict
from flashmd_rs.evaluation.estimates import Estimate, difference, of_blocks, of_series, over_starts
from flashmd_rs.evaluation.protocol import EvaluationProtocol


def ornstein_uhlenbeck(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """Unit variance, correlation e^(−k/memory): the variance of a long mean is 2·memory/count."""
    kept = np.exp(-1 / memory)
    return lfilter([np.sqrt(1 - kept**2)], [1, -kept], rng.normal(size=count), zi=[kept * rng.normal()])[0]


@pytest.mark.parametrize("times", [20, 50, 1000])
def test_the_error_of_a_temperature_that_forgets_slowly(times: int) -> None:
    """A weak bath's temperature over so many relaxation times; seven tenths of its variance are fast noise."""
    rng, memory, off, errors = np.random.default_rng(1), 20.0, [], []
    for _ in range(200):
        count = int(times * memory)
        series = 0.3**0.5 * ornstein_uhlenbeck(rng, count, memory) + 0.7**0.5 * rng.normal(size=count)
        mean, error, _ = of_series(series, averaged=5)
        off.append(mean)
        errors.append(error)
    theory = np.sqrt((0.3 * 2 * memory + 0.7) / (times * memory))
    assert np.std(off) == pytest.approx(theory, rel=0.15)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(theory, rel=0.15 if times < 1000 else 0.06)
    # A stated 95 % interval holds the truth about that often.
    inside = np.abs(off) <= [Estimate(0.0, error, times / 2).half_width() for error in errors]
    assert 0.88 < np.mean(inside) <= 0.99


def test_few_starts_that_agree_by_chance_do_not_hide_their_own_errors() -> None:
    assert over_starts([(10.0, 2.0, 50.0), (10.1, 2.0, 50.0)]) == pytest.approx((10.05, 2.0 / 2**0.5, 100.0))
    apart = over_starts([(10.0, 0.1, 50.0), (20.0, 0.1, 50.0), (15.0, 0.1, 50.0)])
    assert apart == pytest.approx((15.0, 5.0 / 3**0.5, 2.0))
    assert over_starts([(3.0, None, 0.0), None]) == (3.0, None, 0.0)
    assert over_starts([None]) is None


def test_a_difference_is_welchs() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(1, 1, 6), rng.normal(0, 3, 9)
    ours, theirs = difference(of_blocks(one), of_blocks(other)), ttest_ind(one, other, equal_var=False)
    interval = theirs.confidence_interval()
    assert ours.freedom == pytest.approx(theirs.df)
    assert (ours.mean - ours.half_width(), ours.mean + ours.half_width()) == pytest.approx(tuple(interval))


def test_equal_distributions_differ_by_chance_as_often_as_said() -> None:
    rng, width = np.random.default_rng(3), 0.2
    shape = np.exp(-0.5 * np.linspace(-3, 3, 40) ** 2)

    def blocks(count: int, factor: float = 1.0) -> np.ndarray:
        return factor * shape * (1 + width * rng.normal(size=(count, 40)))

    found = [chance(blocks(10), blocks(10)) for _ in range(100)]
    assert np.mean(np.array(found) < 0.1) < 0.2
    assert 0.35 < np.mean(found) < 0.65
    assert chance(blocks(10), blocks(10, 1.5)) < 0.01
    assert chance(np.zeros((5, 4)), np.zeros((5, 4))) == 1.0


def test_a_verdict() -> None:
    def of(value: float, error: float | None, freedom: float = 1000.0, by_chance: bool = False) -> str:
        return verdict(Estimate(value, error, freedom), 5.0, by_chance)

    assert of(3.0, 2.4) == MET
    assert of(-5.1, 0.1) == NOT_MET
    assert of(-5.1, 2.5, by_chance=True) == MET
    assert of(0.0, 2.6) == of(50.0, 2.6) == of(0.0, None) == of(0.0, float("nan")) == UNDECIDED
    # Two runs say little of an error: Student's t of one degree of freedom is 12.7 at 95 %.
    assert of(0.0, 0.5, freedom=1.0) == UNDECIDED
    assert of(0.0, 0.3, freedom=1.0) == MET


def run(total: tuple, cu: tuple, au: tuple, d: tuple, peak: float, seed: int) -> dict:
    blocks = peak * (1 + 0.01 * np.random.default_rng(seed).normal(size=(10, 20)))
    return {
        "name": "a run",
        "wanted_ps": 100.0,
        "stable_ps": 100.0,
        "exploded": False,
        "stopped": None,
        "temperature_estimate_K": {"total": total, "Au": au, "Cu": cu},
        "diffusion": {"Cu": d, "Au": None},
        "periodic": True,
        "pairs": {"Au–Cu": {"r_A": list(range(20)), "blocks": blocks.tolist()}},
        "violations": None,
    }


def test_claims_of_every_kind() -> None:
    reference = run((601.0, 1.0, 99.0), (601.0, 1.0, 99.0), (600.0, 1.0, 99.0), (2.0, 0.1, 4.0), 3.0, 1)
    model = run((607.0, 1.0, 99.0), (604.0, 1.0, 99.0), (610.0, 3.0, 99.0), (2.2, 0.1, 4.0), 3.0, 2)
    other = dict(model, exploded=True, stable_ps=40.0, violations={"distance": 3})
    del other["pairs"], other["diffusion"]
    results = {
        text: {"nve": [], "nvt": [found], "npt": []}
        for text, found in (("verlet:2", reference), ("model", model), ("other", other))
    }
    protocol = EvaluationProtocol(system=small_systems.crystal(2), temperature_K=600.0, nve_ps=0.0, nvt_ps=100.0)
    made = claims(results, protocol, Floors(temperature_K=5.0, rdf=0.05, diffusion=0.2))
    found = {(claim.integrator, claim.quantity.split(",")[0]): claim for claim in made}
    of_model = {quantity: claim.verdict for (text, quantity), claim in found.items() if text == "model"}
    assert of_model == {
        "stable in nvt": MET,
        "T − 600 K in nvt": NOT_MET,
        "T of Au − 600 K in nvt": UNDECIDED,
        "T of Cu − 600 K in nvt": MET,
        "g(r) of Au–Cu": MET,
        "D of Cu": MET,
    }
    off = found["model", "D of Cu"]
    assert (off.value, off.error) == pytest.approx((0.1, 0.1 * 2**0.5 / 2))
    assert {claim.verdict for claim in made if claim.integrator == "other"} == {NOT_MET}
    assert found["other", "stable in nvt"][2:5] == (40.0, None, 100.0)
    violations = found["other", "violations of the domain in nvt"]
    assert (violations.value, violations.verdict) == (3.0, NOT_MET)
    assert not claims(results, protocol, Floors())
    assert [claim.integrator for claim in made] == sorted(
        (claim.integrator for claim in made), key=["verlet:2", "model", "other"].index
    )


def test_pairs_that_are_never_near() -> None:
    """Where neither run has a pair within half of the cell nothing is claimed; where one has it, they differ."""

    def pairs(peaks: dict[str, float]) -> dict:
        blocks = {pair: np.full((10, 20), peak).tolist() for pair, peak in peaks.items()}
        return {pair: {"r_A": list(range(20)), "blocks": found} for pair, found in blocks.items()}

    sound = run((600.0, 1.0, 99.0), (600.0, 1.0, 99.0), (600.0, 1.0, 99.0), (2.0, 0.1, 4.0), 3.0, 1)
    reference = dict(sound, pairs=pairs({"Au–Au": 0.0, "Cu–Cu": 0.0}))
    model = dict(sound, pairs=pairs({"Au–Au": 0.0, "Cu–Cu": 2.0}))
    results = {text: {"nve": [], "nvt": [made], "npt": []} for text, made in (("verlet:2", reference), ("m", model))}
    protocol = EvaluationProtocol(system=small_systems.crystal(2), temperature_K=600.0, nve_ps=0.0, nvt_ps=100.0)
    made = [claim for claim in claims(results, protocol, Floors(rdf=0.05)) if claim.quantity.startswith("g(r)")]
    assert [(claim.quantity.split(",")[0], claim.value, claim.verdict) for claim in made] == [
        ("g(r) of Cu–Cu", 1.0, NOT_MET)
    ]


def test_slopes_over_other_lags_are_not_compared() -> None:
    """A run of twice the length has its diffusion from twice the lags: where atoms rattle, another slope."""
    protocol = EvaluationProtocol(system=small_systems.crystal(2), temperature_K=600.0, nve_ps=0.0, nvt_ps=100.0)
    sound = run((600.0, 1.0, 99.0), (600.0, 1.0, 99.0), (600.0, 1.0, 99.0), (2.0, 0.01, 4.0), 3.0, 1)
    for last_ps, verdict_of_d in ((10.0, MET), (12.0, MET), (20.0, UNDECIDED)):
        made = {"verlet:2": dict(sound, lags_ps=[1.0, 10.0]), "m": dict(sound, lags_ps=[1.0, last_ps])}
        results = {text: {"nve": [], "nvt": [one], "npt": []} for text, one in made.items()}
        (claim,) = [c for c in claims(results, protocol, Floors(diffusion=0.2)) if c.quantity.startswith("D of")]
        assert claim.verdict == verdict_of_d
    assert "lags up to 20 against 10 ps" in claim.note
