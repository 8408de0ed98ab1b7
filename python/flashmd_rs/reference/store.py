"""The HDF5 file of segments: appended to one by one, readable after a crash of the writer.

Layout, S segments of F frames of A atoms: ``positions``, ``momenta``, ``forces`` [S, F, A, 3] f4, ``energy`` [S, F] f8,
``temperature_K`` [S], ``numbers`` and ``masses`` [A], ``cell`` [3, 3], ``periodic`` [3]; attributes ``recipe`` (JSON),
``units``, ``versions`` (JSON), and ``force_repeatability_eV_per_A``, the largest difference between forces on one frame
by two calculators. A file made of a trajectory without them has no ``forces`` or no ``energy``.

The file is written in HDF5's single-writer mode, in which the file on disk is consistent at every instant: a process
killed at any moment leaves all segments up to the last flush. Such a file is still marked as open; the next writer
copies its segments into a new one and continues. A disk that fills is found out before a segment is
written, and leaves all before.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.reference.recipe import Segment
from flashmd_rs.writers.atomic_write import atomic_write

UNITS = "positions Å, momenta sqrt(eV u), forces eV/Å, energy eV, spacing fs"


# Room (bytes) for the file's own tables, beyond the segments.
MARGIN = 1 << 20
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


class Origin(Protocol):
    """How a file is made: a recipe, or a trajectory that exists."""

    @property
    def frames(self) -> int:
        """Frames of a segment, both ends included."""

    def attributes(self) -> dict[str, Any]:
        """The attribute ``recipe`` of the file, as JSON."""


class Contents(Protocol):
    """Atoms and box of a file, as :class:`~flashmd_rs.reference.base.Reference` has them."""

    numbers: NDArray[np.int_]
    masses: F64
    cell: F64
    periodic: NDArray[np.bool_]


class Store:
    """A data file opened for appending; a context manager.

    Args:
        path: the file; made if it does not exist.
        recipe: the recipe of the file.
        reference: the system, for the atoms and the box of a new file.
        columns: what a segment holds; all, or all but forces or energies.
        repeatability: of the forces, for a new file, eV/Å; None where nothing is known of it.

    Raises:
        ValueError: the file was made by another recipe, or is no data file.
        BlockingIOError: another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        recipe: Origin,
        reference: Contents,
        columns: tuple[str, ...] = Segment._fields,
        repeatability: float | None = None,
    ) -> None:
        self._path, self._columns = path, columns
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BlockingIOError(f"another process is writing {path}") from None
        try:
            self._file = self._open(recipe, reference, repeatability)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def __len__(self) -> int:
        return len(self._file["temperature_K"])

    def start(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Positions and momenta [A, 3] of the first frame of segment ``number``."""
        return self._file["positions"][number, 0], self._file["momenta"][number, 0]

    def end(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Positions and momenta [A, 3] of the last frame of segment ``number``."""
        return self._file["positions"][number, -1], self._file["momenta"][number, -1]

    def append(self, segment: Segment) -> None:
        """Append one segment and flush it to disk.

        Raises:
            OSError: the disk is full; the file keeps the segments before.
        """
        n = len(self)
        rows = {name: np.asarray(getattr(segment, name)) for name in self._columns}
        self._check_room(sum(row.nbytes for row in rows.values()))
        for name, row in rows.items():
            self._file[name].resize(n + 1, axis=0)
            self._file[name][n] = row
        self._file.flush()

    def _check_room(self, size: int) -> None:
        """Raise OSError if the disk has no room for one more segment of ``size`` bytes; HDF5 would end the process."""
        if not hasattr(os, "posix_fallocate"):
            return
        handle = self._file.id.get_vfd_handle()
        end = os.fstat(handle).st_size
        try:
            os.posix_fallocate(handle, end, size + MARGIN)
        except OSError as error:
            if error.errno in _FULL:
                raise OSError(
                    f"{self._path} holds {len(self)} whole segments and there is no room for more "
                    f"({os.strerror(error.errno)}): make room and run again"
                ) from None
        finally:
            os.ftruncate(handle, end)

    def _open(self, recipe: Origin, reference: Contents, repeatability: float | None) -> h5py.File:
        path, columns = self._path, self._columns
        attributes = json.loads(json.dumps(recipe.attributes()))
        if path.exists():
            _check_recipe(path, attributes)
        else:
            _create(path, attributes, recipe.frames, reference, columns, repeatability)
        if _marked_open(path):
            _rescue(path, recipe.frames, reference, columns)
        file = h5py.File(path, "r+", libver="latest")
        # A writer that was stopped between two data sets leaves them with different lengths.
        complete = min(len(file[name]) for name in columns)
        for name in columns:
            file[name].resize(complete, axis=0)
        file.swmr_mode = True
        return file


def _check_recipe(path: Path, attributes: dict[str, Any]) -> None:
    """Raise ValueError if the file was made by another recipe."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            found = json.loads(file.attrs["recipe"])
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is not a file of segments: {error}") from error
    differences = [
        f"{k} = {found.get(k)!r} there, {attributes.get(k)!r} here"
        for k in sorted(found.keys() | attributes.keys())
        if found.get(k) != attributes.get(k)
    ]
    if differences:
        raise ValueError(
            f"{path} was made by another recipe ({'; '.join(differences)}); delete it or name another file"
        )


def _marked_open(path: Path) -> bool:
    """True if a writer was killed before it closed the file."""
    try:
        h5py.File(path, "r+", libver="latest").close()
    except OSError as error:
        if "consistency flags" in str(error):
            return True
        raise
    return False


def _rescue(path: Path, n_frames: int, reference: Contents, columns: tuple[str, ...]) -> None:
    """Copy all complete segments into a new file in place of the old one."""
    with atomic_write(path) as fresh, h5py.File(path, "r", libver="latest", swmr=True) as old:
        _create(fresh, json.loads(old.attrs["recipe"]), n_frames, reference, columns)
        with h5py.File(fresh, "r+", libver="latest") as new:
            new.attrs.update(old.attrs)
            complete = min(len(old[name]) for name in columns)
            for name in columns:
                new[name].resize(complete, axis=0)
                for n in range(complete):
                    new[name][n] = old[name][n]


def _create(
    path: Path,
    attributes: dict[str, Any],
    n_frames: int,
    reference: Contents,
    columns: tuple[str, ...],
    repeatability: float | None = None,
) -> None:
    """Write a file without segments, atomically."""
    n_atoms = len(reference.numbers)
    with atomic_write(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["recipe"] = json.dumps(attributes)
        file.attrs["units"] = UNITS
        if repeatability is not None:
            file.attrs["force_repeatability_eV_per_A"] = repeatability
        packages = ("flashmd-rs", "openmm", "ase", "numpy")
        file.attrs["versions"] = json.dumps({name: _version(name) for name in packages})
        file["numbers"], file["masses"], file["cell"] = reference.numbers, reference.masses, reference.cell
        file["periodic"] = reference.periodic
        frame = (n_frames, n_atoms, 3)
        for name in columns:
            if name in ("positions", "momenta", "forces"):
                file.create_dataset(name, (0, *frame), "f4", maxshape=(None, *frame), chunks=(1, *frame))
        if "energy" in columns:
            file.create_dataset("energy", (0, n_frames), "f8", maxshape=(None, n_frames))
        file.create_dataset("temperature_K", (0,), "f8", maxshape=(None,))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
