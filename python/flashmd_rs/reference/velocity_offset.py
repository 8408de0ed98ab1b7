"""How far the velocities of a trajectory are off its positions in time.

Leapfrog integrators know velocities half a time step before the positions: OpenMM's (Verlet and Langevin) and GROMACS'
``md`` write them so. Velocity Verlet of LAMMPS, ASE and OpenMM's custom integrators writes both at one instant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import units

from flashmd_rs._structure import F64

# An offset below this is none, fs: a tenth of the shortest time steps' halves.
NEGLIGIBLE_FS = 0.01
# An offset by fewer standard errors is none.
ERRORS = 4.0
# Blocks of successive frames, from whose scatter the standard error is.
BLOCKS = 20


class Offset(NamedTuple):
    """Time of the velocities less that of the positions.

    Attributes:
        fs: the offset, fs; negative where velocities are from before the positions.
        error_fs: its standard error, fs.
    """

    fs: float
    error_fs: float

    @property
    def is_none(self) -> bool:
        """True if it is consistent with velocities at the instant of the positions."""
        return abs(self.fs) < max(NEGLIGIBLE_FS, ERRORS * self.error_fs)


def velocity_offset(positions: F64, momenta: F64, masses: F64, spacing_fs: float) -> Offset:
    """Offset τ of velocities u(t) = v(t + τ) from positions q(t), by least squares.

    With Δq and Δu the changes between two frames a time s apart and ū the mean of their velocities, τ minimises
    |Δq − s ū + τ Δu|² with the masses as weights. Stationary dynamics that are the same backwards in time have
    ⟨Δq·Δu⟩ = 0 at τ = 0, and of an oscillation of angular frequency ω the estimate is sin(ωτ)/ω, whatever s is: frames
    need not resolve the fastest vibration.

    Args:
        positions: [T, A, 3], Å, unwrapped.
        momenta: [T, A, 3], √(eV·u).
        masses: [A], u.
        spacing_fs: time between frames, fs.
    """
    root = np.sqrt(masses)[:, None]
    scaled = momenta / root
    change = np.diff(scaled, axis=0)
    excess = np.diff(positions, axis=0) * root - 0.5 * spacing_fs * units.fs * (scaled[1:] + scaled[:-1])
    above, below = -(excess * change).sum((1, 2)) / units.fs, (change**2).sum((1, 2))
    offset = above.sum() / below.sum()
    blocks = np.array([part.sum() for part in np.array_split(above - offset * below, min(BLOCKS, len(above)))])
    error = np.sqrt(len(blocks) / (len(blocks) - 1) * (blocks**2).sum()) / below.sum()
    return Offset(float(offset), float(error))
