"""What a run collects between its frames: temperatures and densities."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from flashmd_rs._structure import F64
from flashmd_rs.temperature import temperatures
from flashmd_rs.volume import density_g_per_cm3

# Time between two samples, or one step of the integrator if that is longer.
SAMPLE_FS = 50.0


class Samples:
    """Times, temperatures and densities of one run, closer than its frames.

    Args:
        atoms: the system, whose masses, symbols and periodic axes count.
    """

    def __init__(self, atoms: Atoms) -> None:
        self._atoms = atoms.copy()
        self._masses, self._symbols = atoms.get_masses(), np.array(atoms.get_chemical_symbols())
        self._times: list[float] = []
        self._kelvin: list[dict[str, float]] = []
        self._volumes: list[float] = []

    def add(self, time_ps: float, momenta: F64, cell: F64) -> None:
        """Add one sample: its time, ps, momenta [A, 3], √(eV·u), and cell [3, 3], Å."""
        self._times.append(time_ps)
        self._kelvin.append(temperatures(momenta, self._masses, self._symbols))
        self._volumes.append(abs(float(np.linalg.det(cell))))

    @property
    def times_ps(self) -> F64:
        """Times [S], ps."""
        return np.array(self._times)

    @property
    def temperature_K(self) -> dict[str, F64]:
        """Temperatures [S] of all atoms (``total``) and by species, K."""
        return {name: np.array([row[name] for row in self._kelvin]) for name in self._kelvin[0]}

    @property
    def density_g_per_cm3(self) -> F64 | None:
        """Densities [S], g/cm³; None unless all axes are periodic."""
        return density_g_per_cm3(self._atoms, np.array(self._volumes)) if self._atoms.pbc.all() else None
