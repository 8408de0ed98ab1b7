"""Files that are written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path to write instead of ``path``; it is renamed to ``path`` at the end, or removed after an error.

    The temporary name keeps the suffix, by which some libraries choose a format, and contains the process's number,
    because another process may be writing the same file.

    Args:
        path: file to make or replace.

    Yields:
        The temporary path, in the folder of ``path``.

    Raises:
        FileNotFoundError: the folder of ``path`` does not exist; raised before anything is computed.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}; make it first")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
