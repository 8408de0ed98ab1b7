"""NVE segments of one HDF5 file in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np


@dataclass
class Segments:
    """NVE segments of one file in memory: S segments of F frames of A atoms.

    Attributes:
        positions: [S, F, A, 3] Å, unwrapped.
        momenta: [S, F, A, 3] √(eV·u).
        forces: [S, F, A, 3] eV/Å.
        energy: potential energy [S, F], eV.
        temperature_K: of the thermostat that each segment was started from [S].
        numbers: atomic numbers [A].
        masses: [A] u.
        cell: [3, 3] Å, rows are the vectors.
        periodic: along which of them [3].
        spacing_fs: time between frames.
        recipe: how the file was made.
        sha256: of the positions.
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    temperature_K: np.ndarray
    numbers: np.ndarray
    masses: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    spacing_fs: float
    recipe: dict
    sha256: str

    @classmethod
    def load(cls, path: Path) -> Segments:
        """Read a file of ``flashmd-train generate``."""
        with h5py.File(path, "r") as file:
            arrays = {
                name: file[name][:]
                for name in ("positions", "momenta", "forces", "energy", "temperature_K", "numbers", "masses", "cell")
            }
            recipe = json.loads(file.attrs["recipe"])
            periodic = file["periodic"][:] if "periodic" in file else np.ones(3, bool)
        return cls(
            **arrays,
            periodic=periodic,
            spacing_fs=recipe["spacing_fs"],
            recipe=recipe,
            sha256=hashlib.sha256(arrays["positions"].tobytes()).hexdigest(),
        )

    @property
    def density_g_per_cm3(self) -> float:
        """Mass over the volume of the cell, g/cm³."""
        return float(self.masses.sum() * 1.66053906660 / abs(np.linalg.det(self.cell)))
