"""Extended XYZ: positions and momenta to eight decimals, cell, energy, step and time, as text."""

from __future__ import annotations

import io
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs.writers.frames import StoredFrame

if TYPE_CHECKING:
    import ase


class Extxyz:
    """Codec of ``.extxyz`` and ``.xyz``."""

    def head(self, atoms: ase.Atoms) -> bytes:
        """Nothing."""
        return b""

    def encode(self, atoms: ase.Atoms) -> bytes:
        """As ASE writes it, several times faster: ASE makes the header, the rows are formatted in one go."""
        from ase.io.extxyz import write_extxyz

        extra = [values for name, values in atoms.arrays.items() if name not in ("numbers", "positions")]
        quick = len(atoms) > 1 and not atoms.constraints and all(v.dtype == float and v.ndim <= 2 for v in extra)
        head = atoms[:1] if quick else atoms.copy()
        head.calc = atoms.calc
        text = io.StringIO()
        write_extxyz(text, head)
        if not quick:
            return text.getvalue().encode()
        columns = np.column_stack([atoms.positions, *extra])
        row = "%-2s" + " %16.8f" * columns.shape[1] + "\n"
        values = chain.from_iterable(zip(atoms.get_chemical_symbols(), *columns.T.tolist(), strict=True))
        comment = text.getvalue().splitlines()[1]
        rows: str = row * len(atoms) % tuple(values)
        return f"{len(atoms)}\n{comment}\n{rows}".encode()

    def decode(self, data: bytes) -> StoredFrame:
        """Through ASE's reader."""
        from ase.io.extxyz import read_extxyz

        atoms = next(read_extxyz(io.StringIO(data.decode()), slice(1)))
        return StoredFrame(atoms.positions, atoms.get_momenta() if atoms.has("momenta") else None, atoms.cell.array)
