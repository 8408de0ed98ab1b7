"""The log: one line per kept frame."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from flashmd_rs.writers.files import AppendedFile
from flashmd_rs.writers.frames import FileOffset

# Columns that not every run has; the stress in Voigt's order.
VOLUME, DENSITY, PRESSURE = "Volume[A3]", "Density[g/cm3]", "Pressure[bar]"
STRESS = [f"s_{pair}[eV/A3]" for pair in ("xx", "yy", "zz", "yz", "xz", "xy")]

_TIME = "Time[ps]"
_ENERGIES = ["Etot[eV]", "Epot[eV]", "Ekin[eV]"]
# Width and digits of columns other than temperatures.
_FORMATS = {VOLUME: (13, ".3f"), DENSITY: (14, ".5f"), PRESSURE: (13, ".1f")} | dict.fromkeys(STRESS, (14, ".6e"))


class LogWriter:
    """One line per kept frame, as ``ase.md.MDLogger`` writes them, with temperatures per species.

    Columns: time (ps), total, potential and kinetic energy (eV), temperature and its species' (K), and whatever else
    was measured. A log that is gone on with keeps the columns it has. What is not known is ``nan``.

    Args:
        target: file, emptied if it exists, or ``"-"`` for standard output.
        header: lines that open the log; None for one that has been opened before.
        species: chemical symbols, in the order of their temperatures.
        atoms: number of atoms, which sets the digits of the energies.
        offset: what :meth:`sync` returned: the file is cut back to there and goes on without another header.
        measured: names of the columns behind the temperatures.

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
        measured: Sequence[str] = (),
    ) -> None:
        end = offset.get("end") if offset else None
        self._file = None if target == "-" else AppendedFile(Path(target), "log file", end)
        digits = next((d for limit, d in ((100, 4), (1000, 3), (10_000, 2)) if atoms <= limit), 1)
        self._formats = _FORMATS | dict.fromkeys(_ENERGIES, (14, f".{digits}f"))
        self._usual = [*_ENERGIES, "T[K]", *(f"T_{symbol}[K]" for symbol in species)]
        found = [] if end is None else _columns_of(Path(target), end)
        self._columns = found or [*self._usual, *measured]
        if end is None and header is not None:
            titles = "".join(f" {name:>{self._format(name)[0]}}" for name in self._columns)
            self._put([*(f"# {line}" for line in header), f"# {_TIME:<10}{titles}"])

    def write(
        self,
        time_ps: float,
        potential: float | None,
        kinetic: float,
        temperatures_K: list[float],
        measured: dict[str, float] | None = None,
    ) -> None:
        """Append one line; ``measured`` by the names of its columns."""
        potential = float("nan") if potential is None else potential
        usual = (potential + kinetic, potential, kinetic, *temperatures_K)
        values = dict(zip(self._usual, usual, strict=True)) | (measured or {})
        row = f"{time_ps:<12.5f}"
        for name in self._columns:
            width, digits = self._format(name)
            row += f" {values.get(name, float('nan')):{width}{digits}}"
        self._put([row])

    def _format(self, column: str) -> tuple[int, str]:
        return self._formats.get(column, (9, ".1f"))

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


def _columns_of(path: Path, end: int) -> list[str]:
    """Names of the columns behind the time, from the first ``end`` bytes of a log; none if it has no titles."""
    with path.open("rb") as file:
        head = takewhile(lambda line: line.startswith(b"#") and file.tell() <= end, iter(file.readline, b""))
        titles = [line.decode().split()[2:] for line in head if line.startswith(f"# {_TIME}".encode())]
    return titles[-1] if titles else []
