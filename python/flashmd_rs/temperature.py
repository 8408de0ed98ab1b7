"""Kinetic energy, temperatures and the Maxwell–Boltzmann draw.

The motion of the centre of mass is no heat: temperatures are those of internal momenta p_i − m_i P/M, over
N_dof = 3N − 3 degrees of freedom in all and 3(N_s − M_s/M) for a species s of N_s atoms and mass M_s.
"""

from __future__ import annotations

import numpy as np
from ase.units import kB
from numpy.typing import NDArray

from flashmd_rs.structure import F64

# Streams that one seed feeds on the Python side; the core addresses its own by (seed, step).
_MOMENTA_STREAM = 0x6D6F6D656E7461


def draw_momenta(masses: F64, temperature_K: float, seed: int) -> F64:
    """Momenta of the Maxwell–Boltzmann distribution with no net momentum.

    Args:
        masses: [N], u.
        temperature_K: temperature, K; over 3N − 3 degrees of freedom it holds on average.
        seed: same seed, same momenta.

    Returns:
        [N,3], √(eV·u).
    """
    normal = np.random.default_rng([seed, _MOMENTA_STREAM]).standard_normal((len(masses), 3))
    return internal_momenta(normal * np.sqrt(kB * temperature_K * masses)[:, None], masses)


def internal_momenta(momenta: F64, masses: F64) -> F64:
    """Momenta [N,3] less the share of the centre of mass's motion."""
    internal: F64 = momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum())
    return internal


def kinetic_energy(momenta: F64, masses: F64) -> float:
    """Kinetic energy Σ p²/2m in eV, the centre of mass's motion included."""
    return float(0.5 * np.sum(momenta**2 / masses[:, None]))


def degrees_of_freedom(masses: F64, symbols: NDArray[np.str_]) -> dict[str, float]:
    """Degrees of freedom of the whole (``"total"``) and of each chemical symbol."""
    counts = {"total": 3.0 * len(masses) - 3.0}
    for symbol in sorted(set(symbols.tolist())):
        chosen = symbols == symbol
        counts[symbol] = 3.0 * (float(chosen.sum()) - float(masses[chosen].sum() / masses.sum()))
    return counts


def temperatures(momenta: F64, masses: F64, symbols: NDArray[np.str_]) -> dict[str, float]:
    """Temperature in K of the whole (``"total"``) and of each chemical symbol; NaN where nothing can move."""
    twice_kinetic = np.sum(internal_momenta(momenta, masses) ** 2, axis=1) / masses
    result = {}
    for name, count in degrees_of_freedom(masses, symbols).items():
        energy = twice_kinetic.sum() if name == "total" else twice_kinetic[symbols == name].sum()
        result[name] = float(energy / (count * kB)) if count > 1e-9 else float("nan")
    return result
