"""GROMACS' XTC, through MDAnalysis: positions to 0.01 Å and the cell; no momenta, no energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs.writers.frames import StoredFrame, check_cell_orientation, step_and_time
from flashmd_rs.writers.memory import content_of, memory_file

if TYPE_CHECKING:
    import ase

_A_PER_NM = 10.0
_PER_NM = 1000.0  # positions are kept as whole thousandths of a nm
_STEPS = 2**31  # the format counts steps in 31 bits; the time goes on


class Xtc:
    """Codec of ``.xtc``; each frame stands for itself."""

    def head(self, atoms: ase.Atoms) -> bytes:
        """Nothing."""
        return b""

    def encode(self, atoms: ase.Atoms) -> bytes:
        """Let MDAnalysis write a file of one frame, in memory.

        Raises:
            InputError: the cell is not oriented as the format wants it.
        """
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        check_cell_orientation(atoms)
        step, time_ps = step_and_time(atoms)
        positions, cell = (np.float32(lengths / _A_PER_NM) for lengths in (atoms.positions, atoms.cell.array))
        with memory_file() as (name, handle):
            with XTCFile(name, "w") as file:
                file.write(positions, cell, step % _STEPS, time_ps, _PER_NM)
            return content_of(handle)

    def decode(self, data: bytes) -> StoredFrame:
        """Let MDAnalysis read it."""
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        with memory_file(data) as (name, _), XTCFile(name, "r") as file:
            frame = file.read()
        return StoredFrame(_A_PER_NM * frame.x.astype(float), None, _A_PER_NM * frame.box.astype(float))
