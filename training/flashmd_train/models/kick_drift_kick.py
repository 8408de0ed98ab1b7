"""Kick–drift–kick: the pattern of velocity Verlet, of its r-RESPA form, and of splitting schemes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Positions = TypeVar("Positions")
Momenta = TypeVar("Momenta")


def kick_drift_kick(
    q: Positions,
    p: Momenta,
    drifts: int,
    kick: Callable[[Positions, Momenta, int], Momenta],
    drift: Callable[[Positions, Momenta, int], tuple[Positions, Momenta]],
) -> tuple[Positions, Momenta]:
    """Alternate kicks and drifts: kick 0, drift 0, kick 1, …, drift n − 1, kick n.

    With kicks of a symplectic form at fixed q and symplectic drifts the composition is symplectic; with a palindromic
    order it is time-reversible.

    Args:
        q: positions, in any form.
        p: momenta or velocities, in any form.
        drifts: n.
        kick: the new momenta, from (q, p, number of the kick 0…n).
        drift: the new (q, p), from (q, p, number of the drift 0…n−1). Momenta change too where a drift is itself an
            integration under fast forces.
    """
    p = kick(q, p, 0)
    for k in range(drifts):
        q, p = drift(q, p, k)
        p = kick(q, p, k + 1)
    return q, p


def verlet_share(kick: int, drifts: int) -> float:
    """Share of a time step in the kick of that number: half for the first and the last, 1 between."""
    return 0.5 if kick in (0, drifts) else 1.0
