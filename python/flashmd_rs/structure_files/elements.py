"""Elements from what a file calls its atoms: names of force fields, isotopes, sites without mass, masses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import ase

# Hydrogen's isotopes: what they are, mass (u), and the element that stands for them while ASE, which has no symbol for
# them, reads the file: no structure holds it.
ISOTOPES = {"D": ("deuterium", 2.014102, "Ts"), "T": ("tritium", 3.016049, "Og")}

WITHOUT_MASS = (
    "a site without mass, as the TIP4P and TIP5P models of water have; models move atoms only: leave such sites out of "
    "the file"
)

# Names that force fields give to ions and to sites without mass.
_IONS = {"SOD": "Na", "CLA": "Cl", "POT": "K", "CAL": "Ca", "CES": "Cs", "LIT": "Li", "RUB": "Rb"}
_WITHOUT_MASS = re.compile(r"MW?\d*|EPW?\d*|LP[A-D]?\d*|IW|X+\d*|DUM?\d*|VS\d*")
# Two letters that mean the element in any molecule; others do so only for an atom alone.
_ALWAYS = ("Cl", "Br")
_LARGEST_DIFFERENCE_U = 0.3


def is_without_mass(label: str) -> bool:
    """True for what force fields call a site without mass (``MW``, ``EP``, ``LP1``, ``X``)."""
    return _WITHOUT_MASS.fullmatch(label.upper()) is not None


def element_of(label: str, alone: bool) -> str | None:
    """The element, or isotope of hydrogen, that an atom's name in a force field stands for; None if there is none.

    Args:
        label: name such as ``OW``, ``HW1``, ``CA`` or ``Na+``.
        alone: it is the only atom of its residue, as ions are: ``CA`` is then calcium, and else a carbon.
    """
    from ase.data import chemical_symbols

    letters = re.sub(r"^\d+|[^A-Za-z].*$", "", label)
    if not letters or is_without_mass(label):
        return None
    one, two = letters[0].upper(), letters[:2].capitalize()
    known = chemical_symbols[1:]
    if letters.upper() in (*ISOTOPES, "DW", "DO"):
        return one
    if alone and letters.upper() in _IONS:
        return _IONS[letters.upper()]
    written = letters[1:2].islower()
    if two in known and len(two) == 2 and (alone or written or two in _ALWAYS or one not in known):
        return two
    return one if one in known else None


def elements_of(labels: Sequence[str], residues: Sequence[object]) -> list[str | None]:
    """:func:`element_of` of every atom, by its name and its residue (neighbors of one residue have equal entries)."""
    found: list[str | None] = []
    for _, members in groupby(range(len(labels)), lambda k: residues[k]):
        atoms = list(members)
        found += [element_of(labels[k], len(atoms) == 1) for k in atoms]
    return found


def element_of_mass(mass_u: float) -> str | None:
    """The element of a mass, u; None if there is none within 0.3 u.

    Hydrogen's isotopes, and hydrogens whose mass was repartitioned, reach 3.6 u.
    """
    from ase.data import atomic_masses, chemical_symbols

    if 0.7 < mass_u < 3.6:
        return "H"
    nearest = 1 + int(np.argmin(np.abs(atomic_masses[1:] - mass_u)))
    return str(chemical_symbols[nearest]) if abs(atomic_masses[nearest] - mass_u) < _LARGEST_DIFFERENCE_U else None


def set_elements(atoms: ase.Atoms, elements: Sequence[str]) -> None:
    """Set elements, isotopes of hydrogen as H with their masses; velocities stay."""
    velocities = atoms.get_velocities()
    atoms.set_chemical_symbols(["H" if element in ISOTOPES else element for element in elements])
    masses = atoms.get_masses()
    for isotope, (_, mass, _) in ISOTOPES.items():
        masses[np.array(elements) == isotope] = mass
    if not np.array_equal(masses, atoms.get_masses()):
        atoms.set_masses(masses)
    if atoms.has("momenta"):
        atoms.set_velocities(velocities)


def replace_stand_ins(atoms: ase.Atoms) -> ase.Atoms:
    """Hydrogen's isotopes in place of the elements that stood for them while ASE read the file; momenta stay."""
    isotopes = {stand_in: isotope for isotope, (_, _, stand_in) in ISOTOPES.items()}
    symbols = atoms.get_chemical_symbols()
    if not isotopes.keys() & set(symbols):
        return atoms
    kept = {name: values.copy() for name, values in atoms.arrays.items() if name in ("momenta", "masses")}
    set_elements(atoms, [isotopes.get(symbol, symbol) for symbol in symbols])
    atoms.arrays.update(kept)
    return atoms


def isotope_of(symbol: str, mass_u: float) -> str | None:
    """The name of hydrogen's isotope of that mass, within 0.005 u; None for anything else."""
    names = (name for name, mass, _ in ISOTOPES.values() if symbol == "H" and abs(mass_u - mass) < 0.005)
    return next(names, None)
