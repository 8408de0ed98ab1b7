"""How far one stride of a model is from being reversible and symplectic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

# Of the central differences: far above what 32 bits resolve, below what an OH bond bends.
DISPLACEMENT = 0.004


def _stride(model: str | Path, starts: list[Atoms]) -> list[Atoms]:
    """Each start one stride on."""
    import flashmd_rs

    options = dict(thermostat="none", rescale_energy=False, guard="off", random_rotation=False, seed=1, progress=False)
    return [run.frames[-1] for run in flashmd_rs.rollout(starts, model, steps=1, **options)]


def reversibility(model: str | Path, atoms: Atoms) -> dict[str, float]:
    """One stride, momenta turned round, one stride: rms of what is missing to the start, over rms Δq and rms p."""
    (there,) = _stride(model, [atoms])
    moved = there.positions - atoms.positions
    there.set_momenta(-there.get_momenta())
    (back,) = _stride(model, [there])
    q, p = back.positions - atoms.positions, back.get_momenta() + atoms.get_momenta()
    return dict(
        positions=float(np.sqrt((q**2).mean() / (moved**2).mean())),
        momenta=float(np.sqrt((p**2).mean() / (atoms.get_momenta() ** 2).mean())),
    )


def symplecticity(model: str | Path, atoms: Atoms) -> float:
    """Largest element of JᵀΩJ − Ω for the stride's Jacobian J of (√m q, p/√m), by central differences.

    Positions in Å·√u, momenta in their rms. The model computes in 32 bits: about 1e-3 is as good as zero.
    """
    root, count = np.sqrt(atoms.get_masses())[:, None], 3 * len(atoms)
    scale = np.repeat([1.0, np.sqrt((atoms.get_momenta() ** 2 / root**2).mean())], count)

    def shifted(k: int, by: float) -> Atoms:
        step = np.zeros(2 * count)
        step[k] = by * scale[k]
        copy = atoms.copy()
        copy.positions += step[:count].reshape(-1, 3) / root
        copy.set_momenta(copy.get_momenta() + step[count:].reshape(-1, 3) * root)
        return copy

    def state(frame: Atoms) -> np.ndarray:
        return np.concatenate([(frame.positions * root).ravel(), (frame.get_momenta() / root).ravel()])

    starts = [shifted(k, sign * DISPLACEMENT) for k in range(2 * count) for sign in (1, -1)]
    ends = np.array([state(frame) for frame in _stride(model, starts)]) / scale
    jacobian = ((ends[::2] - ends[1::2]) / (2 * DISPLACEMENT)).T
    omega = np.block([[np.zeros((count, count)), np.eye(count)], [-np.eye(count), np.zeros((count, count))]])
    return float(np.abs(jacobian.T @ omega @ jacobian - omega).max())
