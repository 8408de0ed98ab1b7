"""H5MD 1.1 through h5py: positions, velocities, cell, step, time and energy in double precision, with their units.

De Buyl, Colberg and Höfling, Comput. Phys. Commun. 185, 1546 (2014); https://www.nongnu.org/h5md/h5md.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from ase.units import fs
from numpy.typing import NDArray

from flashmd_rs.writers.files import StagedFile, uninterrupted
from flashmd_rs.writers.frames import StoredFrame, step_and_time

if TYPE_CHECKING:
    import ase

_A_PER_PS = 1000.0 * fs  # ASE's unit of velocity, √(eV/u), times this is Å/ps
_CREATOR = "flashmd-rs"
_PARTICLES = "particles/trajectory"  # the group MDAnalysis looks for
_POSITION, _VELOCITY, _EDGES = (f"{_PARTICLES}/{name}" for name in ("position", "velocity", "box/edges"))
_ENERGY, _PRESSURE, _STRESS = (f"observables/{name}" for name in ("potential_energy", "pressure", "stress"))
_STEP, _TIME = f"{_POSITION}/step", f"{_POSITION}/time"
_TABLES: dict[str, str | None] = {
    _STEP: None,
    _TIME: "ps",
    f"{_POSITION}/value": "Angstrom",
    f"{_VELOCITY}/value": "Angstrom ps-1",
    f"{_EDGES}/value": "Angstrom",
    f"{_ENERGY}/value": "eV",
    f"{_PRESSURE}/value": "bar",
    f"{_STRESS}/value": "eV Angstrom-3",
}
_CHUNK = 1 << 16  # bytes
_BLOCK = 1 << 23

Table = dict[str, NDArray[Any]]


class H5mdSegment:
    """One file. Whether it holds velocities, a cell and energies follows from its first frame."""

    def __init__(self, path: Path) -> None:
        import h5py

        self._file = StagedFile(path)
        with uninterrupted():
            self._h5 = h5py.File(self._file, "w")
        self._tables: dict[str, Any] = {}

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame; a failed one leaves the file as it was, and ends it."""
        boundary = ["periodic" if repeats else "none" for repeats in atoms.pbc]
        self._append(_rows(atoms), {"species": atoms.numbers, "mass": atoms.get_masses()}, boundary)

    def copy(self, path: Path, frames: int) -> None:
        """Append the first frames of another file, bit by bit."""
        with _opened(path) as source:
            particles = source[_PARTICLES]
            fixed = {name: particles[name][()] for name in ("species", "mass")}
            boundary = particles["box"].attrs["boundary"].tolist()
            block = max(1, _BLOCK // (48 * len(fixed["mass"])))
            for start in range(0, frames, block):
                rows = {name: source[name][start : min(start + block, frames)] for name in _TABLES if name in source}
                self._append(rows, fixed, boundary)

    def _append(self, rows: Table, fixed: Table, boundary: list[str]) -> None:
        with uninterrupted():
            self._append_rows(rows, fixed, boundary)

    def _append_rows(self, rows: Table, fixed: Table, boundary: list[str]) -> None:
        try:
            if not self._tables:
                self._tables = _lay_out(self._h5, rows, fixed, boundary)
            for name in rows.keys() - self._tables.keys():  # what a run has learned to measure meanwhile
                table = _add_table(self._h5, name, rows[name])
                table.resize(len(self._tables[_STEP]), axis=0)
                table[:] = np.nan
                self._tables[name] = table
            end = len(self._tables[_STEP]) + len(rows[_STEP])
            for name, table in self._tables.items():
                start = len(table)
                table.resize(end, axis=0)
                table[start:] = rows.get(name, np.nan)
            self._h5.flush()
            self._file.commit()
        except BaseException:
            self._file.abandon()
            raise

    def close(self) -> None:
        """Close the file."""
        with uninterrupted():
            self._h5.close()
            self._file.close()

    @staticmethod
    def count(path: Path) -> int:
        """Number of frames in a file."""
        with _opened(path) as source:
            return len(source[_STEP])

    @staticmethod
    def times_and_energies(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Times [F] of the frames of a file, fs, and their potential energies [F], eV, where it has them."""
        with _opened(path) as source:
            energies = source[f"{_ENERGY}/value"][()] if _ENERGY in source else None
            return 1000.0 * source[_TIME][()], energies

    @staticmethod
    def species(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float64], list[bool]] | None:
        """Atomic numbers [N], masses [N] in u and periodic axes [3] of a file; None if another program wrote it."""
        with _opened(path) as source:
            if source["h5md/creator"].attrs.get("name") != _CREATOR:
                return None
            particles = source[_PARTICLES]
            boundary = particles["box"].attrs["boundary"].tolist()
            return particles["species"][()], particles["mass"][()], [word == "periodic" for word in boundary]

    @staticmethod
    def read(path: Path | BinaryIO, index: int) -> StoredFrame:
        """One frame of a file."""
        with uninterrupted(), _opened(path) as source:
            masses = source[f"{_PARTICLES}/mass"][()]
            velocity, edges = (
                source[f"{name}/value"][index] if name in source else None for name in (_VELOCITY, _EDGES)
            )
            return StoredFrame(
                positions=source[f"{_POSITION}/value"][index],
                momenta=None if velocity is None else velocity / _A_PER_PS * masses[:, None],
                cell=np.zeros((3, 3)) if edges is None else edges,
            )


def _opened(path: Path | BinaryIO) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except BlockingIOError:  # another program, or the lock of this run, has it; it was written whole
        return h5py.File(path, "r", locking=False)


def _rows(atoms: ase.Atoms) -> Table:
    """What a frame adds to each table, with a leading axis of one."""
    step, time_ps = step_and_time(atoms)
    rows: dict[str, Any] = {f"{_POSITION}/value": atoms.positions, _STEP: step, _TIME: time_ps}
    if atoms.has("momenta"):
        rows[f"{_VELOCITY}/value"] = atoms.get_velocities() * _A_PER_PS
    if atoms.cell.array.any():
        rows[f"{_EDGES}/value"] = atoms.cell.array
    if atoms.calc is not None:
        rows[f"{_ENERGY}/value"] = atoms.get_potential_energy()
        if "stress" in atoms.calc.results:
            rows[f"{_STRESS}/value"] = atoms.get_stress(voigt=False)
    if "pressure_bar" in atoms.info:
        rows[f"{_PRESSURE}/value"] = atoms.info["pressure_bar"]
    return {name: np.asarray(value)[None] for name, value in rows.items()}


def _lay_out(h5: Any, rows: Table, fixed: Table, boundary: list[str]) -> dict[str, Any]:
    """Write groups and what never changes; the empty tables by name."""
    from flashmd_rs._core import __version__

    h5.create_group("h5md").attrs["version"] = [1, 1]
    h5.create_group("h5md/author").attrs["name"] = "N/A"
    h5.create_group("h5md/creator").attrs.update({"name": _CREATOR, "version": __version__})
    h5.create_group("h5md/modules/units").attrs["version"] = [1, 0]
    box = h5.create_group(f"{_PARTICLES}/box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = boundary
    for name, values in fixed.items():
        h5[f"{_PARTICLES}/{name}"] = values
    h5[f"{_PARTICLES}/mass"].attrs["unit"] = "u"
    for name in (_STEP, _TIME):
        _add_table(h5, name, rows[name])
    return {name: h5[name] if name in h5 else _add_table(h5, name, values) for name, values in rows.items()}


def _add_table(h5: Any, name: str, values: NDArray[Any]) -> Any:
    """An empty table of such rows; one of values has the steps and times of the positions."""
    shape = values.shape[1:]
    chunk = max(1, _CHUNK // values[0].nbytes)
    table = h5.create_dataset(name, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
    if _TABLES[name] is not None:
        table.attrs["unit"] = _TABLES[name]
    element, _, column = name.rpartition("/")
    if column == "value" and element != _POSITION:
        h5[f"{element}/step"], h5[f"{element}/time"] = h5[_STEP], h5[_TIME]
    return table
