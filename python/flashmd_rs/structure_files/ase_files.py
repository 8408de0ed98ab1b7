"""Files that ASE reads: their format, and its errors as sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError
from flashmd_rs.structure_files.elements import ISOTOPES, WITHOUT_MASS, element_of, is_without_mass
from flashmd_rs.structure_files.sources import frame_number

if TYPE_CHECKING:
    import ase

XYZ = ("extxyz", "xyz")

# Keys under which frames say their time, and their unit in fs; GPUMD and QUIP write fs without a unit in the name.
_TIME_KEYS = {"Time": 1.0, "time": 1.0, "time_ps": 1000.0, "time_fs": 1.0}

# The beginning of a line of an XYZ file: an isotope of hydrogen, before a position.
_ISOTOPE = re.compile(r"^(\s*)([DT])(?=(?:\s+[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?){3}(?:\s|$))", re.MULTILINE)


def ase_format(file: Path, name: str) -> str:
    """The format of a file as ASE calls it, by its name and what is in it.

    Raises:
        InputError: neither says one.
    """
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        kind = filetype(str(file))
    except UnknownFileTypeError:
        kind = None
    if kind not in ioformats:
        raise InputError(
            f"{name} is not a structure that ASE can read: neither its suffix nor its contents say a format; give "
            "format (--format)"
        )
    return kind


def known_format(word: str) -> str:
    """A format of ASE by its name, or by a suffix that stands for it.

    Raises:
        InputError: there is none.
    """
    from ase.io.formats import extension2format, ioformats

    if word in ioformats:
        return word
    if word in extension2format:
        return str(extension2format[word].name)
    raise InputError(f"got the format {word!r}, which is none of ASE's (`ase info --formats` lists them)")


def read_with_ase(file: Path, name: str, index: int, kind: str, **options: Any) -> ase.Atoms:
    """Read a frame.

    Args:
        file: what is read.
        name: what messages call it.
        index: of the frame.
        kind: the format as ASE calls it.
        options: of ASE's reader.

    Raises:
        InputError: ASE cannot read it, or there is no such frame.
        OSError: the file is not readable.
    """
    from ase.io.formats import ioformats

    if ioformats[kind].single:
        index = frame_number(index, 1, name) - 1
    options |= {"format": kind, "do_not_split_by_at_sign": True}
    if kind in XYZ:
        _warn_of_unnamed_columns(file, name)
    try:
        try:
            return _read_frame(lambda: str(file), name, index, options)
        except KeyError as error:
            if kind not in XYZ or error.args[0] not in ISOTOPES:
                raise
            text = _ISOTOPE.sub(lambda line: line[1] + ISOTOPES[line[2]][2], file.read_text())
            return _read_frame(lambda: StringIO(text), name, index, options)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(_reason(error, file, name)) from None


def read_all_with_ase(file: Path, name: str, kind: str, **options: Any) -> list[ase.Atoms]:
    """All frames; times (fs) as ``info["time_fs"]`` where the file says them.

    Args:
        file: what is read.
        name: what messages call it.
        kind: the format as ASE calls it.
        options: of ASE's reader.

    Raises:
        InputError: ASE cannot read it, or it has no frame.
        OSError: the file is not readable.
    """
    from ase.io import iread

    try:
        frames = list(iread(str(file), index=":", format=kind, do_not_split_by_at_sign=True, **options))
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(_reason(error, file, name)) from None
    if not frames:
        raise InputError(f"{name} holds no structure")
    for atoms in frames:
        for key, in_fs in _TIME_KEYS.items():
            if isinstance(time := atoms.info.get(key), Real):
                atoms.info["time_fs"] = in_fs * float(time)
    return frames


def _read_frame(opened: Callable[[], Any], name: str, index: int, options: dict[str, Any]) -> ase.Atoms:
    from ase.io import iread, read

    def check_index() -> None:
        frame_number(index, sum(1 for _ in iread(opened(), index=":", **options)), name)

    if index < -1:  # ASE takes the first frame where there are not so many
        check_index()
    try:
        return read(opened(), index=index, **options)  # type: ignore[return-value]
    except (StopIteration, IndexError):
        check_index()
        raise


def _warn_of_unnamed_columns(file: Path, name: str) -> None:
    """Say where a plain XYZ file may hold velocities, which no reader knows of."""
    with file.open(errors="replace") as lines:
        head = list(islice(lines, 3))
    columns = len(head[2].split()) if len(head) == 3 else 0
    if columns >= 7 and "Properties" not in head[1]:
        warn(
            f"{name} has {columns} columns without names, of which the first four are read: velocities, if it has any, "
            "are not; name its columns (Properties=… of extended XYZ) to have them read"
        )


def _reason(error: Exception, file: Path, name: str) -> str:
    """Why ASE could not read a file."""
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        found = _find_word(file, error.args[0])
        if found is not None:
            return _no_symbol(*found, name)
    reason = " ".join(str(error).split()) or f"it raised {type(error).__name__}"
    return f"{name} is not a structure that ASE can read: {reason}"


def _find_word(file: Path, word: str) -> tuple[str, int] | None:
    """A word as the file writes it, and its line."""
    pattern = re.compile(rf"(?<!\S){re.escape(word)}(?!\S)", re.IGNORECASE)
    with file.open(errors="replace") as lines:
        return next(((match[0], k) for k, line in enumerate(lines, 1) if (match := pattern.search(line))), None)


def _no_symbol(label: str, line: int, name: str) -> str:
    from ase.data import chemical_symbols

    where = f"line {line} of {name} has {label!r}"
    if is_without_mass(label):
        return f"{where}, {WITHOUT_MASS}"
    if label.upper() in ISOTOPES:
        what, mass, _ = ISOTOPES[label.upper()]
        return f"{where}, {what}, for which ASE has no symbol: write H, and its mass, {mass:.3f} u, as masses"
    if label.isdigit() and 0 < int(label) < len(chemical_symbols):
        return f"{where}, which is no chemical symbol: write {chemical_symbols[int(label)]} if it is an atomic number"
    guess = element_of(label, alone=False)
    return f"{where}, which is no chemical symbol" + (f": write {guess} if that is what it is" if guess else "")
