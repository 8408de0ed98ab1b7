"""Where a structure comes from: a file, a compressed one, standard input, or what comes with the package."""

from __future__ import annotations

import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flashmd_rs.bundled import STRUCTURES, bundled, bundled_file
from flashmd_rs.errors import InputError

_COMPRESSED = (".gz", ".bz2", ".xz")


@dataclass(frozen=True)
class Source:
    """A frame of a file.

    Attributes:
        name: as it was given, for messages.
        path: the file, or None for standard input.
        index: of the frame.
    """

    name: str
    path: Path | None
    index: int


def find_source(name: str | os.PathLike[str], index: int | str | None = None) -> Source:
    """What a name stands for: an existing file, else ``FILE@INDEX``, a bundled name, or ``-`` for standard input.

    Raises:
        InputError: no whole number for the index, or two of them; a folder.
        FileNotFoundError: there is no such file.
    """
    if not isinstance(name, str | os.PathLike):
        raise InputError(f"got {type(name).__name__} for a structure file, wanted a path or a bundled name")
    text = os.fspath(name)
    path, behind = text, None
    if not os.path.lexists(text) and "@" in os.path.basename(text):
        path, _, behind = text.rpartition("@")
        if index is not None:
            raise InputError(f"got an index twice, {behind!r} in {text!r} and {index!r}: give one of them")
    frame = _as_index(behind if index is None else index, text)
    if path == "-":
        return Source("standard input", None, frame)
    return Source(text, _existing(path), frame)


def _existing(path: str) -> Path:
    if os.path.isdir(path):
        from ase.io.bundletrajectory import BundleTrajectory

        if BundleTrajectory.is_bundle(path):
            return Path(path)
        raise InputError(f"{path} is a folder, wanted a structure file")
    if os.path.exists(path):
        return Path(path)
    found = bundled_file(STRUCTURES, path, ".extxyz")
    if found is None:
        names = ", ".join(bundled()["structures"]) or "none"
        raise FileNotFoundError(f"no structure file {path!r}, nor a bundled one ({names})")
    return found


def _as_index(index: Any, name: str) -> int:
    """The number of a frame; the last where none is given."""
    if index is None:
        return -1
    if isinstance(index, str) and re.fullmatch(r"[-+]?\d+", index):
        return int(index)
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise InputError(f"got the index {index!r} for {name}, wanted the whole number of one frame; -1 is the last")
    return int(index)


@contextmanager
def opened(source: Source) -> Iterator[Path]:
    """The source as an uncompressed file that is not empty, as long as it is needed.

    Raises:
        InputError: it is empty, or compressed and damaged.
        OSError: it cannot be read.
    """
    if source.path is not None and not _has_to_be_copied(source.path):
        if source.path.is_file() and not source.path.stat().st_size:
            raise InputError(f"{source.name} is empty: wanted a structure file")
        yield source.path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / ("structure" if source.path is None else source.path.stem)
        _unpack(source, copy)
        if not copy.stat().st_size:
            raise InputError(f"{source.name} is empty: wanted a structure file")
        yield copy


def _has_to_be_copied(path: Path) -> bool:
    """True for what is compressed, and for a pipe, which is read only once."""
    return path.suffix.lower() in _COMPRESSED or not (path.is_file() or path.is_dir())


def _unpack(source: Source, copy: Path) -> None:
    from lzma import LZMAError

    from ase.io.formats import open_with_compression

    with copy.open("wb") as target:
        if source.path is None:
            shutil.copyfileobj(sys.stdin.buffer, target)
            return
        try:
            with open_with_compression(str(source.path), "rb") as packed:
                shutil.copyfileobj(packed, target)
        except (EOFError, LZMAError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(f"{source.name} cannot be unpacked: {error}") from None


def frame_number(index: int, frames: int, name: str) -> int:
    """The index of a frame that is there.

    Raises:
        InputError: there is none.
    """
    if not frames:
        raise InputError(f"{name} holds no structure")
    if not -frames <= index < frames:
        count = "1 structure" if frames == 1 else f"{frames} structures"
        raise InputError(f"{name} holds {count}: got the index {index}")
    return index % frames
