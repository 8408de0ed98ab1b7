"""Atoms that a model refuses, by what the file they were read from calls them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs.errors import ModelError
from flashmd_rs.model import Model
from flashmd_rs.structure_files.elements import WITHOUT_MASS, is_without_mass, isotope_of

if TYPE_CHECKING:
    import ase

# Columns that ASE's readers keep names of atoms in.
_LABELS = ("atomtypes", "labels", "castep_labels", "dlp4_labels")
_TYPE = "type"  # of LAMMPS
_MASS_TOLERANCE = 1e-3  # the core's


def with_label(error: ModelError, structures: Iterable[ase.Atoms], model: Model) -> ModelError:
    """The core's error about an element or a mass, with the atom's label and, of hydrogen's isotopes, their name."""
    if error.fault not in ("UnknownElement", "WrongMass"):
        return error
    refused = ((atoms, k) for atoms in structures for k in _refused(atoms, model))
    notes = next((_notes(atoms, k) for atoms, k in refused), [])
    return ModelError("; ".join([str(error), *notes]), fault=error.fault)


def _refused(atoms: ase.Atoms, model: Model) -> Iterator[int]:
    """The atoms of other elements or masses than the model's, in the core's order."""
    known = dict(zip(model.species, model.metadata["masses_u"], strict=True))
    for k, (symbol, mass) in enumerate(zip(atoms.symbols, atoms.get_masses(), strict=True)):
        if symbol not in known or abs(mass / known[symbol] - 1.0) > _MASS_TOLERANCE:
            yield k


def _notes(atoms: ase.Atoms, k: int) -> list[str]:
    """What is known of an atom beside its element and mass."""
    symbol = atoms.symbols[k]
    labels = [str(atoms.arrays[name][k]) for name in _LABELS if name in atoms.arrays]
    notes = [
        f"its file calls it {label!r}" + (f", {WITHOUT_MASS}" if is_without_mass(label) else "") for label in labels
    ]
    if _TYPE in atoms.arrays and np.issubdtype(atoms.arrays[_TYPE].dtype, np.integer):
        notes.append(f"its file calls it type {atoms.arrays[_TYPE][k]}")
    if symbol == "X":
        notes.append(f"it is {WITHOUT_MASS}")
    isotope = isotope_of(symbol, float(atoms.get_masses()[k]))
    return [*notes[:1], *([f"it is {isotope}"] if isotope else [])]
