"""The alternation of kicks and drifts."""

from __future__ import annotations

import numpy as np

from flashmd_train.models.kick_drift_kick import kick_drift_kick, verlet_share


def test_kicks_and_drifts_alternate_and_end_with_a_kick() -> None:
    order: list[str] = []

    def kick(q: int, p: int, k: int) -> int:
        order.append(f"kick {k}")
        return p

    def drift(q: int, p: int, k: int) -> tuple[int, int]:
        order.append(f"drift {k}")
        return q, p

    kick_drift_kick(0, 0, 2, kick, drift)
    assert order == ["kick 0", "drift 0", "kick 1", "drift 1", "kick 2"]


def test_with_half_kicks_at_the_ends_it_is_velocity_verlet() -> None:
    """A harmonic oscillator: each step conserves p² + q² (1 − h²/4), velocity Verlet's own invariant, to rounding."""
    h, steps = 0.3, 50
    q, p = kick_drift_kick(
        1.0,
        0.2,
        steps,
        lambda q, p, k: p - verlet_share(k, steps) * h * q,
        lambda q, p, k: (q + h * p, p),
    )

    def invariant(q: float, p: float) -> float:
        return p**2 + q**2 * (1 - h**2 / 4)

    assert np.isclose(invariant(q, p), invariant(1.0, 0.2), rtol=1e-12)
    assert abs(q - 1.0) > 0.1
