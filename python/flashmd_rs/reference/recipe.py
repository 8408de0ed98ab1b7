"""What a data file is made of: the recipe, and the one segment that it makes of a seed and a number."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import numpy as np

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.systems import system

# Short, strong pieces of the bath between segments renew momenta without waiting for diffusion.
DECORRELATION_FRICTION_PER_PS = 20.0
# Share of the kinetic energy by which the total may move in a segment; sound runs stay below a hundredth.
ENERGY_KEPT = 0.1
# Fields of a recipe that have no default of their own in a system.
_NOT_THE_SYSTEMS = ("system", "seed", "replicas", "density_g_per_cm3")


@dataclass(frozen=True)
class Recipe:
    """All that decides the numbers of a file, beside the machine and the versions.

    Attributes:
        system: name of the system. size: its size.
        temperatures_K: of the chains; ``replicas`` chains for each.
        seed: of every random number.
        timestep_fs: step of velocity Verlet.
        spacing_fs: between frames. length_fs: of a segment.
        decorrelation_fs: in the bath between segments; 0 makes each chain one NVE run, cut into segments.
        equilibration_ps: in the bath before the first segment of a chain.
        density_g_per_cm3: of the box, for water; None is the system's own.

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
        for name, whole, part in (
            ("spacing_fs", self.spacing_fs, self.timestep_fs),
            ("length_fs", self.length_fs, self.spacing_fs),
        ):
            if abs(whole / part - round(whole / part)) > 1e-9:
                raise ValueError(f"{name} = {whole} fs is not a multiple of {part} fs")

    @classmethod
    def of(cls, name: str, seed: int = 1, replicas: int = 1, **given: object) -> Recipe:
        """A recipe with the defaults of the system ``name`` where ``given`` is silent or None."""
        words = system(name)
        own = (f.name for f in fields(cls) if f.name not in _NOT_THE_SYSTEMS)
        values = {k: getattr(words, k) if given.get(k) is None else given[k] for k in own}
        density = given.get("density_g_per_cm3")
        return cls(system=name, seed=seed, replicas=replicas, density_g_per_cm3=density, **values)

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
        more = {} if self.density_g_per_cm3 is None else dict(density_g_per_cm3=self.density_g_per_cm3)
        return system(self.system)(self.size, self.timestep_fs, **more)

    def attributes(self) -> dict:
        """For the file: the fields, and what the system is in words."""
        words = system(self.system)
        return dict(reference=words.description, size_is=words.size_is, **asdict(self)) | dict(
            temperatures_K=list(self.temperatures_K)
        )


class Segment(NamedTuple):
    """F frames of A atoms: positions, momenta and forces [F, A, 3] (f4), potential energy [F] (f8), bath (K)."""

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    energy: np.ndarray
    temperature_K: float


_held = threading.local()


def _reference(recipe: Recipe) -> Reference:
    # One per thread: an OpenMM context must not be shared, and building it takes longer than a segment.
    if getattr(_held, "recipe", None) != recipe:
        _held.recipe, _held.reference = recipe, recipe.build()
    return _held.reference


def simulate(recipe: Recipe, number: int, before: tuple[np.ndarray, np.ndarray] | None) -> Segment:
    """Segment ``number`` of the file, a function of these arguments alone.

    Args:
        recipe: of the file.
        number: segment ``number`` belongs to chain ``number % recipe.chains``.
        before: positions and momenta [A, 3] at the end of the chain's last segment, as stored; None
            starts the chain with an equilibration.

    Raises:
        FloatingPointError: the total energy was not kept.
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
    """The segment of a recipe from where the reference is now.

    Raises:
        FloatingPointError: the total energy was not kept.
    """
    frames = [reference.get()]
    for _ in range(recipe.frames - 1):
        reference.nve(recipe.spacing_fs)
        frames.append(reference.get())
    positions, momenta, forces, energy = (np.array(x) for x in zip(*frames))
    kinetic = 0.5 * (momenta**2 / reference.masses[:, None]).sum((1, 2))
    gained = np.abs(energy + kinetic - energy[0] - kinetic[0]).max()
    # Also false for what is not a number.
    if not gained < ENERGY_KEPT * kinetic[0]:
        raise FloatingPointError(
            f"{recipe.system} at {temperature_K} K gained {gained:.3g} eV in the {recipe.length_fs} fs of a segment, "
            f"without a bath; take a shorter time step than {recipe.timestep_fs} fs"
        )
    positions = positions - _lattice_shift(positions[0], reference)
    return Segment(positions.astype("f4"), momenta.astype("f4"), forces.astype("f4"), energy, temperature_K)


def _lattice_shift(positions: np.ndarray, reference: Reference) -> np.ndarray:
    """Shift [A, 3] that brings the first atom of each molecule into the box, so that f4 keeps its digits."""
    _, first = np.unique(reference.molecules, return_index=True)
    whole = np.floor(positions[first] @ np.linalg.inv(reference.cell))
    return (whole @ reference.cell)[reference.molecules]
