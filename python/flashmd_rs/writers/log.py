"""The log: one line per kept frame."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flashmd_rs.writers.files import AppendedFile
from flashmd_rs.writers.frames import FileOffset


class LogWriter:
    """One line per kept frame, as ``ase.md.MDLogger`` writes them, with temperatures per species.

    Columns: time (ps), total, potential and kinetic energy (eV), temperature and its species' (K); energies that are
    not known are ``nan``.

    Args:
        target: file, emptied if it exists, or ``"-"`` for standard output.
        header: lines that open the log; None for one that has been opened before.
        species: chemical symbols, in the order of their temperatures.
        atoms: number of atoms, which sets the digits of the energies.
        offset: what :meth:`sync` returned: the file is cut back to there and goes on without another header.

    Raises:
        OSError: the file cannot be written, or is shorter than that.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        header: list[str] | None,
        species: list[str],
        atoms: int,
        offset: FileOffset | None = None,
    ) -> None:
        end = offset.get("end") if offset else None
        self._file = None if target == "-" else AppendedFile(Path(target), "log file", end)
        digits = next((d for limit, d in ((100, 4), (1000, 3), (10_000, 2)) if atoms <= limit), 1)
        self._energy_format = f"{{:14.{digits}f}}"
        if end is None and header is not None:
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
        text = "\n".join(lines) + "\n"
        if self._file is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            self._file.append(text.encode())

    def offset(self) -> FileOffset:
        """Where the log ends; empty for what cannot be cut back (standard output)."""
        return {} if self._file is None or not self._file.regular else {"end": self._file.end}

    def sync(self) -> FileOffset:
        """The offset, once everything before it is safely on disk."""
        if self._file is not None and self._file.regular:
            self._file.sync()
        return self.offset()

    def close(self) -> None:
        """Close the file (standard output stays open)."""
        if self._file is not None:
            self._file.close()
