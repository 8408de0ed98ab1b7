"""Locks that keep two runs from one file. Windows has none of this kind: a second run is not noticed there."""

from __future__ import annotations

import os
import struct


def lock(handle: int) -> None:
    """Lock an open file until it is closed; a file system without locks does without.

    Raises:
        BlockingIOError: another run has it.
    """
    try:
        _lock(handle)
    except BlockingIOError:
        raise
    except OSError:
        pass


def _lock(handle: int) -> None:
    try:
        import fcntl  # not on Windows
    except ImportError:
        return
    if hasattr(fcntl, "F_OFD_SETLK"):
        # Linux's struct flock. A lock of an open file description, because HDF5 has taken ``flock`` for itself.
        whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, whole_file)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
