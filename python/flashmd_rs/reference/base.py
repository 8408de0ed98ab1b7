"""A reference simulation, independent of what computes its forces.

Two back ends implement it, :class:`~flashmd_rs.reference.openmm_system.OpenMMReference` and
:class:`~flashmd_rs.reference.ase_system.ASEReference`.

The Langevin bath is the same for both: velocity Verlet with exact Ornstein–Uhlenbeck kicks every few steps. It leaves
unchanged the distribution that velocity Verlet of the same time step conserves, and its momenta are Maxwell–Boltzmann
without a time-step error (Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34), so a segment that begins from it
does not relax. The noise comes from NumPy alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs._warn import warn
from flashmd_rs.writers.atomic_write import atomic_write

# Time between two kicks. The sampled distribution does not depend on it while it is short against 1/friction.
KICK_FS = 4.0
# Relative change of the cell's lengths, to either side, of a pressure by central difference. Pairs that cross a sharp
# cutoff make noise, the less the longer the step.
PRESSURE_STEP = 2e-3
# Forces of a calculator that is not deterministic may differ by this much, eV/Å.
REPEATABLE_EV_PER_A = 1e-4


class Frame(NamedTuple):
    """One instant of A atoms.

    Attributes:
        positions: [A, 3], Å, unwrapped.
        momenta: [A, 3], √(eV·u), at the instant of the positions.
        forces: [A, 3], eV/Å.
        energy: potential energy, eV.
    """

    positions: F64
    momenta: F64
    forces: F64
    energy: float


class Reference(ABC):
    """Atoms and a potential that can be simulated, in ASE units.

    Attributes:
        description: potential and method, in words a paper could print.
        timestep_fs: time step of velocity Verlet, fs.
        numbers: atomic numbers [A].
        masses: [A], u.
        cell: [3, 3], rows are lattice vectors, Å; zeros along axes without one.
        periodic: along which of them the system repeats [3].
        molecules: [A], index of each atom's molecule; molecules are wrapped into the box as wholes.
    """

    description: str
    timestep_fs: float
    numbers: NDArray[np.int_]
    masses: F64
    cell: F64
    periodic: NDArray[np.bool_]
    molecules: NDArray[np.int_]

    @abstractmethod
    def start(self, structure: int = 0) -> None:
        """Set a start structure, without overlaps, with all atoms at rest.

        Args:
            structure: its number; they are taken in turn.
        """

    @abstractmethod
    def set(self, positions: F64, momenta: F64) -> None:
        """Set positions (Å) and momenta (√(eV·u)), [A, 3] each, and reset every other state.

        What follows depends on these numbers alone, to the last bit: neighbour lists, whose order decides how forces
        are rounded, are built anew.
        """

    @abstractmethod
    def get(self) -> Frame:
        """The current frame."""

    @abstractmethod
    def energy(self, positions: F64, cell: F64 | None = None) -> float:
        """Potential energy (eV) at positions (Å) [A, 3]; the system stays there.

        ``cell`` [3, 3] (Å), if given, takes the place of the system's own for this energy alone.
        """

    @abstractmethod
    def energy_source(self) -> object:
        """The potential in a form that ``flashmd_rs.rollout`` accepts as ``energy_model``."""

    @abstractmethod
    def momenta(self) -> F64:
        """Momenta [A, 3], √(eV·u), at the instant of the positions."""

    @abstractmethod
    def set_momenta(self, momenta: F64) -> None:
        """Set momenta [A, 3] (√(eV·u)); positions stay."""

    @abstractmethod
    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        """Advance by ``time_fs`` with velocity Verlet, by default with the system's time step."""

    def langevin(
        self,
        time_fs: float,
        temperature_K: float,
        rng: np.random.Generator,
        friction_per_ps: float = 2.0,
        timestep_fs: float | None = None,
    ) -> None:
        """Advance in a Langevin bath: velocity Verlet with Ornstein–Uhlenbeck kicks, half a kick at both ends.

        The total momentum stays zero.

        Args:
            time_fs: time to advance, fs, rounded to whole intervals between kicks.
            temperature_K: temperature of the bath, K.
            rng: source of the noise.
            friction_per_ps: friction γ, 1/ps.
            timestep_fs: time step of velocity Verlet, fs; None for the system's.
        """
        timestep = timestep_fs or self.timestep_fs
        interval = timestep * max(1, round(KICK_FS / timestep))
        for _ in range(max(1, round(time_fs / interval))):
            self._thermostat_step(temperature_K, rng, 0.5 * interval * friction_per_ps * 1e-3)
            self.nve(interval, timestep)
            self._thermostat_step(temperature_K, rng, 0.5 * interval * friction_per_ps * 1e-3)

    def draw_momenta(self, temperature_K: float, rng: np.random.Generator) -> None:
        """Draw Maxwell–Boltzmann momenta without net momentum."""
        self._thermostat_step(temperature_K, rng, np.inf)

    def _thermostat_step(self, temperature_K: float, rng: np.random.Generator, exponent: float) -> None:
        """Ornstein–Uhlenbeck step p ← c p + √(m k_B T (1 − c²)) ξ with c = e^−exponent, exponent = γ Δt."""
        c = np.exp(-exponent)
        width = np.sqrt(self.masses[:, None] * units.kB * temperature_K * (1 - c**2))
        self.set_momenta(self._internal(c * self.momenta() + width * rng.normal(size=(len(self.masses), 3))))

    def _internal(self, momenta: F64) -> F64:
        """Momenta less the motion of the centre of mass."""
        internal: F64 = momenta - self.masses[:, None] * momenta.sum(0) / self.masses.sum()
        return internal

    def equilibrate(
        self,
        temperature_K: float,
        rng: np.random.Generator,
        time_ps: float,
        anneal_K: float = 0.0,
        structure: int = 0,
    ) -> None:
        """Equilibrate a start structure: a third of ``time_ps`` in a strong bath, then a weak one.

        The strong bath is at ``anneal_K`` or at ``temperature_K``, whichever is hotter.

        Raises:
            ValueError: a temperature or time that is not positive.
        """
        for name, value in (("temperature_K", temperature_K), ("time_ps", time_ps)):
            if not 0 < value < np.inf:
                raise ValueError(f"{name} must be positive, got {value}")
        self.start(structure)
        hot = max(temperature_K, anneal_K)
        self.draw_momenta(hot, rng)
        self.langevin(1000 * time_ps / 3, hot, rng, 5.0)
        self.langevin(1000 * time_ps * 2 / 3, temperature_K, rng, 2.0)

    def equilibrate_once(
        self,
        path: Path,
        temperature_K: float,
        rng: np.random.Generator,
        time_ps: float,
        anneal_K: float = 0.0,
        structure: int = 0,
    ) -> None:
        """As :meth:`equilibrate`, but the end is kept in the file ``path`` (NPZ), from which later calls begin."""
        if not path.exists():
            self.equilibrate(temperature_K, rng, time_ps, anneal_K, structure)
            frame = self.get()
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as temporary:
                np.savez(temporary, positions=frame.positions, momenta=frame.momenta)
        with np.load(path) as stored:
            self.set(stored["positions"], stored["momenta"])

    def atoms(self) -> Atoms:
        """The current frame as ``ase.Atoms`` with momenta."""
        frame = self.get()
        return Atoms(
            self.numbers,
            frame.positions,
            cell=self.cell,
            pbc=self.periodic,
            masses=self.masses,
            momenta=frame.momenta,
        )


def force_repeatability(reference: Reference) -> float:
    """Largest difference between forces on the first start structure, evaluated twice from scratch, eV/Å.

    It is 0 as a rule; up to :data:`REPEATABLE_EV_PER_A` there is a warning.

    Raises:
        ValueError: it is larger.
    """
    reference.start()
    frame, forces = reference.get(), []
    for _ in range(2):
        reference.set(frame.positions, np.zeros_like(frame.positions))
        forces.append(reference.get().forces)
    difference = float(np.abs(forces[1] - forces[0]).max())
    # Written so that NaN fails as well.
    if not difference <= REPEATABLE_EV_PER_A:
        raise ValueError(
            f"forces on the same atoms differ by {difference:.2g} eV/Å from one evaluation to the next, wanted at most "
            f"{REPEATABLE_EV_PER_A:g}: converge the calculator further, or make it deterministic"
        )
    if difference:
        warn(
            f"forces on the same atoms differ by {difference:.2g} eV/Å from one evaluation to the next: files that are "
            "made again agree to that only"
        )
    return difference


def virial_pressure(
    energy: Callable[[F64, F64], float], positions: F64, cell: F64, masses: F64, molecules: NDArray[np.int_]
) -> float:
    """Pressure without its kinetic part, bar: −∂U/∂V by central difference, with molecules that move as wholes.

    Args:
        energy: U in eV, of positions [A, 3] and cell [3, 3], Å.
        positions: [A, 3], Å, with whole molecules.
        cell: [3, 3], Å.
        masses: [A], u; the centre of mass of a molecule is scaled with the cell.
        molecules: index of each atom's molecule [A].
    """
    mass = np.bincount(molecules, masses)
    centres = np.stack([np.bincount(molecules, masses * x) / mass for x in positions.T], axis=1)[molecules]

    def scaled(factor: float) -> float:
        return energy(positions + (factor - 1) * centres, factor * cell)

    longer, shorter = 1 + PRESSURE_STEP, 1 - PRESSURE_STEP
    change = abs(np.linalg.det(cell)) * (longer**3 - shorter**3)
    return float((scaled(shorter) - scaled(longer)) / change / units.bar)
