"""LAMMPS data and dump files through ASE: found by what is in them, their units, and types that are elements."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashmd_rs.errors import InputError
from flashmd_rs.structure_files.elements import WITHOUT_MASS, element_of_mass

if TYPE_CHECKING:
    import ase

DATA, DUMP = "lammps-data", "lammps-dump-text"

_HEAD = 20_000  # bytes in which a file says what it is
_DATA = re.compile(r"^\s*\d+\s+atoms\b.*?^\s*\d+\s+atom\s+types\b", re.MULTILINE | re.DOTALL)
_UNITS = re.compile(r"\A[^\n]*\bunits\s*=\s*(\w+)|^ITEM: UNITS\s+(\w+)", re.MULTILINE)
_DEFAULT = "metal"  # as in ASE


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
    used = units or stated or _DEFAULT
    if used not in UNITSETS:
        raise InputError(f"got LAMMPS units {used!r} for {name}, wanted one of {', '.join(map(repr, UNITSETS))}")
    try:
        atoms: ase.Atoms = read(units=used)
    except InputError as error:
        if "atom_style" not in str(error):
            raise
        raise InputError(f"{error}; name the style behind its section, as in `Atoms # charge`") from None
    if with_elements:
        _name_elements(atoms, path, name, kind)
    return atoms


def _name_elements(atoms: ase.Atoms, path: Path, name: str, kind: str) -> None:
    """Elements by masses, where the file has them; ASE takes type 1 for hydrogen, and so on, where it has none."""
    head = _head(path)
    if kind == DUMP:
        columns = re.search(r"^ITEM: ATOMS(.*)$", head, re.MULTILINE)
        if columns is None or {"element", "mass"} & set(columns[1].split()):
            return
        raise InputError(
            f"nothing in {name} says which elements {_types(atoms)} are: write them (`dump_modify ID element O H`), or "
            "give the data file, whose masses say it, as topology"
        )
    if atoms.has("masses"):
        atoms.numbers = _numbers(atoms, name)
    elif not _labelled(head):
        raise InputError(f"nothing in {name} says which elements {_types(atoms)} are: add its section Masses")


def _numbers(atoms: ase.Atoms, name: str) -> NDArray[np.int64]:
    """Atomic numbers [N] by the masses of types."""
    from ase.data import atomic_numbers

    numbers = np.array(atoms.numbers, dtype=np.int64)
    for kind_of_atom in np.unique(atoms.arrays["type"]):
        chosen = atoms.arrays["type"] == kind_of_atom
        mass = float(atoms.get_masses()[chosen][0])
        symbol = element_of_mass(mass)
        if symbol is None:
            why = WITHOUT_MASS if mass < 0.5 else "which is no element's: models move atoms of elements"
            raise InputError(f"type {kind_of_atom} of {name} has a mass of {mass:g} u, {why}")
        numbers[chosen] = atomic_numbers[symbol]
    return numbers


def _types(atoms: ase.Atoms) -> str:
    return " and ".join(f"type {number}" for number in np.unique(atoms.arrays["type"])[:3])


def _labelled(head: str) -> bool:
    """True if the types have labels that are elements, which ASE reads."""
    from ase.data import atomic_numbers

    section = re.search(r"^Atom Type Labels.*\n\s*((?:\d+[ \t]+\S+.*\n)+)", head, re.MULTILINE)
    return section is not None and all(line.split()[1] in atomic_numbers for line in section[1].splitlines())


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_HEAD).decode("utf-8", "replace").replace("\r\n", "\n")
