"""CHARMM's and NAMD's DCD, through MDAnalysis: positions in single precision and the cell; no momenta, no energies."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.geometry import cellpar_to_cell
from ase.units import fs, kcal, mol

from flashmd_rs.writers.appended import AppendedFrames
from flashmd_rs.writers.frames import FileOffset, StoredFrame, check_cell_orientation, step_and_time
from flashmd_rs.writers.memory import content_of, memory_file

if TYPE_CHECKING:
    import ase

_AKMA_PS = math.sqrt(mol / kcal) / (1000.0 * fs)  # the format's unit of time, Å·√(u·mol/kcal), in ps
_ORDER = [0, 5, 1, 4, 3, 2]  # of a, b, c, α, β, γ in the file
_BOX = slice(4, 52)  # bytes of a frame
_COUNT_AT, _INTERVAL_AT, _STRIDE_AT = 8, 16, 44  # bytes of the header


class Dcd:
    """Codec of ``.dcd``: a header, then frames of one size."""

    def head(self, atoms: ase.Atoms) -> bytes:
        """The header of a file whose second frame is still to come."""
        return self._split(atoms)[0]

    def encode(self, atoms: ase.Atoms) -> bytes:
        """Let MDAnalysis write a file of one frame, in memory.

        Raises:
            InputError: the cell is not oriented as the format wants it.
        """
        check_cell_orientation(atoms)
        return self._split(atoms)[1]

    def _split(self, atoms: ase.Atoms) -> tuple[bytes, bytes]:
        """Header and frame of a file of one frame."""
        from MDAnalysis.lib.formats.libdcd import DCDFile

        step, time_ps = step_and_time(atoms)
        box = atoms.cell.cellpar()
        box[3:] = np.sin(np.radians(90.0 - box[3:]))  # cosines, and a right angle is zero
        with memory_file() as (name, handle):
            with DCDFile(name, "w") as file:
                file.write_header("flashmd-rs", len(atoms), step, 1, _stride_akma(step, time_ps), 1)
                file.write(np.float32(atoms.positions), box[_ORDER])
            data = content_of(handle)
        size = _BOX.stop + 4 + 3 * 4 * (len(atoms) + 2)
        return data[:-size], data[-size:]

    def decode(self, data: bytes) -> StoredFrame:
        """The blocks of a frame: cell, then x, y and z."""
        a, cos_c, b, cos_b, cos_a, c = np.frombuffer(data[_BOX], "<f8")
        angles = np.degrees(np.arccos([cos_a, cos_b, cos_c]))
        blocks = np.frombuffer(data[_BOX.stop + 4 :], "<f4").reshape(3, -1)
        positions = blocks[:, 1:-1].T.astype(float)  # between the marks of length
        return StoredFrame(positions, None, cellpar_to_cell([a, b, c, *angles]))


class DcdFrames(AppendedFrames):
    """Keeps the header's number of frames right, and from the second frame on the steps between them.

    The format knows no times but (first step + k · interval) · stride: a last frame off the beat gets a late time.
    """

    def __init__(self, path: Path, offset: FileOffset | None = None) -> None:
        super().__init__(path, Dcd(), offset)
        self._first = offset["first"] if offset else 0
        if offset:
            self._put(_COUNT_AT, "<i", self._frames)

    def write(self, atoms: ase.Atoms) -> None:
        """Append one frame, whole or not at all."""
        super().write(atoms)
        step, time_ps = step_and_time(atoms)
        if self._frames == 1:
            self._first = step
        elif self._frames == 2:
            self._put(_INTERVAL_AT, "<i", step - self._first)
            self._put(_STRIDE_AT, "<f", _stride_akma(step, time_ps))
        self._put(_COUNT_AT, "<i", self._frames)

    def offset(self) -> FileOffset:
        """Number of frames, bytes and the first frame's step."""
        return super().offset() | {"first": self._first}

    def _put(self, start: int, form: str, value: float) -> None:
        self._file.overwrite(start, struct.pack(form, value))


def _stride_akma(step: int, time_ps: float) -> float:
    """Simulated time of a step in the format's unit."""
    return time_ps / step / _AKMA_PS if step else 0.0
