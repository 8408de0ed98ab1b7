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

A file can be cut back to where it once ended, at any time and after any crash: extended XYZ, XTC and DCD by their
length, ``.traj`` and H5MD by the segments that :mod:`flashmd_rs.writers.segmented` describes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flashmd_rs.errors import InputError
from flashmd_rs.writers.appended import AppendedFrames
from flashmd_rs.writers.extxyz import Extxyz
from flashmd_rs.writers.files import OutputLock, check_replaceable, check_writable
from flashmd_rs.writers.frames import FileOffset, FrameReader, FrameWriter, StoredFrame, check_cell_orientation, require
from flashmd_rs.writers.log import LogWriter
from flashmd_rs.writers.segmented import SegmentedFrames
from flashmd_rs.writers.xtc import Xtc

if TYPE_CHECKING:
    import ase

__all__ = [
    "FileOffset",
    "FrameReader",
    "FrameWriter",
    "LogWriter",
    "OutputLock",
    "StoredFrame",
    "check_frames",
    "check_replaceable",
    "check_trajectory_path",
    "check_writable",
    "open_frames",
    "reopen_frames",
]

SUFFIXES = (".extxyz", ".xyz", ".traj", ".h5md", ".xtc", ".dcd")
_LIBRARIES = {".h5md": "h5py", ".xtc": "MDAnalysis", ".dcd": "MDAnalysis"}


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
    return target


def check_frames(path: Path, atoms: ase.Atoms) -> None:
    """Refuse a structure that the format at ``path`` cannot keep.

    Raises:
        InputError: says why.
    """
    if path.suffix.lower() in (".xtc", ".dcd"):
        check_cell_orientation(atoms)


def open_frames(path: Path) -> FrameWriter:
    """A writer for ``path``, by its suffix; an existing file is emptied, segments of an earlier run are removed.

    Raises:
        OSError: the file cannot be written.
    """
    return _open(path, None)


def reopen_frames(path: Path, offset: FileOffset) -> FrameWriter:
    """A writer that goes on after ``offset``; whatever was written later is dropped.

    Args:
        path: the file that an earlier writer left, closed or not.
        offset: what that writer's ``sync()`` or ``offset()`` returned.

    Raises:
        OSError: the file is missing, unreadable, or holds less than that.
    """
    return _open(path, offset if offset["frames"] else None)


def _open(path: Path, offset: FileOffset | None) -> FrameWriter:
    # Libraries of a format are imported with it.
    match path.suffix.lower():
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
