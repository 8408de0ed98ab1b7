"""Trajectories that grow by appending, frame by frame: extended XYZ, XTC, DCD."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flashmd_rs.writers.files import AppendedFile
from flashmd_rs.writers.frames import FileOffset, StoredFrame

if TYPE_CHECKING:
    import ase


class Codec(Protocol):
    """How a format writes and reads one frame."""

    def head(self, atoms: ase.Atoms) -> bytes:
        """What comes before the first frame."""

    def encode(self, atoms: ase.Atoms) -> bytes:
        """A frame as bytes that depend on nothing but the frame."""

    def decode(self, data: bytes) -> StoredFrame:
        """The frame again."""


class AppendedFrames:
    """Writes one frame after the other; the same frames are the same bytes, however often the file was reopened.

    Args:
        path: file to empty, or, with ``offset``, to cut back.
        codec: the format.
        offset: what :meth:`offset` returned.

    Raises:
        OSError: the file cannot be written, or is shorter than the offset says.
    """

    def __init__(self, path: Path, codec: Codec, offset: FileOffset | None = None) -> None:
        self._path, self._codec = path, codec
        self._file = AppendedFile(path, "trajectory", offset["end"] if offset else None)
        self._frames = offset["frames"] if offset else 0
        self._starts = array("q")

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""
        head = b"" if self._frames else self._codec.head(atoms)
        start = self._file.end + len(head)
        self._file.append(head + self._codec.encode(atoms))
        self._starts.append(start)
        self._frames += 1

    def offset(self) -> FileOffset:
        """Number of frames and bytes."""
        return {"frames": self._frames, "end": self._file.end}

    def sync(self) -> FileOffset:
        """The offset, once everything before it is safely on disk."""
        self._file.sync()
        return self.offset()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def reader(self) -> AppendedReader:
        """Reads back what was written since the file was opened."""
        return AppendedReader(self._path, self._codec, self._starts, self._file.end)


@dataclass(frozen=True)
class AppendedReader:
    """Frames at known places of a file."""

    path: Path
    codec: Codec
    starts: array[int]
    end: int

    def read(self, index: int) -> StoredFrame:
        """Read one frame.

        Raises:
            OSError: the file cannot be read.
        """
        start = self.starts[index]
        stop = self.starts[index + 1] if index + 1 < len(self.starts) else self.end
        with self.path.open("rb") as file:
            file.seek(start)
            return self.codec.decode(file.read(stop - start))
