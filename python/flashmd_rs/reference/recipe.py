"""The recipe of a data file, and the simulation of one of its segments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.systems import system

# Friction of the bath between segments: strong, so that a short time renews the momenta.
DECORRELATION_FRICTION_PER_PS = 20.0
# Largest change of the total energy in a segment, as a share of the kinetic energy; stable runs stay below a hundredth.
LARGEST_ENERGY_CHANGE = 0.1
# Fields of a recipe for which a system has no default.
_WITHOUT_DEFAULT = ("system", "seed", "replicas", "density_g_per_cm3")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the numbers in a data file, apart from the machine and the versions.

    Attributes:
        system: name of the system, a key of :data:`~flashmd_rs.reference.systems.SYSTEMS`.
        size: its size, in what its ``size_is`` counts.
        temperatures_K: temperatures of the chains, K.
        replicas: chains at each temperature.
        seed: seed of every random number.
        timestep_fs: time step of velocity Verlet, fs.
        spacing_fs: time between frames, fs.
        length_fs: length of a segment, fs.
        decorrelation_fs: time in the bath between segments, fs; 0 makes each chain one NVE run, cut into segments.
        equilibration_ps: time in the bath before the first segment of a chain, ps.
        density_g_per_cm3: density of a box of water, g/cm³; None for the system's own.

    Raises:
        ValueError: a number that is out of bounds or does not divide into time steps.
    """

    system: str
    size: int
    temperatures_K: tuple[float, ...]
    replicas: int
    seed: int
    timestep_fs: float
    spacing_fs: float
    length_fs: float
    decorrelation_fs: float
    equilibration_ps: float
    density_g_per_cm3: float | None = None

    def __post_init__(self) -> None:
        system(self.system)
        if self.density_g_per_cm3 is not None and not (self.system == "water" and 0.5 < self.density_g_per_cm3 < 1.5):
            raise ValueError(
                f"density_g_per_cm3 is for water, from 0.5 to 1.5, got {self.density_g_per_cm3} for {self.system}"
            )
        for name in ("size", "replicas", "timestep_fs", "spacing_fs", "length_fs", "equilibration_ps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.temperatures_K or not all(0 < t < np.inf for t in self.temperatures_K):
            raise ValueError(f"temperatures_K must be positive, got {self.temperatures_K}")
        if len(set(self.temperatures_K)) < len(self.temperatures_K):
            raise ValueError(f"a temperature is given twice in {self.temperatures_K}; ask for replicas instead")
        if self.seed < 0 or self.decorrelation_fs < 0:
            raise ValueError(
                f"seed and decorrelation_fs must not be negative, got {self.seed} and {self.decorrelation_fs}"
            )
        for name, total, part in (
            ("spacing_fs", self.spacing_fs, self.timestep_fs),
            ("length_fs", self.length_fs, self.spacing_fs),
        ):
            if abs(total / part - round(total / part)) > 1e-9:
                raise ValueError(f"{name} = {total} fs is not a multiple of {part} fs")

    @classmethod
    def of(cls, name: str, seed: int = 1, replicas: int = 1, **given: Any) -> Recipe:
        """A recipe of the system ``name``, with the system's defaults for every field not given or None."""
        defaults = system(name)
        names = (field.name for field in fields(cls) if field.name not in _WITHOUT_DEFAULT)
        values = {name: getattr(defaults, name) if given.get(name) is None else given[name] for name in names}
        density = given.get("density_g_per_cm3")
        return cls(system=name, seed=seed, replicas=replicas, density_g_per_cm3=density, **values)

    @classmethod
    def from_attributes(cls, stored: dict[str, Any]) -> Recipe:
        """The recipe that :meth:`attributes` described."""
        values = {field.name: stored.get(field.name) for field in fields(cls)}
        return cls(**(values | {"temperatures_K": tuple(stored["temperatures_K"])}))

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

    def build(self) -> Reference:
        """The system, on one thread."""
        more = {} if self.density_g_per_cm3 is None else {"density_g_per_cm3": self.density_g_per_cm3}
        make: Callable[..., Reference] = system(self.system)
        return make(self.size, self.timestep_fs, **more)

    def attributes(self) -> dict[str, Any]:
        """The attribute ``recipe`` of a data file: the fields and the system's description."""
        kind = system(self.system)
        values = {"reference": kind.description, "size_is": kind.size_is, **asdict(self)}
        return values | {"temperatures_K": list(self.temperatures_K)}


class Segment(NamedTuple):
    """A stretch of NVE: F frames of A atoms.

    Attributes:
        positions: [F, A, 3], Å.
        momenta: [F, A, 3], √(eV·u).
        forces: [F, A, 3], eV/Å.
        energy: potential energy [F], eV.
        temperature_K: temperature of the bath before it, K.
    """

    positions: NDArray[np.float32]
    momenta: NDArray[np.float32]
    forces: NDArray[np.float32]
    energy: F64
    temperature_K: float


# The reference that a thread last built: an OpenMM context must not be shared between threads, and building one takes
# longer than a segment.
_built = threading.local()


def _reference(recipe: Recipe) -> Reference:
    if getattr(_built, "recipe", None) != recipe:
        _built.recipe, _built.reference = recipe, recipe.build()
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
    reference = _reference(recipe)
    rng = np.random.default_rng([recipe.seed, number])
    temperature = recipe.temperature(number)
    if before is None:
        reference.equilibrate(temperature, rng, recipe.equilibration_ps)
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
            f"{recipe.system} at {temperature_K} K gained {gained:.3g} eV in the {recipe.length_fs} fs of a segment, "
            f"without a bath; take a shorter time step than {recipe.timestep_fs} fs"
        )
    positions = positions - _lattice_shift(positions[0], reference)
    return Segment(positions.astype("f4"), momenta.astype("f4"), forces.astype("f4"), energy, temperature_K)


def _lattice_shift(positions: F64, reference: Reference) -> F64:
    """Lattice vectors [A, 3] to subtract so that each molecule's first atom is in the box and f4 keeps its digits."""
    _, first = np.unique(reference.molecules, return_index=True)
    boxes = np.floor(positions[first] @ np.linalg.inv(reference.cell))
    shift: F64 = (boxes @ reference.cell)[reference.molecules]
    return shift
