"""Frames, and the writers and readers of them that every format has."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flashmd_rs._structure import F64
from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase

FileOffset = dict[str, int]


@dataclass(frozen=True)
class StoredFrame:
    """What a file keeps of a frame.

    Attributes:
        positions: [N,3], Å, unwrapped.
        momenta: [N,3], √(eV·u); None where the format has no place for them.
        cell: [3,3], Å.
    """

    positions: F64
    momenta: F64 | None
    cell: F64


class FrameReader(Protocol):
    """Frames of a finished file."""

    def read(self, index: int) -> StoredFrame:
        """Frame ``index`` of those that the writer wrote since it was opened."""


class FrameWriter(Protocol):
    """Takes frames one by one."""

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""

    def offset(self) -> FileOffset:
        """Where the trajectory ends; ``reopen_frames`` cuts it back to there."""

    def sync(self) -> FileOffset:
        """The same, once everything before it is safely on disk."""

    def close(self) -> None:
        """Finish the file."""

    def reader(self) -> FrameReader:
        """Reads back what was written; for a closed writer."""


def require(module: str, suffix: str) -> None:
    """Make sure that the library of a format is there.

    Raises:
        InputError: it is not.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{suffix} needs {module}: pip install {module} ({error})") from None


def step_and_time(atoms: ase.Atoms) -> tuple[int, float]:
    """Stride and simulated time (ps) of a frame, zero where it has none."""
    return int(atoms.info.get("step", 0)), float(atoms.info.get("time_ps", 0.0))


def check_cell_orientation(atoms: ase.Atoms) -> None:
    """Refuse a cell that lengths and angles cannot describe, as readers of XTC and DCD take them.

    Raises:
        InputError: a is not along x, or b not in the xy plane.
    """
    cell = atoms.cell.array
    upper = max(abs(cell[0, 1]), abs(cell[0, 2]), abs(cell[1, 2]))
    if upper > 1e-6 * abs(cell).max() or cell.diagonal().min() < 0.0:
        raise InputError(
            f"XTC and DCD want cell vector a along x and b in the xy plane, got the cell {cell.tolist()} Å: turn the "
            "structure, or write .extxyz, .traj or .h5md"
        )
