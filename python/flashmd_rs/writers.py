"""Files a run writes as it goes: frames and a log. A reader never meets half a frame."""

from __future__ import annotations

import io
import os
import sys
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np

from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase

_EXTXYZ = (".extxyz", ".xyz")
_TRAJ = (".traj",)


class FrameWriter(Protocol):
    """Takes frames one by one."""

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""

    def close(self) -> None:
        """Finish the file."""


def check_trajectory_path(path: str | os.PathLike[str]) -> Path:
    """A path that frames can be written to; nothing is created or emptied yet.

    Raises:
        InputError: a suffix other than .extxyz, .xyz, .traj.
        OSError: the file or its folder cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in _EXTXYZ + _TRAJ:
        wanted = ", ".join(_EXTXYZ + _TRAJ)
        raise InputError(f"trajectory {os.fspath(path)!r} ends in {target.suffix!r}: wanted one of {wanted}")
    check_writable(target, "trajectory")
    return target


def check_writable(path: Path, what: str) -> None:
    """Raise the OSError that writing ``path`` would raise, named after ``what``."""
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"cannot write the {what}: {error.strerror}", str(path)) from None
    if not existed:
        path.unlink()


def open_frames(path: Path) -> FrameWriter:
    """A writer for ``path``, by its suffix; an existing file is emptied."""
    return TrajWriter(path) if path.suffix.lower() in _TRAJ else ExtxyzWriter(path)


class ExtxyzWriter:
    """Extended XYZ: positions and momenta, cell, energy, step and time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._end = 0

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame; what was written of a failed one is cut off again."""
        rest = memoryview(_extxyz(atoms).encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BaseException:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end = self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _extxyz(atoms: ase.Atoms) -> str:
    """One frame as ASE writes it, several times faster: ASE makes the header, the rows are formatted in one go."""
    from ase.io.extxyz import write_extxyz

    extra = [values for name, values in atoms.arrays.items() if name not in ("numbers", "positions")]
    quick = len(atoms) > 1 and not atoms.constraints and all(v.dtype == float and v.ndim <= 2 for v in extra)
    head = atoms[:1] if quick else atoms.copy()
    head.calc = atoms.calc
    text = io.StringIO()
    write_extxyz(text, head)
    if not quick:
        return text.getvalue()
    columns = np.column_stack([atoms.positions, *extra])
    row = "%-2s" + " %16.8f" * columns.shape[1] + "\n"
    values = chain.from_iterable(zip(atoms.get_chemical_symbols(), *columns.T.tolist(), strict=True))
    comment = text.getvalue().splitlines()[1]
    rows: str = row * len(atoms) % tuple(values)
    return f"{len(atoms)}\n{comment}\n{rows}"


class TrajWriter:
    """ASE's binary ``.traj``; its table of frames is updated after each whole frame."""

    def __init__(self, path: Path) -> None:
        from ase.io.trajectory import TrajectoryWriter

        self._writer = TrajectoryWriter(str(path), "w")

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame; a failed one never enters the table."""
        try:
            self._writer.write(atoms)
        except BaseException:
            self._writer.backend.fd.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if not self._writer.backend.fd.closed:
            self._writer.close()


class LogWriter:
    """One line per kept frame, as ``ase.md.MDLogger`` writes them, with temperatures per species.

    Columns: time (ps), total, potential and kinetic energy (eV), temperature and its species' (K); energies that are
    not known are ``nan``.
    """

    def __init__(self, target: str | os.PathLike[str], header: list[str], species: list[str], atoms: int) -> None:
        self._file: IO[str] = sys.stdout if target == "-" else open(target, "w", encoding="utf-8")  # noqa: SIM115
        digits = next((d for limit, d in ((100, 4), (1000, 3), (10_000, 2)) if atoms <= limit), 1)
        self._energy_format = f"{{:14.{digits}f}}"
        columns = f"# {'Time[ps]':<10}" + "".join(f" {name:>14}" for name in ("Etot[eV]", "Epot[eV]", "Ekin[eV]"))
        columns += "".join(f" {name:>9}" for name in ["T[K]"] + [f"T_{symbol}[K]" for symbol in species])
        self._put([*(f"# {line}" for line in header), columns])

    def write(self, time_ps: float, potential: float | None, kinetic: float, temperatures_K: list[float]) -> None:
        """Append one line."""
        potential = float("nan") if potential is None else potential
        energies = (potential + kinetic, potential, kinetic)
        self._put(
            [
                f"{time_ps:<12.5f}"
                + "".join(f" {self._energy_format.format(value)}" for value in energies)
                + "".join(f" {value:9.1f}" for value in temperatures_K)
            ]
        )

    def _put(self, lines: list[str]) -> None:
        self._file.write("\n".join(lines) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file (standard output stays open)."""
        if self._file is not sys.stdout:
            self._file.close()
