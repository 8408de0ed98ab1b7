"""Files that only ever show whole records, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

from flashmd_rs.writers import locks

_PAGE = 1 << 14
_Bytes = bytes | bytearray | memoryview


class OutputLock:
    """Keeps other runs from a file for as long as this one writes it; nothing is emptied.

    Args:
        path: the file, made if it is missing.
        what: what the file is, for messages.
        emptied: the file will be emptied, so that nobody must be reading it under a lock either.

    Raises:
        OSError: another run writes it, another program has locked it, or it cannot be written.
    """

    def __init__(self, path: Path, what: str, emptied: bool = True) -> None:
        self._path, self._what, self._emptied = path, what, emptied
        self._made = not path.exists()
        with _named(path, "write", what):
            self._handle = path.open("ab")
        try:
            locks.check_unlocked(self._handle.fileno(), alone=emptied)
            locks.lock(self._handle.fileno())
        except BlockingIOError:
            self._handle.close()
            reason = f"cannot write the {what}: another run is writing it, or another program has locked it"
            reason += "; end that, or give another file"
            raise BlockingIOError(errno.EWOULDBLOCK, reason, str(path)) from None

    def follow(self) -> None:
        """Take the file that has been renamed to this one's name, if any: a new file has no locks."""
        if self._path.exists() and not os.path.samestat(os.fstat(self._handle.fileno()), self._path.stat()):
            replaced = self._handle
            self._handle = OutputLock(self._path, self._what, self._emptied)._handle
            replaced.close()

    def close(self, used: bool = True) -> None:
        """Let others have it; a file that was made for the lock and not ``used`` is removed."""
        if self._made and not used:
            self._path.unlink(missing_ok=True)
        self._handle.close()


class AppendedFile:
    """A file that grows by whole records and can be cut back to where it once ended.

    Args:
        path: file to empty, or, with ``end``, to cut back.
        what: what the file is, for messages.
        end: bytes to keep of an existing file; None empties it.

    Raises:
        OSError: the file cannot be written, or holds fewer than ``end`` bytes.
    """

    def __init__(self, path: Path, what: str, end: int | None = None) -> None:
        self._path, self._what = path, what
        self.end = end or 0
        with _named(path, "write" if end is None else "go on with", what):
            self._file = path.open("wb" if end is None else "r+b", buffering=0)
        self.regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if end is not None:
            self._cut(end)

    def _cut(self, end: int) -> None:
        found = self._file.seek(0, os.SEEK_END)
        if found < end:
            self._file.close()
            raise not_what_was_left(self._path, self._what, f"{found} bytes", f"{end}")
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, record: bytes) -> None:
        """Append a record; what was written of a failed one is cut off again."""
        rest = memoryview(record)
        try:
            with _named(self._path, "write", self._what):
                if self.regular:
                    self._file.seek(self.end)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.truncate(self.end)
                self._file.seek(self.end)
            raise
        self.end += len(record)

    def overwrite(self, start: int, data: bytes) -> None:
        """Replace bytes of an earlier record."""
        with _named(self._path, "write", self._what):
            _write_at(self._file, data, start)

    def sync(self) -> None:
        """Return once everything written would survive a power cut."""
        with _named(self._path, "write", self._what):
            os.fsync(self._file.fileno())
            sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class StagedFile:
    """A file for formats that rewrite their own tables: what is written reaches the disk with :meth:`commit`.

    Room is reserved before the first byte is replaced, so a disk that is full leaves the file as the last commit did.
    Offers as much of Python's binary file interface as h5py and ASE ask for.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _named(path, "write", "trajectory"):
            self._file = path.open("w+b", buffering=0)
        self._pages: dict[int, bytearray] = {}
        self._size = self._committed = self._position = 0
        self._abandoned = False

    def commit(self) -> None:
        """Write to disk what was staged; nothing at all if there is no room for it."""
        if self._abandoned:
            return
        try:
            with _named(self._path, "write", "trajectory"):
                self._write_pages()
        except OSError:
            self.abandon()
            with contextlib.suppress(OSError):
                self._file.truncate(self._committed)
            raise
        except KeyboardInterrupt:
            self._write_pages()  # half a commit is worse than a late Ctrl-C
            raise
        self._pages.clear()
        self._committed = self._size

    def _write_pages(self) -> None:
        if self._size > self._committed:
            _reserve(self._file, self._committed, self._size)
        for number, page in sorted(self._pages.items()):
            start = number * _PAGE
            _write_at(self._file, page[: max(0, self._size - start)], start)
        if self._size < self._committed:
            self._file.truncate(self._size)

    def abandon(self) -> None:
        """Let the file end with the last commit; what is written from now on goes nowhere."""
        self._abandoned = True
        self._pages.clear()

    def _page(self, number: int) -> bytearray:
        if number not in self._pages:
            self._pages[number] = bytearray(self._on_disk(number * _PAGE, _PAGE))
        return self._pages[number]

    def _on_disk(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        return self._file.read(count).ljust(count, b"\0")

    def write(self, data: _Bytes) -> int:
        """Stage bytes at the position."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            number, start = divmod(self._position, _PAGE)
            count = min(len(view) - done, _PAGE - start)
            self._page(number)[start : start + count] = view[done : done + count]
            done += count
            self._position += count
        self._size = max(self._size, self._position)
        return done

    def read(self, count: int = -1) -> bytes:
        """Bytes from the position on, staged or not."""
        left = max(0, self._size - self._position)
        buffer = bytearray(left if count < 0 else min(count, left))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from the position on."""
        view = memoryview(buffer).cast("B")
        total = min(len(view), max(0, self._size - self._position))
        done = 0
        while done < total:
            number, start = divmod(self._position, _PAGE)
            count = min(total - done, _PAGE - start)
            staged = self._pages.get(number)
            at = self._position
            view[done : done + count] = self._on_disk(at, count) if staged is None else staged[start : start + count]
            done += count
            self._position += count
        return done

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def truncate(self, size: int | None = None) -> int:
        """Change the size that the next commit gives the file."""
        self._size = self._position if size is None else size
        return self._size

    def flush(self) -> None:
        """Nothing: only a commit writes."""

    def close(self) -> None:
        """Commit and close the file."""
        if not self._file.closed:
            try:
                self.commit()
            finally:
                self._file.close()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until a library that cannot be interrupted is done."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    held: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda _, frame: held.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held:
            handler(signal.SIGINT, held[0])


def sync(path: Path) -> None:
    """Return once a file would survive a power cut."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return once the names in a folder would survive a power cut; Windows keeps them as it likes."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: Path, what: str) -> None:
    """Raise the OSError that writing ``path`` would raise, named after ``what``; no name is made or taken away."""
    with _named(path, "write", what):
        if path.exists():
            path.open("ab").close()
        else:
            _check_folder(path.resolve().parent)


def check_replaceable(path: Path, what: str) -> None:
    """The same for a file that is written beside its place and renamed into it."""
    with _named(path, "write", what):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _check_folder(path.parent)


def _check_folder(folder: Path) -> None:
    import tempfile

    tempfile.TemporaryFile(dir=folder).close()


def not_what_was_left(path: Path, what: str, found: str, wanted: str) -> OSError:
    """The error for a file that an offset does not fit."""
    reason = f"cannot go on with the {what}: it holds {found} where {wanted} were left"
    return OSError(errno.EINVAL, reason, str(path))


def _write_at(file: IO[Any], data: _Bytes, start: int) -> None:
    file.seek(start)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _reserve(file: IO[Any], start: int, end: int) -> None:
    """Make sure that there is room for these bytes."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), start, end - start)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        else:
            return
    # macOS, Windows, and file systems that cannot do it: zeros take the room as well.
    for position in range(start, end, _PAGE):
        _write_at(file, bytes(min(_PAGE, end - position)), position)


@contextlib.contextmanager
def _named(path: Path, verb: str, what: str) -> Iterator[None]:
    """Let an OSError say which file could not be written."""
    try:
        yield
    except OSError as error:
        reason = f"cannot {verb} the {what}: {error.strerror}"
        raise type(error)(error.errno, reason, str(path)) from None
