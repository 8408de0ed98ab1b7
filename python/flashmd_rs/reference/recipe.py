"""The recipe of a data file, and the simulation of one of its segments."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from ase.cell import Cell
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.system import System, default_timestep_fs

# Friction of the bath between segments: strong, so that a short time renews the momenta.
DECORRELATION_FRICTION_PER_PS = 20.0
# Largest change of the total energy in a segment, as a share of the kinetic energy; stable runs stay below a hundredth.
LARGEST_ENERGY_CHANGE = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines the numbers in a data file, apart from the machine and the versions.

    Attributes:
        system: start structures and potential.
        temperatures_K: temperatures of the chains, K.
        replicas: chains at each temperature; they take the start structures in turn.
        seed: seed of every random number.
        timestep_fs: time step of velocity Verlet, fs; None for the system's own.
        spacing_fs: time between frames, fs.
        length_fs: length of a segment, fs.
        decorrelation_fs: time in the bath between segments, fs; 0 makes each chain one NVE run, cut into segments.
        equilibration_ps: time in the bath before the first segment of a chain, ps.
        anneal_K: the first third of the equilibration is at least this hot, K.

    Raises:
        ValueError: a number that is out of bounds or does not divide into time steps.
    """

    system: System
    temperatures_K: tuple[float, ...]
    replicas: int = 1
    seed: int = 1
    timestep_fs: float | None = None
    spacing_fs: float = 8.0
    length_fs: float = 64.0
    decorrelation_fs: float = 40.0
    equilibration_ps: float = 5.0
    anneal_K: float = 0.0

    def __post_init__(self) -> None:
        if self.timestep_fs is None:
            default = default_timestep_fs(self.system.structures[0].get_masses())
            object.__setattr__(self, "timestep_fs", default)
        for name in ("replicas", "timestep_fs", "spacing_fs", "length_fs", "equilibration_ps"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.temperatures_K or not all(0 < t < np.inf for t in self.temperatures_K):
            raise ValueError(f"temperatures_K must be positive, got {self.temperatures_K}")
        if len(set(self.temperatures_K)) < len(self.temperatures_K):
            raise ValueError(f"a temperature is given twice in {self.temperatures_K}; ask for replicas instead")
        for name in ("seed", "decorrelation_fs", "anneal_K"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name, total, part in (
            ("spacing_fs", self.spacing_fs, self.step_fs),
            ("length_fs", self.length_fs, self.spacing_fs),
        ):
            if abs(total / part - round(total / part)) > 1e-9:
                raise ValueError(f"{name} = {total} fs is not a multiple of {part} fs")

    @property
    def step_fs(self) -> float:
        """Time step of velocity Verlet, fs."""
        assert self.timestep_fs is not None
        return self.timestep_fs

    @property
    def chains(self) -> int:
        """Independent simulations: temperatures × replicas."""
        return len(self.temperatures_K) * self.replicas

    @property
    def frames(self) -> int:
        """Frames of a segment, both ends included."""
        return round(self.length_fs / self.spacing_fs) + 1

    def temperature(self, number: int) -> float:
        """Temperature (K) of segment ``number`` of the file; chains take turns."""
        return self.temperatures_K[number % self.chains % len(self.temperatures_K)]

    def structure(self, number: int) -> int:
        """Number of the start structure of the chain of segment ``number``."""
        return number % self.chains // len(self.temperatures_K) % len(self.system.structures)

    def build(self) -> Reference:
        """The system, on one thread."""
        return self.system.reference(self.timestep_fs)

    def attributes(self) -> dict[str, Any]:
        """The attribute ``recipe`` of a data file: what determines the system's numbers, and the fields."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "system"}
        return {
            "reference": f"{self.system.potential.description}, velocity Verlet",
            **self.system.attributes(),
            **own,
            "temperatures_K": list(self.temperatures_K),
        }


class Segment(NamedTuple):
    """A stretch of NVE: F frames of A atoms.

    Attributes:
        positions: [F, A, 3], Å.
        momenta: [F, A, 3], √(eV·u).
        forces: [F, A, 3], eV/Å; None of a trajectory without them.
        energy: potential energy [F], eV; None of a trajectory without it.
        temperature_K: temperature of the bath before it, K.
    """

    positions: NDArray[np.float32]
    momenta: NDArray[np.float32]
    forces: NDArray[np.float32] | None
    energy: F64 | None
    temperature_K: float


# The reference that a thread last built: an OpenMM context must not be shared between threads, and building one takes
# longer than a segment.
_built = threading.local()


def built_reference(recipe: Recipe) -> Reference:
    """The reference of a recipe, built once per thread."""
    key = recipe.attributes()
    if getattr(_built, "key", None) != key:
        _built.key, _built.reference = key, recipe.build()
    reference: Reference = _built.reference
    return reference


def simulate(recipe: Recipe, number: int, before: tuple[NDArray[Any], NDArray[Any]] | None) -> Segment:
    """Segment ``number`` of a data file, a function of these arguments alone.

    Args:
        recipe: the recipe of the file.
        number: segment ``number`` belongs to chain ``number % recipe.chains``.
        before: positions and momenta [A, 3] at the end of the chain's last segment, as stored; None starts the chain
            with an equilibration.

    Raises:
        FloatingPointError: the total energy was not conserved.
    """
    reference = built_reference(recipe)
    rng = np.random.default_rng([recipe.seed, number])
    temperature = recipe.temperature(number)
    if before is None:
        reference.equilibrate(
            temperature, rng, recipe.equilibration_ps, recipe.anneal_K, structure=recipe.structure(number)
        )
    else:
        reference.set(before[0].astype(float), before[1].astype(float))
    if recipe.decorrelation_fs:
        reference.langevin(recipe.decorrelation_fs, temperature, rng, DECORRELATION_FRICTION_PER_PS)
    return record(reference, recipe, temperature)


def record(reference: Reference, recipe: Recipe, temperature_K: float) -> Segment:
    """The segment of a recipe that begins at the current frame of a reference.

    Raises:
        FloatingPointError: the total energy was not conserved.
    """
    frames = [reference.get()]
    for _ in range(recipe.frames - 1):
        reference.nve(recipe.spacing_fs)
        frames.append(reference.get())
    positions, momenta, forces, energy = (np.array(values) for values in zip(*frames, strict=True))
    kinetic = 0.5 * (momenta**2 / reference.masses[:, None]).sum((1, 2))
    gained = np.abs(energy + kinetic - energy[0] - kinetic[0]).max()
    # Written so that NaN fails as well.
    if not gained < LARGEST_ENERGY_CHANGE * kinetic[0]:
        raise FloatingPointError(
            f"{recipe.system.formula} at {temperature_K} K gained {gained:.3g} eV in the {recipe.length_fs} fs of a "
            f"segment, without a bath; take a shorter time step than {recipe.step_fs} fs"
        )
    positions = positions - lattice_shift(positions[0], reference.cell, reference.periodic, reference.molecules)
    return Segment(positions.astype("f4"), momenta.astype("f4"), forces.astype("f4"), energy, temperature_K)


def lattice_shift(positions: F64, cell: F64, periodic: NDArray[np.bool_], molecules: NDArray[np.int_]) -> F64:
    """Lattice vectors [A, 3] to subtract so that each molecule's first atom is in the box and f4 keeps its digits."""
    if not periodic.any():
        return np.zeros_like(positions)
    _, first = np.unique(molecules, return_index=True)
    whole = Cell(cell).complete().array
    boxes = np.floor(positions[first] @ np.linalg.inv(whole)) * periodic
    shift: F64 = (boxes @ whole)[molecules]
    return shift
