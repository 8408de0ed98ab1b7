"""Reversibility and symplecticity of one stride of a model, measured by finite differences.

=====  ==================================================================
J      Jacobian of a stride in the coordinates (√m q, p/√m)
Ω      the symplectic form, [[0, 1], [−1, 0]]
=====  ==================================================================

A stride is symplectic if JᵀΩJ = Ω (Hairer, Lubich & Wanner, Geometric Numerical Integration, chapter VI).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from flashmd_rs._structure import F64

# Step of the central differences, in Å·√u and thermal momenta: far above the resolution of 32 bits, and small against
# the amplitude of an OH bond.
DISPLACEMENT = 0.004


def _stride(model: str | Path, starts: list[Atoms]) -> list[Atoms]:
    """Each start after one stride, without any filter."""
    import flashmd_rs

    runs = flashmd_rs.rollout(
        starts,
        model,
        steps=1,
        thermostat="none",
        rescale_energy=False,
        guard="off",
        random_rotation=False,
        seed=1,
        progress=False,
    )
    return [run.frames[-1] for run in runs]


def reversibility(model: str | Path, atoms: Atoms) -> dict[str, float]:
    """Rms distance to the start after a stride, a reversal of momenta, and another stride.

    Returns:
        ``positions``, in units of the rms displacement of a stride; ``momenta``, in units of the rms momentum.
    """
    (forward,) = _stride(model, [atoms])
    displacement = forward.positions - atoms.positions
    forward.set_momenta(-forward.get_momenta())
    (back,) = _stride(model, [forward])
    q, p = back.positions - atoms.positions, back.get_momenta() + atoms.get_momenta()
    return {
        "positions": float(np.sqrt((q**2).mean() / (displacement**2).mean())),
        "momenta": float(np.sqrt((p**2).mean() / (atoms.get_momenta() ** 2).mean())),
    }


def symplecticity(model: str | Path, atoms: Atoms) -> float:
    """Largest element of |JᵀΩJ − Ω| for one stride.

    Coordinates are √m q in Å·√u and p/√m in units of its rms. The model computes in 32 bits: about 1e-3 cannot be told
    from zero.
    """
    root_mass, count = np.sqrt(atoms.get_masses())[:, None], 3 * len(atoms)
    scale = np.repeat([1.0, np.sqrt((atoms.get_momenta() ** 2 / root_mass**2).mean())], count)

    def shifted(index: int, shift: float) -> Atoms:
        step = np.zeros(2 * count)
        step[index] = shift * scale[index]
        copy: Atoms = atoms.copy()
        copy.positions += step[:count].reshape(-1, 3) / root_mass
        copy.set_momenta(copy.get_momenta() + step[count:].reshape(-1, 3) * root_mass)
        return copy

    def coordinates(frame: Atoms) -> F64:
        return np.concatenate([(frame.positions * root_mass).ravel(), (frame.get_momenta() / root_mass).ravel()])

    starts = [shifted(index, sign * DISPLACEMENT) for index in range(2 * count) for sign in (1, -1)]
    ends = np.array([coordinates(frame) for frame in _stride(model, starts)]) / scale
    jacobian = ((ends[::2] - ends[1::2]) / (2 * DISPLACEMENT)).T
    omega = np.block([[np.zeros((count, count)), np.eye(count)], [-np.eye(count), np.zeros((count, count))]])
    return float(np.abs(jacobian.T @ omega @ jacobian - omega).max())
