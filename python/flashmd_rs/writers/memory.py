"""A file in memory that libraries can open by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[tuple[str, int]]:
    """Its name and its handle; it is gone afterwards."""
    handle = os.memfd_create("frame")
    try:
        os.write(handle, content)
        yield f"/proc/self/fd/{handle}", handle
    finally:
        os.close(handle)


def content_of(handle: int) -> bytes:
    """Everything in a file."""
    return os.pread(handle, os.fstat(handle).st_size, 0)
