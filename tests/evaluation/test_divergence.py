"""Jensen–Shannon divergences against known ones and against chance."""

from __future__ import annotations

import numpy as np
import pytest

from flashmd_rs.evaluation.measures.divergence import between, divergence

SPLITS = 200


def samples(rng: np.random.Generator, shares: np.ndarray, blocks: int, frames: int = 400) -> np.ndarray:
    """Shares of frames in bins, by block."""
    return rng.multinomial(frames, shares, size=blocks) / frames


def test_values_are_known() -> None:
    """Nothing of equal distributions, a bit of those without a common bin, and half a bit where half is common."""
    p = np.array([0.2, 0.3, 0.5, 0.0])
    assert between(p, p) == pytest.approx(0.0, abs=1e-12)
    assert between(np.array([1.0, 0.0]), np.array([0.0, 3.0])) == pytest.approx(1.0)
    assert between(np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])) == pytest.approx(0.5)


def test_samples_of_one_distribution_differ_by_chance_as_often_as_said() -> None:
    rng, shares = np.random.default_rng(1), np.random.default_rng(2).dirichlet(np.ones(20))
    found = [divergence(samples(rng, shares, 10), samples(rng, shares, 10), SPLITS)[2] for _ in range(200)]
    # Binomial: 10 ± 3 of 200 at a level of 5 %.
    assert 1 <= np.sum(np.array(found) < 0.05) <= 22
    assert 0.4 < np.mean(found) < 0.6


def test_others_are_told_apart_and_errors_are_those_of_repetition() -> None:
    rng = np.random.default_rng(3)
    p = np.full(10, 0.1)
    q = np.linspace(0.05, 0.15, 10)
    found = [divergence(samples(rng, p, 10), samples(rng, q, 10), SPLITS) for _ in range(100)]
    values, errors, probabilities = np.array(found).T
    assert (probabilities < 0.05).all()
    assert values.std() == pytest.approx(errors.mean(), rel=0.25)
