"""What of a structure travels in a file: every format is tried on the structure itself, before it is needed.

A structure carries labels of any kind: ``info``, arrays beside positions and momenta, constraints, a displacement of
its cell. What a format gives back as it was goes into the file; the rest is left out by name, so that a label never
makes a file that nobody can read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._labels import FRAME_INFO
from flashmd_rs.errors import FlashMDError, InputError

if TYPE_CHECKING:
    import ase

STATE = frozenset(("numbers", "positions", "momenta", "masses"))  # arrays that are more than labels

# Kind and name of a label: ("info", key), ("arrays", name), ("constraint", class) or ("celldisp", "").
Item = tuple[str, Any]
ReadBack = Callable[["ase.Atoms"], "ase.Atoms"]


@dataclass(frozen=True)
class Precision:
    """How exactly a format gives back positions and momenta.

    Attributes:
        absolute: in the units of the numbers.
        relative: to the largest of them.
    """

    absolute: float = 0.0
    relative: float = 0.0

    def holds(self, expected: Any, found: Any) -> bool:
        """True if numbers came back."""
        expected, found = np.asarray(expected), np.asarray(found)
        if expected.shape != found.shape:
            return False
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        slack = self.absolute + self.relative * largest
        return bool(np.allclose(found, expected, rtol=1e-15, atol=slack, equal_nan=True))


@dataclass(frozen=True)
class LeftOut:
    """Labels that a format cannot keep."""

    items: tuple[Item, ...] = ()

    def names(self) -> list[str]:
        """The labels as a program would write them."""
        return [f"{kind}[{name!r}]" if kind in ("info", "arrays") else str(name or kind) for kind, name in self.items]

    def of(self, atoms: ase.Atoms) -> ase.Atoms:
        """The structure without them, with its calculator; the same object where there are none."""
        return _without(atoms, self.items) if self.items else atoms


def left_out(atoms: ase.Atoms, read_back: ReadBack, precision: Precision | None = None) -> LeftOut:
    """Find what of a structure does not come back.

    Args:
        atoms: as it will be written.
        read_back: writes a structure and reads it again; may raise anything.
        precision: of the numbers that are not exact.

    Raises:
        InputError: the structure itself does not come back, whatever is left out.
    """
    precision = precision or Precision()
    items = _items(atoms)
    changed = _tried(atoms, read_back, precision)
    if changed is not None:
        # What merely came back different or not at all does no harm to the rest, if there is any.
        others = 0 < len(changed) < len(items)
        if not others or _tried(_without(atoms, changed), read_back, precision) == []:
            return LeftOut(tuple(changed))
    bare = _without(atoms, items)
    if _tried(bare, read_back, precision) is None:
        _refuse(bare, read_back)
    kept: list[Item] = []
    for item in items:
        trial = _without(atoms, [other for other in items if other not in (*kept, item)])
        if _tried(trial, read_back, precision) == []:
            kept.append(item)
    return LeftOut(tuple(item for item in items if item not in kept))


def _refuse(bare: ase.Atoms, read_back: ReadBack) -> None:
    """Say why a structure without any label does not come back."""
    try:
        read_back(bare)
    except FlashMDError:
        raise
    except Exception as error:
        raise InputError(f"the structure cannot be written ({type(error).__name__}: {error})") from None
    raise InputError("atoms, cell or momenta of the structure are not the same when they are read back")


def _tried(atoms: ase.Atoms, read_back: ReadBack, precision: Precision) -> list[Item] | None:
    """The labels that did not come back; None if the structure itself did not, or came with labels it never had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries say what they skip; it is found and said here
            found = read_back(atoms)
    except Exception:
        return None
    had = set(_items(atoms))
    if not _same_state(atoms, found, precision) or not had.issuperset(_items(found)):
        return None
    return [item for item in _items(atoms) if not _came_back(item, atoms, found, precision)]


def _items(atoms: ase.Atoms) -> list[Item]:
    items: list[Item] = [("info", key) for key in atoms.info if key not in FRAME_INFO]
    items += [("arrays", name) for name in atoms.arrays if name not in STATE]
    items += [("constraint", name) for name in dict.fromkeys(type(c).__name__ for c in atoms.constraints)]
    return items + ([("celldisp", "")] if atoms.get_celldisp().any() else [])


def _without(atoms: ase.Atoms, items: Iterable[Item]) -> ase.Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    rest: ase.Atoms = atoms.copy()
    for kind, name in items:
        match kind:
            case "info":
                rest.info.pop(name, None)
            case "arrays":
                rest.arrays.pop(name, None)
            case "constraint":
                rest.constraints = [c for c in rest.constraints if type(c).__name__ != name]
            case _:
                rest.set_celldisp((0.0, 0.0, 0.0))
    rest.calc = atoms.calc
    if isinstance(atoms.calc, SinglePointCalculator):
        rest.calc = SinglePointCalculator(rest, **atoms.calc.results)  # its results are of one structure only
    return rest


def _same_state(expected: ase.Atoms, found: ase.Atoms, precision: Precision) -> bool:
    """True if atoms, cell, momenta, energy, step and time came back."""
    if not np.array_equal(expected.numbers, found.numbers) or not np.array_equal(expected.pbc, found.pbc):
        return False
    if any(expected.info.get(key) != found.info.get(key) for key in FRAME_INFO):
        return False
    pairs = [(expected.positions, found.positions), (expected.get_masses(), found.get_masses())]
    if expected.has("momenta"):
        pairs.append((expected.arrays["momenta"], found.get_momenta()))
    exact = Precision(relative=precision.relative)
    cell = exact.holds(expected.cell.array, found.cell.array)
    return cell and all(precision.holds(*pair) for pair in pairs) and _energy(expected) == _energy(found)


def _energy(atoms: ase.Atoms) -> Any:
    return None if atoms.calc is None else atoms.calc.results.get("energy")


def _came_back(item: Item, expected: ase.Atoms, found: ase.Atoms, precision: Precision) -> bool:
    kind, name = item
    try:
        match kind:
            case "info":
                return name in found.info and _same(expected.info[name], found.info[name])
            case "arrays":
                return name in found.arrays and _same_array(expected.arrays[name], found.arrays[name], precision)
            case "constraint":
                return bool(_constraints(expected, name) == _constraints(found, name))
            case _:
                return bool(np.array_equal(expected.get_celldisp(), found.get_celldisp()))
    except Exception:  # comparing somebody else's objects may raise anything
        return False


def _same_array(expected: Any, found: Any, precision: Precision) -> bool:
    if expected.dtype.kind == found.dtype.kind == "f":
        return precision.holds(expected, found)
    return bool(expected.shape == found.shape and _same(expected, found))


def _same(expected: Any, found: Any) -> bool:
    """True if two labels say the same; sequences may be of another type."""
    if isinstance(expected, dict) or isinstance(found, dict):
        both = isinstance(expected, dict) and isinstance(found, dict)
        return both and expected.keys() == found.keys() and all(_same(expected[k], found[k]) for k in expected)
    if _is_row(expected) or _is_row(found):
        if not (_is_row(expected) and _is_row(found) and len(expected) == len(found)):
            return False
        if isinstance(expected, np.ndarray) and isinstance(found, np.ndarray) and expected.dtype == found.dtype:
            return bool(np.array_equal(expected, found, equal_nan=expected.dtype.kind == "f"))
        return all(_same(*pair) for pair in zip(expected, found, strict=True))
    one, other = _plain(expected), _plain(found)
    equal = one == other or (one != one and other != other)  # or both not a number
    return type(one) is type(other) and bool(equal)


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _plain(value: Any) -> Any:
    """A number, text or truth as Python has it, whatever numpy type it came in."""
    if isinstance(value, np.floating) and value.dtype != float:
        return float(str(value))  # as it is written: the shortest decimal that means this number
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _constraints(atoms: ase.Atoms, name: str) -> Any:
    """What the constraints of a class hold."""
    found = [c for c in atoms.constraints if type(c).__name__ == name]
    if name == "FixAtoms":
        return sorted({int(k) for c in found for k in np.atleast_1d(c.index)})
    return [c.todict() for c in found]
