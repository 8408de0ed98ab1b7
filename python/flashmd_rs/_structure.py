"""From ``ase.Atoms`` to checked arrays, and back."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashmd_rs._labels import drop_stale
from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase

F64 = NDArray[np.float64]

# The core's bound.
_LARGEST_CELL = 1e9


@dataclass(frozen=True)
class Geometry:
    """Where the atoms are, checked.

    Attributes:
        positions: [N,3], Å.
        masses: [N], u.
        numbers: [N], atomic numbers.
        cell: [3,3], rows are the cell vectors, Å.
        pbc: [3], which of them repeat.
    """

    positions: F64
    masses: F64
    numbers: NDArray[np.int64]
    cell: F64
    pbc: NDArray[np.bool_]


def geometry(atoms: ase.Atoms) -> Geometry:
    """Check a structure and take its arrays.

    Raises:
        InputError: not an ``ase.Atoms``, no atoms, a number that is not finite, a mass that is not positive, or a
            periodic axis without a cell vector.
    """
    check_is_atoms(atoms)
    if len(atoms) == 0:
        raise InputError("the structure has no atoms")
    positions = _array(atoms.positions)
    masses = _array(atoms.get_masses())
    cell = _array(atoms.cell.array)
    pbc = np.array(atoms.pbc, dtype=bool)
    _check_finite(positions, "position", "Å")
    if not np.all(np.isfinite(cell)):
        raise InputError(f"the cell holds a number that is not finite: {cell.tolist()} Å")
    _check_masses(masses, atoms)
    _check_cell(cell, pbc)
    return Geometry(positions, masses, np.array(atoms.numbers, dtype=np.int64), cell, pbc)


def momenta(atoms: ase.Atoms) -> F64 | None:
    """Momenta [N,3] in √(eV·u), checked; None if the structure has none.

    Raises:
        InputError: one of them is not finite.
    """
    if not atoms.has("momenta"):
        return None
    values = _array(atoms.get_momenta())
    _check_finite(values, "momentum", "√(eV·u)")
    return values


@dataclass(frozen=True)
class Constraints:
    """The ASE constraints of a structure that a run can honour.

    Attributes:
        fixed: [N], True for atoms that never move (``FixAtoms``).
        centre_of_mass: the centre of mass stays where it is (``FixCom``).
    """

    fixed: NDArray[np.bool_]
    centre_of_mass: bool


def constraints(atoms: ase.Atoms) -> Constraints:
    """Read the constraints of a structure.

    Raises:
        InputError: names those that a learned stride cannot honour; or every atom is fixed.
    """
    from ase.constraints import FixAtoms, FixCom

    fixed = np.zeros(len(atoms), dtype=bool)
    others = [c for c in atoms.constraints if not isinstance(c, FixAtoms | FixCom)]
    if others:
        names = ", ".join(sorted({type(constraint).__name__ for constraint in others}))
        raise InputError(
            f"the structure carries ASE constraints ({names}), which a learned stride cannot honour: "
            "remove them with `del atoms.constraints`, or use FixAtoms or FixCom"
        )
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            fixed[constraint.index] = True
    centre_of_mass = any(isinstance(constraint, FixCom) for constraint in atoms.constraints)
    if fixed.all():
        raise InputError("every atom of the structure is fixed: leave at least one free to move")
    if fixed.any() and centre_of_mass:
        raise InputError("the structure carries both FixAtoms and FixCom, which contradict each other: keep one")
    return Constraints(fixed, centre_of_mass)


def check_unconstrained(atoms: ase.Atoms) -> None:
    """Refuse ASE constraints where nothing keeps them.

    Raises:
        InputError: names the constraints.
    """
    if atoms.constraints:
        names = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise InputError(
            f"the structure carries ASE constraints ({names}), which a bare stride does not honour: "
            "remove them with `del atoms.constraints`, or use rollout"
        )


def with_state(atoms: ase.Atoms, positions: F64, momenta: F64 | None, cell: F64 | None = None) -> ase.Atoms:
    """A copy of ``atoms`` in another state, without its calculator and without what was true of the old one.

    Args:
        atoms: what is copied.
        positions: [N,3], Å.
        momenta: [N,3], √(eV·u), or None for none.
        cell: [3,3], Å, or None for that of ``atoms``.
    """
    frame: ase.Atoms = atoms.copy()
    frame.info = {key: _own(value) for key, value in frame.info.items()}
    drop_stale(frame)
    frame.arrays["positions"] = _array(positions)
    if momenta is None:
        frame.arrays.pop("momenta", None)
    else:
        # The core has honoured the constraints; ASE's set_momenta would project a second time, and round to the
        # numbers that were there, which a file may have given as integers.
        frame.arrays["momenta"] = _array(momenta)
    if cell is not None:
        frame.set_cell(cell)
    return frame


def _own(value: Any) -> Any:
    """A copy of a label that shares nothing with it, where that can be had."""
    try:
        return deepcopy(value)
    except Exception:  # whatever somebody else's object raises
        return value


def check_is_atoms(atoms: object) -> None:
    """Raise InputError unless ``atoms`` is an ``ase.Atoms``."""
    import ase

    if not isinstance(atoms, ase.Atoms):
        raise InputError(f"got {type(atoms).__name__} for atoms, wanted one ase.Atoms")


def check_same_atoms(atoms: ase.Atoms, known: ase.Atoms) -> None:
    """Refuse a structure whose atoms, masses or constraints are not those of ``known``, in the same order.

    Raises:
        InputError: it is another.
    """
    check_is_atoms(atoms)
    if len(atoms) != len(known) or not np.array_equal(atoms.numbers, known.numbers):
        raise InputError(
            f"got {atoms.get_chemical_formula()}, the run moves {known.get_chemical_formula()}: wanted the same atoms "
            "in the same order"
        )
    _check_finite(_array(atoms.positions), "position", "Å")
    momenta(atoms)
    if not np.array_equal(atoms.pbc, known.pbc):
        raise InputError(f"got pbc={atoms.pbc.tolist()}, in the run {known.pbc.tolist()}: keep what is periodic")
    masses, wanted = atoms.get_masses(), known.get_masses()
    if not np.array_equal(masses, wanted):
        k = int(np.flatnonzero(masses != wanted)[0])
        raise InputError(
            f"the mass of atom {k} ({atoms.symbols[k]}) is {masses[k]} u, in the run {wanted[k]} u: wanted the same"
        )
    if atoms.constraints or known.constraints:
        now, before = constraints(atoms), constraints(known)
        if not np.array_equal(now.fixed, before.fixed) or now.centre_of_mass != before.centre_of_mass:
            raise InputError("the atoms carry other constraints than at the start of the run: wanted the same")


def _array(values: object) -> F64:
    return np.array(values, dtype=np.float64, order="C")


def _check_finite(values: F64, what: str, unit: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        more = f" (and {bad.size - 1} more)" if bad.size > 1 else ""
        raise InputError(
            f"the {what} of atom {bad[0]} is {values[bad[0]].tolist()} {unit}{more}: wanted finite numbers"
        )


def _check_masses(masses: F64, atoms: ase.Atoms) -> None:
    bad = np.flatnonzero(~(np.isfinite(masses) & (masses > 0)))
    if bad.size:
        k = int(bad[0])
        raise InputError(f"the mass of atom {k} ({atoms.symbols[k]}) is {masses[k]} u: wanted a positive number")


def _check_cell(cell: F64, pbc: NDArray[np.bool_]) -> None:
    if np.any(np.abs(cell) > _LARGEST_CELL):
        raise InputError(f"the cell holds a number beyond {_LARGEST_CELL:g} Å: {cell.tolist()}")
    periodic = cell[pbc]
    lengths = np.linalg.norm(periodic, axis=1)
    if np.any(lengths == 0.0):
        axis = "abc"[int(np.flatnonzero(pbc)[int(np.argmin(lengths))])]
        raise InputError(
            f"axis {axis} is periodic (pbc={pbc.tolist()}) but its cell vector is zero: set the cell, or pbc=False"
        )
    if len(periodic) and np.linalg.matrix_rank(periodic / lengths[:, None], tol=1e-8) < len(periodic):
        raise InputError(f"the cell vectors of the periodic axes are linearly dependent: {cell.tolist()} Å")
