"""GRO and PDB through ASE, frame by frame, with what it passes over: elements by names, isotopes, alternate sites."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError
from flashmd_rs.structure_files.elements import ISOTOPES, WITHOUT_MASS, elements_of, is_without_mass, set_elements
from flashmd_rs.structure_files.sources import frame_number

if TYPE_CHECKING:
    import ase

GROMACS, PDB = "gromacs", "proteindatabank"

_GRO_COORDINATE = 8  # characters of a coordinate with three decimals
# Residues whose atoms are named by letters that are no two-letter element: CA is the α-carbon.
_BIOMOLECULES = (
    " ALA ARG ASN ASP ASH CYS CYX CYM GLN GLU GLH GLY HIS HID HIE HIP HSD HSE HSP ILE LEU LYS LYN MET PHE PRO SER THR "
    "TRP TYR VAL ACE NME NMA NH2 A C G U DA DC DG DT ADE CYT GUA THY URA SOL HOH WAT H2O TIP3 TIP4 TIP5 TP3 DOD D2O "
)


def read_gromacs(path: Path, name: str, index: int, with_elements: bool) -> ase.Atoms:
    """Read a frame of a GRO file, which names no elements.

    Raises:
        InputError: it is none, there is no such frame, or a name that is no element's.
    """
    frames = _gro_frames(path.read_text(errors="replace").splitlines(), name)
    lines = frames[frame_number(index, len(frames), name)]
    _check_decimals(lines, name)
    atoms = _read(lines, name, GROMACS)
    if with_elements:
        residues = [(line[:5], line[5:10].strip()) for line in lines[2:-1]]
        labels = atoms.arrays["atomtypes"].tolist()
        set_elements(atoms, _elements(labels, residues, [None] * len(labels), name))
    return atoms


def _gro_frames(lines: list[str], name: str) -> list[list[str]]:
    """The lines of each frame: title, number of atoms, atoms, box."""
    frames, start = [], 0
    while start < len(lines) and any(line.strip() for line in lines[start:]):
        try:
            end = start + 3 + int(lines[start + 1])
        except (ValueError, IndexError):
            raise InputError(
                f"{name} is not a structure that ASE can read: line {start + 2} is not the number of atoms of a GRO "
                "file"
            ) from None
        if end > len(lines):
            raise InputError(f"{name} ends within a frame: wanted {end} lines, got {len(lines)}")
        frames.append(lines[start:end])
        start = end
    return frames


def _check_decimals(lines: list[str], name: str) -> None:
    """ASE takes columns for three decimals; more make them wider."""
    if len(lines) > 3:
        points = [k for k, character in enumerate(lines[2]) if character == "." and k >= 20]
        if len(points) > 1 and points[1] - points[0] != _GRO_COORDINATE:
            decimals = points[1] - points[0] - 5
            raise InputError(f"{name} has {decimals} decimals, which ASE cannot read: write it with 3 (`-ndec 3`)")


def read_pdb(path: Path, name: str, index: int, with_elements: bool) -> ase.Atoms:
    """Read a model of a PDB file.

    Raises:
        InputError: there is no such model, alternate locations, or a name that is no element's.
    """
    frames = _pdb_frames(path.read_text(errors="replace").splitlines())
    lines = frames[frame_number(index, len(frames), name)]
    places = [k for k, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]
    atoms = [lines[k].ljust(80) for k in places]
    _check_sites(atoms, name)
    labels = [line[12:16].strip() for line in atoms]
    residues = [(line[21:27], line[17:21].strip()) for line in atoms]
    written = [_written(line[76:78]) for line in atoms]
    elements = _elements(labels, residues, written, name) if with_elements else ["H"] * len(labels)
    symbols = [ISOTOPES[element][2] if element in ISOTOPES else str(element) for element in elements]
    for k, line, symbol in zip(places, atoms, symbols, strict=True):
        lines[k] = f"{line[:76]}{symbol.upper():>2}{line[78:]}"
    return _read(lines, name, PDB)


def _read(lines: list[str], name: str, kind: str) -> ase.Atoms:
    from ase.io import read

    try:
        return read(StringIO("\n".join(lines) + "\n"), format=kind)  # type: ignore[return-value]
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name} is not a structure that ASE can read: {reason}") from None


def _pdb_frames(lines: list[str]) -> list[list[str]]:
    """The lines of each model; a cell that stands before the first is that of all."""
    cell = next((line for line in lines if line.startswith("CRYST1")), None)
    frames: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("END"):
            frames.append([])
        else:
            frames[-1].append(line)
    full = [frame for frame in frames if any(line.startswith(("ATOM", "HETATM")) for line in frame)]
    if cell is not None:
        full = [frame if any(line.startswith("CRYST1") for line in frame) else [cell, *frame] for frame in full]
    return full


def _written(column: str) -> str | None:
    """The element that a PDB file writes, or isotope of hydrogen; None where it writes none."""
    from ase.data import atomic_numbers

    symbol = column.strip().capitalize()
    return symbol if symbol in atomic_numbers or symbol in ISOTOPES else None


def _check_sites(atoms: list[str], name: str) -> None:
    """Refuse atoms at several places, and say which are there only partly."""
    places: dict[tuple[str, str], set[str]] = {}
    for line in atoms:
        places.setdefault((line[12:16], line[17:27]), set()).add(line[16])
    several = [(atom, sorted(at)) for atom, at in places.items() if len(at) > 1]
    if several:
        (atom, residue), at = several[0]
        raise InputError(
            f"{name} has alternate locations: {atom.strip()} of {' '.join(residue.split())} at {' and '.join(at)}"
            f"{_more(len(several))}: keep one of each, as column 17 names them"
        )
    partly = [line for line in atoms if 0.0 < _number(line[54:60]) < 1.0]
    if partly:
        first = partly[0]
        warn(
            f"{name} has partly occupied sites, which a run takes as whole: {first[12:16].strip()} of "
            f"{' '.join(first[17:27].split())}, occupancy {_number(first[54:60]):g}{_more(len(partly))}"
        )


def _number(column: str) -> float:
    try:
        return float(column)
    except ValueError:
        return 1.0


def _elements(
    labels: Sequence[str], residues: Sequence[tuple[str, str]], written: Sequence[str | None], name: str
) -> list[str]:
    """Elements of atoms as the file writes them, else by their names.

    Raises:
        InputError: a name is no element's.
    """
    by_name = elements_of(labels, residues)
    found = [element or guess for element, guess in zip(written, by_name, strict=True)]
    unknown = [k for k, element in enumerate(found) if element is None]
    if unknown:
        k = unknown[0]
        why = WITHOUT_MASS if is_without_mass(labels[k]) else "which begins with no element's symbol: name it after one"
        raise InputError(f"atom {k} of {name} is {labels[k]!r}{_more(len(unknown))}, {why}")
    doubtful = {
        f"{labels[k]} of {residues[k][1]} as {found[k]}"
        for k in range(len(labels))
        if written[k] is None and f" {residues[k][1]} " not in _BIOMOLECULES and _is_doubtful(labels[k], str(found[k]))
    }
    if doubtful:
        shown = ", ".join(sorted(doubtful)[:4]) + (", …" if len(doubtful) > 4 else "")
        warn(f"{name} names atoms, not elements: {shown} (write the element's symbol as in Na or Cl if it is another)")
    return [str(element) for element in found]


def _is_doubtful(label: str, element: str) -> bool:
    """True if a name was taken for its first letter, and its first two are an element as well."""
    from ase.data import atomic_numbers

    return len(element) == 1 and label[:2].capitalize() in atomic_numbers and label[1:2].isalpha()


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""
