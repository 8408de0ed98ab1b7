"""Kinetic energy, temperatures and the Maxwell–Boltzmann draw.

The motion of the centre of mass is no heat: temperatures are those of internal momenta p_i − m_i P/M, over
N_dof = 3N − 3 degrees of freedom in all and 3(N_s − M_s/M) for a species s of N_s atoms and mass M_s. Where atoms are
fixed the others move against them: momenta are taken as they are, three degrees of freedom per free atom.
"""

from __future__ import annotations

import numpy as np
from ase.units import kB
from numpy.typing import NDArray

from flashmd_rs._structure import F64

# Streams that one seed feeds on the Python side; the core addresses its own by (seed, step).
_MOMENTA_STREAM = 0x6D6F6D656E7461


def draw_momenta(
    masses: F64, temperature_K: float, seed: int, *, replica: int = 0, fixed: NDArray[np.bool_] | None = None
) -> F64:
    """Momenta of the Maxwell–Boltzmann distribution with no net momentum.

    Args:
        masses: [N], u.
        temperature_K: temperature, K; over 3N − 3 degrees of freedom it holds on average.
        seed: same seed, same momenta.
        replica: replicas of one seed draw different momenta.
        fixed: [N], True for atoms at rest; the others then keep what net momentum they draw.

    Returns:
        [N,3], √(eV·u).
    """
    stream = [seed, _MOMENTA_STREAM] + ([replica] if replica else [])
    normal = np.random.default_rng(stream).standard_normal((len(masses), 3))
    momenta: F64 = normal * np.sqrt(kB * temperature_K * masses)[:, None]
    if fixed is not None and fixed.any():
        momenta[fixed] = 0.0
        return momenta
    return internal_momenta(momenta, masses)


def internal_momenta(momenta: F64, masses: F64) -> F64:
    """Momenta [N,3] less the share of the centre of mass's motion."""
    internal: F64 = momenta - masses[:, None] * (momenta.sum(axis=0) / masses.sum())
    return internal


def kinetic_energy(momenta: F64, masses: F64) -> float:
    """Kinetic energy Σ p²/2m in eV, the centre of mass's motion included."""
    return float(0.5 * np.sum(momenta**2 / masses[:, None]))


def degrees_of_freedom(
    masses: F64, symbols: NDArray[np.str_], fixed: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Degrees of freedom of the whole (``"total"``) and of each chemical symbol."""
    free = np.ones(len(masses), dtype=bool) if fixed is None else ~fixed
    # The share of an atom in the motion of the centre of mass, which is none of its own.
    common = masses / masses.sum() if free.all() else np.zeros(len(masses))
    own = 3.0 * (1.0 - common) * free
    species = {symbol: float(own[symbols == symbol].sum()) for symbol in sorted(set(symbols.tolist()))}
    return {"total": 3.0 * float(free.sum()) - (3.0 if free.all() else 0.0), **species}


def temperatures(
    momenta: F64, masses: F64, symbols: NDArray[np.str_], fixed: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Temperature in K of the whole (``"total"``) and of each chemical symbol; 0 where nothing can move."""
    moving = momenta if fixed is not None and fixed.any() else internal_momenta(momenta, masses)
    twice_kinetic = np.sum(moving**2, axis=1) / masses
    result = {}
    for name, count in degrees_of_freedom(masses, symbols, fixed).items():
        energy = twice_kinetic.sum() if name == "total" else twice_kinetic[symbols == name].sum()
        result[name] = float(energy / (count * kB)) if count > 1e-9 else 0.0
    return result
