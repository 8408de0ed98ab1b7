"""Locks that keep two runs from one file. Windows has none of this kind: a second run is not noticed there."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager


def lock(handle: int) -> None:
    """Lock an open file until it is closed; a file system without locks does without.

    Raises:
        BlockingIOError: another run has it.
    """
    with _where_there_are_locks():
        import fcntl

        if hasattr(fcntl, "F_OFD_SETLK"):
            # Linux's struct flock. A lock of an open file description, because HDF5 has taken ``flock`` for itself.
            whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, whole_file)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_unlocked(handle: int, alone: bool) -> None:
    """Raise BlockingIOError if another program, such as HDF5, has locked an open file by ``flock``.

    That lock is tried and let go of: held, it would keep readers from the file.

    Args:
        handle: of the file.
        alone: nobody may be reading it under a lock either.
    """
    with _where_there_are_locks():
        import fcntl

        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        fcntl.flock(handle, fcntl.LOCK_UN)


@contextmanager
def _where_there_are_locks() -> Iterator[None]:
    """A platform or a file system without locks does without."""
    try:
        yield
    except ImportError:  # fcntl is not on Windows
        pass
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):  # either says that somebody has it
            raise BlockingIOError(error.errno, error.strerror) from None
