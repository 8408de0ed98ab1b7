"""LAMMPS data and dump files through ASE: found by what is in them, their units, and types that are elements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._velocities import in_ase_units
from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError
from flashmd_rs.structure_files.elements import WITHOUT_MASS, element_of_mass
from flashmd_rs.temperature import temperatures

if TYPE_CHECKING:
    import ase

DATA, DUMP = "lammps-data", "lammps-dump-text"

_HEAD = 20_000  # bytes in which a file says what it is
_DATA = re.compile(r"^\s*\d+\s+atoms\b.*?^\s*\d+\s+atom\s+types\b", re.MULTILINE | re.DOTALL)
_UNITS = re.compile(r"\A[^\n]*\bunits\s*=\s*(\w+)|^ITEM: UNITS\s+(\w+)", re.MULTILINE)
_ASSUMED, _OTHER = "metal", "real"  # lengths are in Å in both; velocities differ by 1000, temperatures by a million
_USUAL_K = (5.0, 20_000.0)


def is_data(path: Path) -> bool:
    """True for a LAMMPS data file, whatever its suffix."""
    return _DATA.search(_head(path)) is not None


def read_lammps(path: Path, name: str, kind: str, units: str | None, read: Any, with_elements: bool) -> ase.Atoms:
    """Read a frame with its velocities.

    Args:
        path: the file.
        name: what messages call it.
        kind: ``DATA`` or ``DUMP``.
        units: LAMMPS' name for the system of units; None is what the file states, else ``metal``, as in ASE.
        read: reads the frame, with the options of ASE's reader.
        with_elements: refuse types that no mass and no column says the element of.

    Raises:
        InputError: other units than the file states, or types without elements.
    """
    from ase.calculators.lammps.unitconvert import UNITSETS

    stated = next((word for match in _UNITS.finditer(_head(path)) for word in match.groups() if word), None)
    if None not in (units, stated) and units != stated:
        raise InputError(f"{name} states units {stated}, got units={units!r}: leave them out")
    used = units or stated or _ASSUMED
    if used not in UNITSETS:
        raise InputError(f"got LAMMPS units {used!r} for {name}, wanted one of {', '.join(map(repr, UNITSETS))}")
    atoms: ase.Atoms = read(units=used)
    if with_elements:
        _name_elements(atoms, path, name, kind)
    if units is None and stated is None:
        _warn_of_other_units(atoms, name)
    return atoms


def _name_elements(atoms: ase.Atoms, path: Path, name: str, kind: str) -> None:
    """Elements by masses, where the file has them; ASE takes type 1 for hydrogen, and so on, where it has none."""
    if kind == DUMP:
        columns = re.search(r"^ITEM: ATOMS(.*)$", _head(path), re.MULTILINE)
        if columns is None or {"element", "mass"} & set(columns[1].split()):
            return
        raise InputError(
            f"{name} has types without elements: write them (`dump_modify ID element O H`), or give the data file, "
            "whose masses say which they are, as topology"
        )
    if not atoms.has("masses"):
        raise InputError(
            f"{name} has types without masses, which would say what elements they are: add its section Masses"
        )
    numbers = atoms.numbers.copy()
    for kind_of_atom in np.unique(atoms.arrays["type"]):
        chosen = atoms.arrays["type"] == kind_of_atom
        mass = float(atoms.get_masses()[chosen][0])
        symbol = element_of_mass(mass)
        if symbol is None:
            why = WITHOUT_MASS if mass < 0.5 else "which is no element's: models move atoms of elements"
            raise InputError(f"type {kind_of_atom} of {name} has a mass of {mass:g} u, {why}")
        numbers[chosen] = _number(symbol)
    atoms.numbers = numbers


def _warn_of_other_units(atoms: ase.Atoms, name: str) -> None:
    """Say where velocities are no temperature in the units that were assumed, and are one in others."""
    if not atoms.has("momenta") or not atoms.get_momenta().any():
        return
    factor = float(in_ase_units(np.ones(1), _OTHER)[0] / in_ase_units(np.ones(1), _ASSUMED)[0])
    as_read = temperatures(atoms.get_momenta(), atoms.get_masses(), np.array(atoms.symbols))["total"]
    as_other = factor**2 * as_read
    if not _usual(as_read) and _usual(as_other):
        warn(
            f"{name} states no units, and its velocities are {as_read:.2g} K in {_ASSUMED} units, ASE's default, but "
            f"{as_other:.0f} K in {_OTHER} units: give units (--units {_OTHER}) if it is written in them"
        )


def _usual(temperature_K: float) -> bool:
    return _USUAL_K[0] < temperature_K < _USUAL_K[1]


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_HEAD).decode("utf-8", "replace").replace("\r\n", "\n")


def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])
