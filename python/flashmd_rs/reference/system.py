"""What is simulated: start structures, and the potential that moves them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.factories import Factory
from flashmd_rs.reference.potentials import CalculatorPotential, Potential
from flashmd_rs.structure_files import read_structure

# Start structures of one system may differ in their cells by this much, Å.
CELL_TOLERANCE_A = 1e-6
# Masses of one element may differ by this much, relatively, as between two force fields; a model's may as well.
MASS_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class System:
    """Start structures of the same atoms in the same cell, and their potential.

    Attributes:
        structures: one or more; they carry the potential's masses where it has its own.
        potential: of all of them.

    Raises:
        ValueError: no structure, less than two atoms, structures of other atoms or cells, or an element of two masses.
    """

    structures: tuple[Atoms, ...]
    potential: Potential

    def __post_init__(self) -> None:
        if not self.structures:
            raise ValueError("got no start structure, wanted at least one")
        fewest = min(map(len, self.structures))
        if fewest < 2:
            raise ValueError(
                f"a start structure has {fewest} atoms, wanted two or more, which move against each other: repeat "
                "the cell"
            )
        own = tuple(self.potential.with_masses(atoms) for atoms in self.structures)
        object.__setattr__(self, "structures", own)
        first = self.structures[0]
        for k, atoms in enumerate(self.structures[1:], 2):
            if not same_atoms(first, atoms):
                raise ValueError(
                    f"start structure {k} is {atoms.get_chemical_formula()} in a cell of {atoms.cell.lengths()} Å, the "
                    f"first {first.get_chemical_formula()} in {first.cell.lengths()} Å; one data file holds the same "
                    "atoms in the same cell: make a file for each"
                )
        for number in np.unique(first.numbers):
            masses = first.get_masses()[first.numbers == number]
            if np.ptp(masses) > MASS_TOLERANCE * masses[0]:
                raise ValueError(
                    f"{chemical_symbols[number]} has masses of {masses.min():g} and {masses.max():g} u in one "
                    "structure; one model knows one mass per element"
                )

    @property
    def formula(self) -> str:
        """Chemical formula of the atoms."""
        formula: str = self.structures[0].get_chemical_formula()
        return formula

    def reference(self, timestep_fs: float | None = None, threads: int = 1) -> Reference:
        """A simulation of the system by velocity Verlet.

        Args:
            timestep_fs: time step, fs; None for :func:`default_timestep_fs`.
            threads: CPU threads; results are reproducible to the last bit only on one.

        Raises:
            ValueError: the potential does not give energies and forces for these atoms.
        """
        timestep = timestep_fs or default_timestep_fs(self.structures[0].get_masses())
        return self.potential.reference(list(self.structures), timestep, threads)

    def attributes(self) -> dict[str, Any]:
        """What determines its numbers, as JSON."""
        digest = hashlib.sha256()
        for atoms in self.structures:
            for values in (atoms.numbers, atoms.get_masses(), atoms.pbc, atoms.cell.array, atoms.positions):
                digest.update(np.ascontiguousarray(values).tobytes())
        return {
            "formula": self.formula,
            "structures": len(self.structures),
            "structures_sha256": digest.hexdigest(),
            **self.potential.attributes(),
        }


def same_atoms(first: Atoms, other: Atoms) -> bool:
    """True of two structures of the same atoms in the same cell, which can share a data file."""
    return (
        len(other) == len(first)
        and bool((other.numbers == first.numbers).all() and (other.pbc == first.pbc).all())
        and np.allclose(other.get_masses(), first.get_masses(), rtol=MASS_TOLERANCE)
        and np.allclose(other.cell, first.cell, rtol=0, atol=CELL_TOLERANCE_A)
    )


def same_atoms_together(structures: Sequence[Atoms]) -> list[list[Atoms]]:
    """Structures in groups that can share a data file, in order."""
    groups: list[list[Atoms]] = []
    for atoms in structures:
        group = next((group for group in groups if same_atoms(group[0], atoms)), None)
        if group is None:
            groups.append([atoms])
        else:
            group.append(atoms)
    return groups


def default_timestep_fs(masses: F64) -> float:
    """Time step of velocity Verlet, fs: 0.4 √(m/u) of the lightest atom, rounded down to a power of two, at most 4.

    Some thirty steps of the fastest vibration: 0.25 fs with hydrogen, 1 fs with lithium to oxygen, 2 fs with aluminium
    or copper.
    """
    return float(min(4.0, 2.0 ** np.floor(np.log2(0.4 * np.sqrt(masses.min())))))


def load_structures(sources: Sequence[str], arguments: Mapping[str, Any] | None = None) -> list[Atoms]:
    """Start structures from files or functions.

    Args:
        sources: each a file that :func:`flashmd_rs.read_structure` reads, or ``file.py:name`` or
            ``package.module:name`` of a function that returns ``ase.Atoms`` or a list of them.
        arguments: keyword arguments of functions.

    Raises:
        ValueError: a function returns something else.
        OSError: a file is missing.
    """
    found: list[Atoms] = []
    for source in sources:
        if is_factory(source):
            made = Factory(source, tuple((arguments or {}).items()))()
            several = list(made) if isinstance(made, list | tuple) else [made]
            if not several or not all(isinstance(atoms, Atoms) for atoms in several):
                raise ValueError(f"{source} returns {type(made).__name__}; wanted ase.Atoms, or a list of them")
            found += several
        else:
            found.append(read_structure(source))
    return found


def is_factory(source: str) -> bool:
    """True of ``file.py:name`` and ``package.module:name``, False of the path of a file."""
    path, _, name = source.rpartition(":")
    return bool(path) and name.isidentifier() and not Path(source).exists()


def calculator_potential(
    factory: str,
    arguments: Mapping[str, Any] | None = None,
    description: str | None = None,
) -> Potential:
    """The potential of an ASE calculator.

    Args:
        factory: ``package.module:name`` or ``file.py:name`` of a class or function that returns a calculator.
        arguments: its keyword arguments.
        description: potential in words; None for the factory's name and arguments.
    """
    made = Factory(factory, tuple((arguments or {}).items()))
    with_arguments = ", ".join(f"{k}={v!r}" for k, v in made.arguments)
    return CalculatorPotential(made, description or f"ASE calculator {made.short_name}({with_arguments})")
