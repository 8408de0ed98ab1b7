"""ASE's binary ``.traj``: every bit of a frame, with its energy and the structure's other arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

from flashmd_rs.writers.files import StagedFile
from flashmd_rs.writers.frames import StoredFrame

if TYPE_CHECKING:
    import ase


class TrajSegment:
    """One file; its table of frames reaches the disk together with each whole frame."""

    def __init__(self, path: Path) -> None:
        self._file = StagedFile(path)
        self._writer = TrajectoryWriter(self._file, "w")

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame; a failed one leaves the file as it was, and ends it."""
        try:
            self._writer.write(atoms)
            self._file.commit()
        except BaseException:
            self._file.abandon()
            raise

    def copy(self, path: Path, frames: int) -> None:
        """Append the first frames of another file."""
        with TrajectoryReader(str(path)) as source:
            for index in range(frames):
                self.write(source[index])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @staticmethod
    def count(path: Path) -> int:
        """Number of frames in a file."""
        with TrajectoryReader(str(path)) as source:
            return len(source)

    @staticmethod
    def read(path: Path, index: int) -> StoredFrame:
        """One frame of a file."""
        with TrajectoryReader(str(path)) as source:
            atoms = source[index]
        return StoredFrame(atoms.positions, atoms.get_momenta() if atoms.has("momenta") else None, atoms.cell.array)
