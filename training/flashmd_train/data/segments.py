"""NVE segments of one HDF5 file: long arrays stay on disk, short ones are in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from flashmd_train.data.stored import StoredArray, open_segments


@dataclass
class Segments:
    """NVE segments of one file: S segments of F frames of A atoms.

    Attributes:
        path: of the file.
        positions: [S, F, A, 3] Å, unwrapped; read when they are indexed, as the next two.
        momenta: [S, F, A, 3] √(eV·u).
        forces: [S, F, A, 3] eV/Å; None in a file without.
        energy: potential energy [S, F], eV; None in a file without.
        temperature_K: of the thermostat that each segment was started from [S].
        numbers: atomic numbers [A].
        masses: [A] u.
        cell: [3, 3] Å, rows are the vectors; zeros where there is none.
        periodic: along which of them [3].
        spacing_fs: time between frames.
        recipe: how the file was made.
    """

    path: Path
    positions: StoredArray | np.ndarray
    momenta: StoredArray | np.ndarray
    forces: StoredArray | np.ndarray | None
    energy: np.ndarray | None
    temperature_K: np.ndarray
    numbers: np.ndarray
    masses: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    spacing_fs: float
    recipe: dict

    @classmethod
    def load(cls, path: Path) -> Segments:
        """Open a file of segments (layout in :mod:`flashmd_rs.reference.store`; ``forces``, ``energy`` may lack).

        Raises:
            ValueError: something else lacks, or there is no segment.
        """
        with open_segments(path) as file:
            lacking = {"positions", "momenta", "temperature_K", "numbers", "masses", "cell"} - file.keys()
            if lacking or "recipe" not in file.attrs:
                what = ", ".join(sorted(lacking)) or "attribute recipe"
                raise ValueError(f"{path} lacks {what}; wanted a file of segments as `flashmd-train generate` writes")
            given = {
                name: file[name]
                for name in ("positions", "momenta", "forces", "energy", "temperature_K")
                if name in file
            }
            # A writer that is at work, or was killed, leaves data sets of different lengths.
            complete = min(len(array) for array in given.values())
            if not complete:
                raise ValueError(f"{path} holds no segment; wanted at least one: generate data first")
            stored = {
                name: StoredArray(path, name, (complete, *given[name].shape[1:])) if name in given else None
                for name in ("positions", "momenta", "forces")
            }
            recipe = json.loads(file.attrs["recipe"])
            return cls(
                path,
                **stored,
                energy=file["energy"][:complete] if "energy" in file else None,
                temperature_K=file["temperature_K"][:complete],
                **{name: file[name][:] for name in ("numbers", "masses", "cell")},
                periodic=file["periodic"][:].astype(bool) if "periodic" in file else np.ones(3, bool),
                spacing_fs=recipe["spacing_fs"],
                recipe=recipe,
            )

    @cached_property
    def sha256(self) -> str:
        """Hash of the positions."""
        digest = hashlib.sha256()
        for segment in self.positions:
            digest.update(np.ascontiguousarray(segment))
        return digest.hexdigest()

    @property
    def density_g_per_cm3(self) -> float | None:
        """Mass over the volume of the cell, g/cm³; None where a direction is not periodic."""
        if not self.periodic.all():
            return None
        return float(self.masses.sum() * 1.66053906660 / abs(np.linalg.det(self.cell)))
