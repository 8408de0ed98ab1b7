"""Trajectories of formats that cannot be cut back: a new segment begins after each sync, and close joins them.

The first segment is the file itself, ``run.h5md``; those after a sync are ``run.segment-1.h5md``,
``run.segment-2.h5md`` and so on, each a whole file of its format. A segment that was synced is never written to again.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flashmd_rs.errors import InputError
from flashmd_rs.writers.files import not_what_was_left, sync, sync_folder
from flashmd_rs.writers.frames import FileOffset, StoredFrame

if TYPE_CHECKING:
    import ase


class Segment(Protocol):
    """One new file of a format, and what can be asked of a closed one."""

    def __init__(self, path: Path) -> None: ...

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""

    def copy(self, path: Path, frames: int) -> None:
        """Append the first frames of another file."""

    def close(self) -> None:
        """Close the file."""

    @staticmethod
    def count(path: Path) -> int:
        """Number of frames in a file."""

    @staticmethod
    def read(path: Path, index: int) -> StoredFrame:
        """One frame of a file."""


class SegmentedFrames:
    """Writes frames into segments.

    Args:
        path: file to empty, or, with ``offset``, to go on with.
        kind: the format.
        offset: what :meth:`sync` returned.

    Raises:
        OSError: the files cannot be written, or hold other frames than were synced.
    """

    def __init__(self, path: Path, kind: type[Segment], offset: FileOffset | None = None) -> None:
        self._path, self._kind = path, kind
        self._before = self._frames = offset["frames"] if offset else 0
        self._parts = self._synced_parts(self._frames) if offset else []
        for stale in _segments(path):
            if stale not in self._parts:
                stale.unlink()
        self._segment: Segment | None = None
        self._written = 0  # frames in the open segment
        self._failed = False
        if not self._parts:
            self._begin()

    def _synced_parts(self, frames: int) -> list[Path]:
        """The segments that hold exactly the frames up to the offset.

        A file whose segments were joined holds all of them, and perhaps later ones, which are cut off.
        """
        parts: list[Path] = []
        held = 0
        while held < frames:
            parts.append(_part(self._path, len(parts)))
            held += self._count(parts[-1])
        if held > frames and len(parts) > 1:
            raise not_what_was_left(self._path, "trajectory", f"{held} frames", f"{frames}")
        if held > frames:
            self._join(parts, frames)
        return parts

    def _count(self, part: Path) -> int:
        """Frames in a closed segment."""
        try:
            return self._kind.count(part)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "cannot go on with the trajectory: no such file", str(part)) from None
        except Exception as error:
            reason = f"cannot go on with the trajectory: it cannot be read ({error})"
            raise OSError(errno.EINVAL, reason, str(part)) from None

    def _begin(self) -> None:
        self._segment = self._kind(_part(self._path, len(self._parts)))
        self._written = 0

    def _end(self) -> None:
        """Close the open segment; one without a whole frame is no segment."""
        if self._segment is None:
            return
        part = _part(self._path, len(self._parts))
        self._segment.close()
        self._segment = None
        if self._written:
            self._parts.append(part)
        elif part != self._path:
            part.unlink()

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""
        try:
            if self._segment is None:
                self._begin()
            assert self._segment is not None
            self._segment.write(atoms)
        except BaseException as error:
            self._failed = isinstance(error, OSError)
            self._end()
            raise
        self._failed = False
        self._written += 1
        self._frames += 1

    def offset(self) -> FileOffset:
        """Number of frames."""
        return {"frames": self._frames}

    def sync(self) -> FileOffset:
        """Number of frames, once they are safely on disk; the next frame begins a segment."""
        if self._written:
            self._end()
            sync(self._parts[-1])
            sync_folder(self._path.parent)
            self._written = 0
        return self.offset()

    def close(self) -> None:
        """Join the segments in one file, unless writing failed: whoever goes on then needs them as they are.

        Raises:
            OSError: the joined file cannot be written; the segments are still there.
        """
        self._end()
        if len(self._parts) > 1 and not self._failed:
            self._join(self._parts, self._frames)
            for part in self._parts[1:]:
                part.unlink()
            self._parts = self._parts[:1]

    def _join(self, parts: list[Path], frames: int) -> None:
        """Replace the file, in one instant, by one that holds the first frames of its segments."""
        whole = _part(self._path, "joined")
        try:
            joined = self._kind(whole)
            try:
                for part in parts:
                    count = min(frames, self._count(part))
                    joined.copy(part, count)
                    frames -= count
            finally:
                joined.close()
            sync(whole)
            whole.replace(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            whole.unlink(missing_ok=True)
            raise

    def reader(self) -> SegmentReader:
        """Reads back what was written since the file was opened; for a closed writer."""
        return SegmentReader(self._path, self._kind, self._before)


@dataclass(frozen=True)
class SegmentReader:
    """Frames of a joined file, from one of them on."""

    path: Path
    kind: type[Segment]
    first: int

    def read(self, index: int) -> StoredFrame:
        """Read one frame.

        Raises:
            OSError: the file cannot be read.
        """
        return self.kind.read(self.path, self.first + index)


def _part(path: Path, name: int | str) -> Path:
    """Path of a segment; 0 is the file itself."""
    return path if name == 0 else path.with_name(f"{path.stem}.segment-{name}{path.suffix}")


def check_segments(path: Path) -> None:
    """Refuse the name of a segment, and that of a trajectory of which only segments are left: a new one removes them.

    Raises:
        InputError: it is one of them.
    """
    if re.search(r"\.segment-(\d+|joined)$", path.stem):
        raise InputError(f"{path.name} is the name of a part of another trajectory: give the file another name")
    if not path.exists() and path.parent.is_dir() and (parts := _segments(path)):
        raise InputError(
            f"{path} is not there, but {len(parts)} parts of that trajectory are, as {min(parts).name}: put the file "
            "back, or move its parts too"
        )


def _segments(path: Path) -> list[Path]:
    """Segments beside a file."""
    name = re.compile(rf"{re.escape(path.stem)}\.segment-(\d+|joined){re.escape(path.suffix)}")
    return [found for found in path.parent.iterdir() if name.fullmatch(found.name)]
