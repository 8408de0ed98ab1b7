"""Velocities that a structure carries as a column, under a name and in a unit of the program that wrote them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs._structure import F64

if TYPE_CHECKING:
    import ase

# The systems of units, by LAMMPS' names, that programs write such columns in.
COLUMN_UNITS = {"real": "Å/fs", "metal": "Å/ps", "ASE": "ASE's own unit"}

_STEM = r"(?:v|(?:.*_)?(?:vel|vels|velo|velos|velocity|velocities)(?:_.*)?)"
_VECTOR, _COMPONENT = re.compile(_STEM, re.IGNORECASE), re.compile(f"({_STEM}?)_?([xyz])", re.IGNORECASE)


def velocity_columns(atoms: ase.Atoms) -> dict[str, F64]:
    """Columns [N,3] of velocities, by their names; three columns ``vx``, ``vy`` and ``vz`` are one.

    One of zeros, or of numbers that are not finite, tells nothing and is left out.
    """
    numeric = {name: values for name, values in atoms.arrays.items() if values.dtype.kind in "fiu"}
    found = {
        name: values.astype(float)
        for name, values in numeric.items()
        if values.shape == (len(atoms), 3) and _VECTOR.fullmatch(name)
    }
    parts: dict[str, dict[str, F64]] = {}
    for name, values in numeric.items():
        match = _COMPONENT.fullmatch(name) if values.ndim == 1 else None
        if match and match[1]:
            parts.setdefault(match[1].rstrip("_"), {})[match[2].lower()] = values
    for stem, part in parts.items():
        if len(part) == 3:
            found[f"{stem}x, {stem}y, {stem}z"] = np.column_stack([part[axis] for axis in "xyz"]).astype(float)
    return {name: values for name, values in found.items() if values.any() and np.isfinite(values).all()}


def in_ase_units(velocities: F64, units: str) -> F64:
    """Velocities [N,3] in √(eV/u), from a system of units by LAMMPS' name."""
    from ase.calculators.lammps import convert

    converted: F64 = np.asarray(convert(velocities, "velocity", units, "ASE"), dtype=float)
    return converted
