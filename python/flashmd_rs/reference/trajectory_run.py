"""A trajectory that another program wrote, as positions and momenta at even times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.cell import Cell
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.structure_files import read_frames

# Frames may be unevenly spaced by this share of the spacing: times are written with few digits.
SPACING_TOLERANCE = 0.01
# Cells of frames may differ by this much, Å.
CELL_TOLERANCE_A = 1e-4
# Where jumps over the box are mended, atoms may otherwise move by less than this share of it between frames.
LARGEST_SHARE_OF_BOX = 0.25
# Root mean square displacement between frames over that by the velocities: at most 1, and less the longer the spacing.
DISPLACEMENT_SHARE = (0.3, 1.05)
FEWEST_FRAMES = 3


@dataclass
class TrajectoryRun:
    """T frames of A atoms.

    Attributes:
        name: of the file.
        numbers: atomic numbers [A].
        masses: [A], u.
        cell: [3, 3], Å.
        periodic: along which of its vectors [3].
        positions: [T, A, 3], Å, unwrapped.
        momenta: [T, A, 3], √(eV·u).
        forces: [T, A, 3], eV/Å, where the file has them.
        energy: potential energy [T], eV, where the file has it.
        spacing_fs: time between frames, fs.
    """

    name: str
    numbers: NDArray[np.int_]
    masses: F64
    cell: F64
    periodic: NDArray[np.bool_]
    positions: F64
    momenta: F64
    forces: F64 | None
    energy: F64 | None
    spacing_fs: float

    @property
    def temperature_K(self) -> float:
        """Mean kinetic temperature without the motion of the centre of mass, K."""
        internal = self.momenta - self.masses[:, None] * (self.momenta.sum(1, keepdims=True) / self.masses.sum())
        kinetic = 0.5 * (internal**2 / self.masses[:, None]).sum((1, 2))
        return float(2 * kinetic.mean() / (3 * len(self.masses) - 3) / units.kB)

    def atoms(self) -> Atoms:
        """The first frame, without momenta."""
        return Atoms(self.numbers, self.positions[0], cell=self.cell, pbc=self.periodic, masses=self.masses)


def read_run(
    path: Path, topology: Path | None = None, units_of_file: str | None = None, spacing_fs: float | None = None
) -> TrajectoryRun:
    """Read a trajectory.

    Args:
        path: file that :func:`flashmd_rs.structure_files.read_frames` reads.
        topology: file of the elements and masses, for formats without them.
        units_of_file: LAMMPS' name for the units of a dump, or of a column of velocities of an extended XYZ file.
        spacing_fs: time between frames, fs; None for the one the file states.

    Raises:
        ValueError: too few frames, frames of different atoms or cells or at uneven or unknown times, no momenta,
            numbers that are not finite, positions that were wrapped beyond mending, or momenta that do not go with the
            positions.
        OSError: the file is missing or not readable.
    """
    frames = read_frames(path, topology=topology, units=units_of_file)
    name, first = path.name, frames[0]
    if len(frames) < FEWEST_FRAMES:
        raise ValueError(f"{name} has too few frames, {len(frames)}: wanted at least {FEWEST_FRAMES}")
    if len(first) < 2:
        raise ValueError(f"{name} has {len(first)} atoms, wanted two or more, which move against each other")
    for k, atoms in enumerate(frames):
        _check_frame(atoms, first, f"frame {k} of {name}")
    positions, momenta = (np.array([getattr(a, f"get_{what}")() for a in frames]) for what in ("positions", "momenta"))
    run = TrajectoryRun(
        name=name,
        numbers=first.numbers,
        masses=first.get_masses(),
        cell=first.cell.array.copy(),
        periodic=first.pbc.copy(),
        positions=_unwrapped(positions, first.cell.array, first.pbc, name),
        momenta=momenta,
        forces=_results(frames, "forces"),
        energy=_results(frames, "energy"),
        spacing_fs=_spacing_fs(frames, name) if spacing_fs is None else spacing_fs,
    )
    _check_displacements(run)
    return run


def _check_frame(atoms: Atoms, first: Atoms, name: str) -> None:
    """Raise ValueError if a frame lacks momenta, or does not go with the first."""
    if len(atoms) != len(first) or (atoms.numbers != first.numbers).any():
        raise ValueError(f"{name} has other atoms than the first, or in another order: wanted the same in every frame")
    if not np.allclose(atoms.cell, first.cell, rtol=0, atol=CELL_TOLERANCE_A) or (atoms.pbc != first.pbc).any():
        raise ValueError(
            f"{name} has another cell than the first: segments are of constant volume; simulate without a barostat"
        )
    if not atoms.get_momenta().any():
        raise ValueError(
            f"{name} has no momenta: write velocities (extended XYZ: a column `momenta` in ASE's units, or one of "
            "velocities, whose units are named by --units)"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        raise ValueError(f"{name} has a position or momentum that is not finite")


def _spacing_fs(frames: list[Atoms], name: str) -> float:
    """The even spacing of the frames, by their times."""
    if not all("time_fs" in atoms.info for atoms in frames):
        raise ValueError(f"{name} does not say the times of its frames: give their spacing (--spacing-fs)")
    steps = np.diff([atoms.info["time_fs"] for atoms in frames])
    spacing = float(steps.mean())
    if not (spacing > 0 and np.abs(steps - spacing).max() < SPACING_TOLERANCE * spacing):
        k = int(np.abs(steps - np.median(steps)).argmax())
        raise ValueError(
            f"{name} is not evenly spaced: {steps[k]:g} fs from frame {k} to {k + 1}, {np.median(steps):g} fs "
            "elsewhere; write frames at even times, each once"
        )
    # Times of few digits average out over the run; their noise does not belong into the spacing.
    return float(f"{spacing:.6g}")


def _unwrapped(positions: F64, cell: F64, periodic: NDArray[np.bool_], name: str) -> F64:
    """Positions without jumps over the box."""
    if not periodic.any():
        return positions
    whole = Cell(cell).complete().array
    moved = np.diff(positions, axis=0) @ np.linalg.inv(whole)
    jumps = np.round(moved) * periodic
    if not jumps.any():
        return positions
    largest = float(np.abs((moved - jumps)[..., periodic]).max())
    if largest > LARGEST_SHARE_OF_BOX:
        raise ValueError(
            f"{name} was wrapped into its box, and atoms move by {largest:.2f} of it between frames, too far to tell "
            "how: write unwrapped positions, or frames more often"
        )
    mended: F64 = positions.copy()
    mended[1:] -= np.cumsum(jumps, axis=0) @ whole
    return mended


def _results(frames: list[Atoms], name: str) -> F64 | None:
    """Energies or forces of all frames, where the file has them for every one."""
    found = [None if atoms.calc is None else atoms.calc.results.get(name) for atoms in frames]
    return None if any(value is None for value in found) else np.array(found, dtype=float)


def _check_displacements(run: TrajectoryRun) -> None:
    """Raise ValueError if atoms do not move as far as their velocities say: other units, or another spacing."""
    velocities = run.momenta / run.masses[:, None]
    moved = np.sqrt((np.diff(run.positions, axis=0) ** 2).sum())
    by_velocity = run.spacing_fs * units.fs * np.sqrt((0.5 * (velocities[1:] ** 2 + velocities[:-1] ** 2)).sum())
    low, high = DISPLACEMENT_SHARE
    if not low < moved / by_velocity < high:
        raise ValueError(
            f"atoms of {run.name} move {moved / by_velocity:.3g} times as far between frames as their velocities over "
            f"{run.spacing_fs:g} fs say: give the spacing (--spacing-fs) or the units (--units), or write frames more "
            "often if the share is below 1"
        )
