"""A file, in memory where the system has such files, that libraries can open by its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[tuple[str, int]]:
    """Its name and its handle; it is gone afterwards."""
    in_memory = hasattr(os, "memfd_create")  # Linux
    handle, name = (os.memfd_create("frame"), None) if in_memory else tempfile.mkstemp()
    try:
        os.write(handle, content)
        yield name or f"/proc/self/fd/{handle}", handle
    finally:
        os.close(handle)
        if name is not None:
            Path(name).unlink()


def content_of(handle: int) -> bytes:
    """Everything in a file."""
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, os.fstat(handle).st_size)
