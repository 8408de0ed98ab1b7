"""Files a run writes as it goes: frames and a log. A reader never meets half a frame, and memory never holds more.

========  =========================================  ================================  ==========
suffix    keeps                                      precision                         needs
========  =========================================  ================================  ==========
.extxyz   positions, momenta, cell, energy, time     eight decimals
.xyz      the same
.traj     the same, as ASE keeps them                every bit
.h5md     positions, velocities, cell, energy, time  every bit (momenta: round-off)    ``[h5md]``
.xtc      positions, cell, time                      0.01 Å                            ``[xtc]``
.dcd      positions, cell; times evenly spaced       single                            ``[xtc]``
========  =========================================  ================================  ==========

Those that keep the energy also keep the pressure and, where :class:`flashmd_rs.options.Output` asks for it, the stress.

What a structure carries besides (labels, other arrays, constraints) goes into the file where the format gives it back
as it was: :mod:`flashmd_rs.writers.baggage`.

A file can be cut back to where it once ended, at any time and after any crash: extended XYZ, XTC and DCD by their
length, ``.traj`` and H5MD by the segments that :mod:`flashmd_rs.writers.segmented` describes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from flashmd_rs._labels import FRAME_INFO
from flashmd_rs.errors import InputError
from flashmd_rs.writers.appended import AppendedFrames
from flashmd_rs.writers.baggage import LeftOut, Precision, left_out
from flashmd_rs.writers.extxyz import Extxyz
from flashmd_rs.writers.files import OutputLock, check_replaceable, check_writable
from flashmd_rs.writers.frames import FileOffset, FrameReader, FrameWriter, StoredFrame, require
from flashmd_rs.writers.log import LogWriter
from flashmd_rs.writers.memory import memory_file
from flashmd_rs.writers.segmented import SegmentedFrames, check_segments
from flashmd_rs.writers.xtc import Xtc

if TYPE_CHECKING:
    import ase

__all__ = [
    "FileOffset",
    "FrameReader",
    "FrameWriter",
    "LeftOut",
    "LogWriter",
    "OutputLock",
    "StoredFrame",
    "check_replaceable",
    "check_trajectory_path",
    "check_writable",
    "labels_left_out",
    "last_good_file",
    "open_frames",
    "reopen_frames",
    "write_frames",
]

SUFFIXES = (".extxyz", ".xyz", ".traj", ".h5md", ".xtc", ".dcd")
_LIBRARIES = {".h5md": "h5py", ".xtc": "MDAnalysis", ".dcd": "MDAnalysis"}
_READ_BY_ASE = {".extxyz": "extxyz", ".xyz": "extxyz", ".traj": "traj"}
_SEGMENTED = (".traj", ".h5md")
_PRECISION = {
    ".extxyz": Precision(absolute=5.1e-9),
    ".xyz": Precision(absolute=5.1e-9),
    ".traj": Precision(),
    ".h5md": Precision(relative=1e-12),
    ".xtc": Precision(absolute=0.0051, relative=1e-6),
    ".dcd": Precision(relative=1e-6),
}


def check_trajectory_path(path: str | os.PathLike[str]) -> Path:
    """A path that frames can be written to; nothing is created or emptied yet.

    Raises:
        InputError: a suffix other than those above, or one whose library is not installed.
        OSError: the file or its folder cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        wanted = ", ".join(SUFFIXES)
        raise InputError(f"trajectory {os.fspath(path)!r} ends in {target.suffix!r}: wanted one of {wanted}")
    if suffix in _LIBRARIES:
        require(_LIBRARIES[suffix], suffix)
    check_writable(target, "trajectory")
    if suffix in _SEGMENTED:
        check_segments(target)
        check_replaceable(target, "trajectory")
    return target


def labels_left_out(path: Path, frame: ase.Atoms) -> LeftOut:
    """What the format at ``path`` cannot keep of a frame: one is written, in memory, and read again as users will.

    Raises:
        InputError: the format cannot keep the structure at all; says why.
    """
    suffix = path.suffix.lower()

    def read_back(atoms: ase.Atoms) -> ase.Atoms:
        with memory_file() as (name, _):
            writer = _open(Path(name), suffix, None)
            try:
                writer.write(atoms)
            finally:
                writer.close()
            return _read(name, suffix, writer, atoms)

    try:
        found = left_out(frame, read_back, _PRECISION[suffix])
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    repeats = frame.cell.any(axis=1)
    if suffix in (".xtc", ".dcd") and (frame.pbc != repeats).any():
        # Their readers take a structure to repeat along every cell vector.
        return LeftOut((*found.items, ("pbc", "")))
    return found


def _read(name: str, suffix: str, writer: FrameWriter, atoms: ase.Atoms) -> ase.Atoms:
    """The frame that was written; formats that ASE does not read keep no labels."""
    import ase.io

    if suffix in _READ_BY_ASE:
        return next(ase.io.iread(name, format=_READ_BY_ASE[suffix]))
    if suffix == ".h5md":
        from flashmd_rs.writers.h5md import H5mdSegment

        state = H5mdSegment.read(io.BytesIO(Path(name).read_bytes()), 0)  # HDF5 opens no file in memory by its name
    else:
        state = writer.reader().read(0)
    found = ase.Atoms(atoms.numbers, state.positions, masses=atoms.get_masses(), cell=state.cell, pbc=atoms.pbc)
    found.info.update({key: atoms.info[key] for key in FRAME_INFO if key in atoms.info})
    found.calc = atoms.calc
    if atoms.has("momenta"):
        found.set_momenta(atoms.get_momenta() if state.momenta is None else state.momenta)
    return found


def open_frames(path: Path) -> FrameWriter:
    """A writer for ``path``, by its suffix; an existing file is emptied, segments of an earlier run are removed.

    Raises:
        OSError: the file cannot be written.
    """
    return _open(path, path.suffix.lower(), None)


def reopen_frames(path: Path, offset: FileOffset) -> FrameWriter:
    """A writer that goes on after ``offset``; whatever was written later is dropped.

    Args:
        path: the file that an earlier writer left, closed or not.
        offset: what that writer's ``sync()`` or ``offset()`` returned.

    Raises:
        OSError: the file is missing, unreadable, or holds less than that.
    """
    return _open(path, path.suffix.lower(), offset if offset["frames"] else None)


def write_frames(path: Path, frames: Iterable[ase.Atoms], what: str) -> None:
    """Write a whole file, by its suffix, unless a run is writing it.

    Raises:
        OSError: the file cannot be written; an existing one is as it was if it was never opened.
    """
    lock = OutputLock(path, what)
    try:
        writer = open_frames(path)
        try:
            for frame in frames:
                writer.write(frame)
        finally:
            writer.close()
    finally:
        lock.close()


def last_good_file(trajectory: Path) -> Path:
    """Where the last good frame of a run that fails is saved."""
    return trajectory.with_name(f"{trajectory.stem}.last_good.extxyz")


def _open(path: Path, suffix: str, offset: FileOffset | None) -> FrameWriter:
    # Libraries of a format are imported with it.
    match suffix:
        case ".traj":
            from flashmd_rs.writers.traj import TrajSegment

            return SegmentedFrames(path, TrajSegment, offset)
        case ".h5md":
            from flashmd_rs.writers.h5md import H5mdSegment

            return SegmentedFrames(path, H5mdSegment, offset)
        case ".xtc":
            return AppendedFrames(path, Xtc(), offset)
        case ".dcd":
            from flashmd_rs.writers.dcd import DcdFrames

            return DcdFrames(path, offset)
        case _:
            return AppendedFrames(path, Extxyz(), offset)
