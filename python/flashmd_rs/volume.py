"""Volume, density and pressure: those of a cell that is periodic along all axes; others have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import _amu, bar

from flashmd_rs._structure import F64

if TYPE_CHECKING:
    import ase

_U_PER_A3_IN_G_PER_CM3 = _amu * 1e3 * 1e24


def volume_A3(atoms: ase.Atoms, cell: F64) -> float | None:
    """Volume of ``cell`` [3,3] (Å) with the periodic axes of ``atoms``, Å³; None unless all are."""
    return abs(float(np.linalg.det(cell))) if atoms.pbc.all() else None


def density_g_per_cm3(atoms: ase.Atoms, volumes_A3: float | F64) -> F64:
    """Mass of ``atoms`` over volumes [...] (Å³), g/cm³."""
    return np.asarray(atoms.get_masses().sum() / volumes_A3 * _U_PER_A3_IN_G_PER_CM3)


def pressure_bar(stress: F64) -> F64:
    """Pressure −tr(σ)/3 of stresses [...,3,3] (eV/Å³), bar."""
    return np.asarray(-np.trace(stress, axis1=-2, axis2=-1) / (3.0 * bar))
