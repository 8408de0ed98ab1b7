"""A data file made of a trajectory that exists: checked, labelled where a potential is given, cut into segments."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray
from tqdm import tqdm

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.recipe import Segment, lattice_shift
from flashmd_rs.reference.store import Store
from flashmd_rs.reference.system import MASS_TOLERANCE, default_timestep_fs
from flashmd_rs.reference.trajectory_run import TrajectoryRun, read_run
from flashmd_rs.reference.velocity_offset import Offset, velocity_offset

# Segments are about this long where no length is asked for, fs.
DEFAULT_LENGTH_FS = 64.0
# Frames that are labelled to tell the kinetic energy of synchronised momenta from the file's.
HEAT_FRAMES = 50


@dataclass(frozen=True, kw_only=True)
class TrajectorySource:
    """A trajectory, and how segments are made of it.

    Attributes:
        path: file of the frames.
        topology: file of their elements and masses, for formats without them.
        units: LAMMPS' name for the units of a dump, or of velocities in a column of an extended XYZ file.
        potential: labels every frame with its energy and forces, in place of the file's.
        spacing_fs: time between frames, fs; None for the one the file states.
        length_fs: length of a segment, fs; None for about 64.
        temperature_K: of the run, K; None for its mean kinetic temperature.
        synchronize: move velocities that are half a time step off to the positions, by the forces.
    """

    path: Path
    topology: Path | None = None
    units: str | None = None
    potential: Potential | None = None
    spacing_fs: float | None = None
    length_fs: float | None = None
    temperature_K: float | None = None
    synchronize: bool = False


@dataclass(frozen=True)
class TrajectoryRecipe:
    """What a data file says of the trajectory it was made of.

    Attributes:
        source: the trajectory.
        run: its frames.
        offset: of its velocities from its positions, as the file has them.
        heat: kinetic energy of synchronised momenta over that of the file's.
    """

    source: TrajectorySource
    run: TrajectoryRun
    offset: Offset
    heat: float = 1.0

    @property
    def frames(self) -> int:
        """Frames of a segment, both ends included."""
        length = DEFAULT_LENGTH_FS if self.source.length_fs is None else self.source.length_fs
        return max(1, round(length / self.run.spacing_fs)) + 1

    @property
    def segments(self) -> int:
        """Segments of the run; one ends at the frame at which the next begins."""
        return (len(self.run.positions) - 1) // (self.frames - 1)

    @property
    def temperature_K(self) -> float:
        """Temperature of the segments, K."""
        asked = self.source.temperature_K
        return round(self.heat * self.run.temperature_K, 1) if asked is None else asked

    def attributes(self) -> dict[str, Any]:
        """The attribute ``recipe`` of a data file: one chain without a bath between its segments."""
        potential, run = self.source.potential, self.run
        labelled = f", labelled by {potential.description}" if potential else ""
        return {
            "reference": f"trajectory {run.name}{labelled}",
            "formula": run.atoms().get_chemical_formula(),
            "trajectory_sha256": hashlib.sha256(run.positions.tobytes() + run.momenta.tobytes()).hexdigest(),
            **(potential.attributes() if potential else {}),
            "temperatures_K": [self.temperature_K],
            "replicas": 1,
            "spacing_fs": run.spacing_fs,
            "length_fs": run.spacing_fs * (self.frames - 1),
            "decorrelation_fs": 0.0,
            "velocity_offset_fs": [round(x, 4) for x in self.offset],
            "synchronized": self.source.synchronize and not self.offset.is_none,
        }


def store_trajectory(path: Path, source: TrajectorySource, report: Callable[[str], None] = print) -> None:
    """Cut a trajectory into the segments of a data file; a rerun goes on where it stopped.

    Args:
        path: HDF5 file (layout in :mod:`flashmd_rs.reference.store`), with forces and energies where there are some.
        source: the trajectory.
        report: is told what was found, in one sentence.

    Raises:
        ValueError: the trajectory is not one to train on, in one sentence, or the file was made otherwise.
        OSError: a file is missing or not readable, or the disk is full.
    """
    if source.temperature_K is not None and not 0 < source.temperature_K < np.inf:
        raise ValueError(f"temperature_K must be positive, got {source.temperature_K}")
    run = read_run(source.path, source.topology, source.units, source.spacing_fs)
    _check_masses(run)
    offset = velocity_offset(run.positions, run.momenta, run.masses, run.spacing_fs)
    recipe = TrajectoryRecipe(source, run, offset)
    _check_length(recipe)
    has_forces = source.potential is not None or run.forces is not None
    if not offset.is_none and not (source.synchronize and has_forces):
        raise ValueError(_half_a_step_off(recipe, has_forces))
    reference = None
    if source.potential is not None:
        reference = source.potential.reference([run.atoms()], default_timestep_fs(run.masses))
    if not offset.is_none:
        recipe = replace(recipe, heat=_heat(run, offset, reference))
    has = {"forces": has_forces, "energy": reference is not None or run.energy is not None}
    columns = tuple(name for name in Segment._fields if has.get(name, True))
    report(
        f"{run.name}: {len(run.positions)} frames every {run.spacing_fs:g} fs at {recipe.temperature_K:.1f} K, "
        f"velocities {offset.fs:+.3f} ± {offset.error_fs:.3f} fs from the positions"
        f"{'' if offset.is_none else ', now synchronised'}; {recipe.segments} segments of {recipe.frames} frames"
    )
    with Store(path, recipe, run, columns) as store:
        done = len(store)
        for number in tqdm(
            range(done, recipe.segments), total=recipe.segments, initial=done, unit="seg", mininterval=10
        ):
            store.append(_segment(recipe, number, reference))


def _segment(recipe: TrajectoryRecipe, number: int, reference: Reference | None) -> Segment:
    """Segment ``number`` of the run."""
    run, start = recipe.run, number * (recipe.frames - 1)
    rows = slice(start, start + recipe.frames)
    positions, momenta = run.positions[rows], run.momenta[rows]
    forces, energy = (None if values is None else values[rows] for values in (run.forces, run.energy))
    if reference is not None:
        forces, energy = _labels(reference, positions, momenta)
    if not recipe.offset.is_none:
        assert forces is not None
        momenta = momenta - recipe.offset.fs * units.fs * forces
    shifted = positions - lattice_shift(positions[0], run.cell, run.periodic, np.arange(len(run.masses)))
    return Segment(
        shifted.astype("f4"),
        momenta.astype("f4"),
        None if forces is None else forces.astype("f4"),
        energy,
        recipe.temperature_K,
    )


def _heat(run: TrajectoryRun, offset: Offset, reference: Reference | None) -> float:
    """Kinetic energy of synchronised momenta over the file's: leapfrog's own are too hot, most at fast vibrations."""
    momenta, forces = run.momenta, run.forces
    if reference is not None:
        rows = np.unique(np.linspace(0, len(run.positions) - 1, HEAT_FRAMES).astype(int))
        momenta = momenta[rows]
        forces, _ = _labels(reference, run.positions[rows], momenta)
    assert forces is not None
    mass = run.masses[:, None]
    synchronised = momenta - offset.fs * units.fs * forces
    return float((synchronised**2 / mass).sum() / (momenta**2 / mass).sum())


def _labels(reference: Reference, positions: F64, momenta: F64) -> tuple[F64, F64]:
    """Forces [F, A, 3] and energies [F] of frames."""
    forces, energies = [], []
    for q, p in zip(positions, momenta, strict=True):
        reference.set(q, p)
        frame = reference.get()
        forces.append(frame.forces)
        energies.append(frame.energy)
    return np.array(forces), np.array(energies)


def _check_masses(run: TrajectoryRun) -> None:
    """Raise ValueError for an element of two masses."""
    numbers: NDArray[np.int_] = np.unique(run.numbers)
    for number in numbers:
        masses = run.masses[run.numbers == number]
        if np.ptp(masses) > MASS_TOLERANCE * masses[0]:
            raise ValueError(
                f"{chemical_symbols[number]} has masses of {masses.min():g} and {masses.max():g} u in {run.name}; one "
                "model knows one mass per element"
            )


def _check_length(recipe: TrajectoryRecipe) -> None:
    """Raise ValueError if the segments are no multiple of the spacing, or the run is shorter than one."""
    run, asked = recipe.run, recipe.source.length_fs
    length = run.spacing_fs * (recipe.frames - 1)
    if asked is not None and abs(asked - length) > 1e-6 * length:
        raise ValueError(
            f"length_fs = {asked:g} fs is not a multiple of the {run.spacing_fs:g} fs between frames of {run.name}"
        )
    if not recipe.segments:
        raise ValueError(
            f"{run.name} has too few frames, {len(run.positions)}: a segment of {length:g} fs every "
            f"{run.spacing_fs:g} fs needs {recipe.frames}"
        )


def _half_a_step_off(recipe: TrajectoryRecipe, has_forces: bool) -> str:
    """What is wrong with velocities at another instant than the positions, and what to do."""
    offset = recipe.offset
    late = "before" if offset.fs < 0 else "after"
    do = (
        "pass --synchronize to move them by the forces"
        if has_forces
        else ("give --synchronize and a potential, whose forces move them")
    )
    return (
        f"velocities of {recipe.run.name} are from {abs(offset.fs):.3f} ± {offset.error_fs:.3f} fs {late} its "
        "positions, as leapfrog integrators write them (OpenMM, and GROMACS with integrator = md, half a time step "
        f"before): {do}, or simulate with velocity Verlet (LAMMPS, ASE, GROMACS' md-vv), which writes both "
        "at one instant"
    )
