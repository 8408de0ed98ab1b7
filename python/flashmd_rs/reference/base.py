"""What a reference simulation can do, whoever computes its forces.

Two back ends stand behind it, :class:`~flashmd_rs.reference.openmm_system.OpenMMReference` and
:class:`~flashmd_rs.reference.ase_system.ASEReference`; a system is one file that builds its atoms and
its potential on one of them.

The bath is the same for both: velocity Verlet with exact Ornstein–Uhlenbeck kicks every few steps. Such
a chain leaves unchanged the very distribution that velocity Verlet of the same step conserves, and its
momenta are Maxwell–Boltzmann without an error of the step (Leimkuhler & Matthews, Appl. Math. Res. Express
2013, 34), so a segment begun from it does not relax. The noise comes from NumPy alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from ase import Atoms, units

from flashmd_rs.writers.atomic_write import atomic_write

# Between kicks; the friction's effect does not depend on it as long as it is short against 1/friction.
KICK_FS = 4.0


class Frame(NamedTuple):
    """One instant, A atoms.

    Attributes:
        positions: [A, 3], Å, unwrapped.
        momenta: [A, 3], √(eV·u), at the instant of the positions.
        forces: [A, 3], eV/Å.
        energy: potential energy, eV.
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energy: float


class Reference(ABC):
    """A periodic system that can be simulated, in ASE units.

    Attributes:
        description: potential and method, in words a paper could print.
        size_is: what ``size`` counts.
        size: default number of these.
        timestep_fs: default step of velocity Verlet, in segments and in the bath before them.
        equilibration_timestep_fs: step while a chain equilibrates.
        temperatures_K: default temperatures.
        spacing_fs: default time between frames. length_fs: default length of a segment.
        decorrelation_fs: default time in the bath between segments.
        equilibration_ps: default time in the bath before the first segment of a chain.
        anneal_K: the first third of the equilibration is at least this hot.
        numbers: atomic numbers [A]. masses: u [A]. cell: rows are lattice vectors, Å [3, 3].
        molecules: [A], atoms with the same number are moved into the box together.
    """

    description: ClassVar[str]
    size_is: ClassVar[str]
    size: ClassVar[int]
    timestep_fs: ClassVar[float]
    equilibration_timestep_fs: ClassVar[float]
    temperatures_K: ClassVar[tuple[float, ...]]
    spacing_fs: ClassVar[float]
    length_fs: ClassVar[float]
    decorrelation_fs: ClassVar[float]
    equilibration_ps: ClassVar[float]
    anneal_K: ClassVar[float] = 0.0

    numbers: np.ndarray
    masses: np.ndarray
    cell: np.ndarray
    molecules: np.ndarray

    @abstractmethod
    def start(self, rng: np.random.Generator) -> None:
        """Build a first structure, minimised where it must be, at rest."""

    @abstractmethod
    def set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        """Set positions (Å) and momenta (√(eV·u)), [A, 3] each, and forget everything else.

        What follows is a function of these numbers alone, to the last bit: neighbour lists, whose order
        decides how forces are rounded, are built anew.
        """

    @abstractmethod
    def get(self) -> Frame:
        """The current frame."""

    @abstractmethod
    def energy(self, positions: np.ndarray) -> float:
        """Potential energy (eV) at positions (Å) [A, 3], where the system is left."""

    @abstractmethod
    def energy_source(self) -> object:
        """Its energies, as ``flashmd_rs.rollout`` takes them for its ``energy_model``."""

    @abstractmethod
    def momenta(self) -> np.ndarray:
        """Momenta [A, 3], √(eV·u), at the instant of the positions."""

    @abstractmethod
    def set_momenta(self, momenta: np.ndarray) -> None:
        """Set momenta [A, 3] (√(eV·u)), positions stay."""

    @abstractmethod
    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        """Velocity Verlet for ``time_fs``, by default with the system's step."""

    def langevin(
        self,
        time_fs: float,
        temperature_K: float,
        rng: np.random.Generator,
        friction_per_ps: float = 2.0,
        timestep_fs: float | None = None,
    ) -> None:
        """Velocity Verlet with Ornstein–Uhlenbeck kicks, half of one at both ends; total momentum stays zero."""
        timestep = timestep_fs or self.timestep_fs
        interval = timestep * max(1, round(KICK_FS / timestep))
        for _ in range(max(1, round(time_fs / interval))):
            self._kick(temperature_K, rng, 0.5 * interval * friction_per_ps * 1e-3)
            self.nve(interval, timestep)
            self._kick(temperature_K, rng, 0.5 * interval * friction_per_ps * 1e-3)

    def draw_momenta(self, temperature_K: float, rng: np.random.Generator) -> None:
        """Maxwell–Boltzmann momenta without net momentum."""
        self._kick(temperature_K, rng, np.inf)

    def _kick(self, temperature_K: float, rng: np.random.Generator, exponent: float) -> None:
        kept = np.exp(-exponent)
        width = np.sqrt(self.masses[:, None] * units.kB * temperature_K * (1 - kept**2))
        self.set_momenta(self._at_rest(kept * self.momenta() + width * rng.normal(size=(len(self.masses), 3))))

    def _at_rest(self, momenta: np.ndarray) -> np.ndarray:
        return momenta - self.masses[:, None] * momenta.sum(0) / self.masses.sum()

    def equilibrate(self, temperature_K: float, rng: np.random.Generator, time_ps: float) -> None:
        """From a first structure: a third of ``time_ps`` in a strong bath, ``anneal_K`` or hotter, then a weak one."""
        self.start(rng)
        hot = max(temperature_K, self.anneal_K)
        step = self.equilibration_timestep_fs
        self.draw_momenta(hot, rng)
        self.langevin(1000 * time_ps / 3, hot, rng, 5.0, step)
        self.langevin(1000 * time_ps * 2 / 3, temperature_K, rng, 2.0, step)

    def equilibrate_once(self, path: Path, temperature_K: float, rng: np.random.Generator, time_ps: float) -> None:
        """As :meth:`equilibrate`; where that ends is kept in ``path`` (NPZ), and the next call begins there."""
        if not path.exists():
            self.equilibrate(temperature_K, rng, time_ps)
            frame = self.get()
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                np.savez(temporary, positions=frame.positions, momenta=frame.momenta)
        with np.load(path) as kept:
            self.set(kept["positions"], kept["momenta"])

    def atoms(self) -> Atoms:
        """The current frame as ``ase.Atoms`` with momenta."""
        frame = self.get()
        return Atoms(self.numbers, frame.positions, cell=self.cell, pbc=True, masses=self.masses, momenta=frame.momenta)
