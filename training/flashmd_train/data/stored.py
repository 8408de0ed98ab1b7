"""Arrays of HDF5 files, read where they are indexed; small ones are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

# Bytes of an array up to which it is read once, at the first index: small structures are read more often than computed.
KEPT = 2**25


def open_segments(path: Path) -> h5py.File:
    """The file opened for reading, beside a writer too, and after one that was killed."""
    return h5py.File(path, "r", libver="latest", swmr=True)


class StoredArray:
    """The first S segments of a data set [S, F, ...]; indexing gives a NumPy array.

    The file is opened at the first read in each process; of more than :data:`KEPT` bytes only what is indexed is read.
    Copies and pickles hold its path alone.

    Args:
        path: HDF5 file.
        name: of the data set.
        shape: [S, F, ...]; a file that is still being written may have grown since.
    """

    def __init__(self, path: Path, name: str, shape: tuple[int, ...]) -> None:
        self.path, self.name, self.shape = path, name, shape
        self._opened: tuple[int, h5py.Dataset | np.ndarray] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[segment] for segment in range(len(self)))

    def __getitem__(self, index: int | tuple[int, int | np.ndarray]) -> np.ndarray:
        """A segment [F, ...], one of its frames [...], or several of them in any order [T, ...]."""
        segment, frames = index if isinstance(index, tuple) else (index, slice(None))
        if not -len(self) <= segment < len(self):
            raise IndexError(f"segment {segment} of {len(self)} in {self.path}")
        segment = int(segment) % len(self)
        if not isinstance(frames, np.ndarray):
            return np.array(self._data[segment, frames])
        # HDF5 reads one span faster than single frames.
        first = int(frames.min())
        return self._data[segment, first : int(frames.max()) + 1][frames - first]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": None}

    @property
    def _data(self) -> h5py.Dataset | np.ndarray:
        # A file handle does not survive a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            stored = open_segments(self.path)[self.name]
            small = np.prod(self.shape) * stored.dtype.itemsize <= KEPT
            self._opened = os.getpid(), stored[: len(self)] if small else stored
        return self._opened[1]
