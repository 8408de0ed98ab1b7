"""Atoms that a model refuses, by what the file they were read from calls them."""

from __future__ import annotations

from collections.abc import Iterable
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
    notes = [note for atoms in structures for note in _notes(atoms, model)]
    return ModelError(f"{error}; {'; '.join(notes[:2])}", fault=error.fault) if notes else error


def _notes(atoms: ase.Atoms, model: Model) -> list[str]:
    """What is known of the first atom that the model refuses."""
    known = dict(zip(model.species, model.metadata["masses_u"], strict=True))
    masses, symbols = atoms.get_masses(), atoms.get_chemical_symbols()
    refused = [k for k, s in enumerate(symbols) if s not in known or abs(masses[k] / known[s] - 1.0) > _MASS_TOLERANCE]
    if not refused:
        return []
    k = refused[0]
    labels = [str(atoms.arrays[name][k]) for name in _LABELS if name in atoms.arrays]
    notes = [
        f"its file calls it {label!r}" + (f", {WITHOUT_MASS}" if is_without_mass(label) else "") for label in labels
    ]
    if _TYPE in atoms.arrays and np.issubdtype(atoms.arrays[_TYPE].dtype, np.integer):
        notes.append(f"its file calls it type {atoms.arrays[_TYPE][k]}")
    if symbols[k] == "X":
        notes.append(f"it is {WITHOUT_MASS}")
    isotope = isotope_of(symbols[k], float(masses[k]))
    return [*notes[:1], *([f"it is {isotope}"] if isotope else [])]
