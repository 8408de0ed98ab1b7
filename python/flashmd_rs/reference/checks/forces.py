"""Forces of a potential against central differences of its energy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.system import default_timestep_fs

FRAMES = 3
# Root mean square displacements of the atoms that move, Å, each twice the one before.
STEPS_A = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
SEED = 1


@dataclass(frozen=True)
class ForceError:
    """How far the forces on one species are from the energy's gradient, along random directions.

    Attributes:
        symbol: the species.
        relative: largest difference of the two derivatives over the standard deviation of −F·u.
        uncertain: by how much the energy's derivative changes between two steps, in the same unit.
        stored: largest root mean square difference of the file's forces from the potential's over these; None where
            the file holds no forces.
    """

    symbol: str
    relative: float
    uncertain: float
    stored: float | None


def force_errors(path: Path, potential: Potential, frames: int = FRAMES) -> list[ForceError]:
    """Errors of a potential's forces on every species, at frames of a data file.

    All atoms of a species are moved along a random direction u by steps that double; of the derivatives
    (U(q + h u) − U(q − h u)) / 2h the one that differs least from that of twice the step is compared with −F·u: at
    shorter steps rounding prevails, of a calculator in single precision as well, at longer ones curvature.

    Args:
        path: the file.
        potential: of its atoms.
        frames: number of frames.

    Raises:
        ValueError: the potential does not give energies and forces for these atoms.
    """
    with h5py.File(path, "r") as file:
        periodic = file["periodic"][:] if "periodic" in file else True
        atoms = Atoms(file["numbers"][:], cell=file["cell"][:], pbc=periodic, masses=file["masses"][:])
        chosen = np.unique(np.linspace(0, len(file["temperature_K"]) - 1, frames).astype(int))
        positions = file["positions"][chosen, 0].astype(float)
        stored = file["forces"][chosen, 0].astype(float) if "forces" in file else None
    atoms.positions = positions[0]
    reference = potential.reference([atoms], default_timestep_fs(atoms.get_masses()))
    rng = np.random.default_rng(SEED)
    found = []
    for number in np.unique(atoms.numbers):
        own = atoms.numbers == number
        errors = [_along(reference, q, own, rng) for q in positions]
        differences = None
        if stored is not None:
            differences = max(_difference(reference, q, f, own) for q, f in zip(positions, stored, strict=True))
        relative, uncertain = max(errors)
        found.append(ForceError(chemical_symbols[number], relative, uncertain, differences))
    return found


def _along(
    reference: Reference, positions: F64, own: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float]:
    """Error of the forces on the atoms ``own`` along a random direction, and how certain the gradient is."""
    direction = np.zeros_like(positions)
    direction[own] = rng.normal(size=(own.sum(), 3))
    forces = _forces(reference, positions)
    scale = np.sqrt((forces[own] ** 2).sum())
    slopes = np.array(
        [
            (reference.energy(positions + h * direction) - reference.energy(positions - h * direction)) / (2 * h)
            for h in STEPS_A
        ]
    )
    changes = np.abs(np.diff(slopes))
    best = int(changes.argmin())
    return float(abs(slopes[best] + (forces * direction).sum()) / scale), float(changes[best] / scale)


def _difference(reference: Reference, positions: F64, stored: F64, own: NDArray[np.bool_]) -> float:
    """Stored forces on the atoms ``own`` against the potential's, relative to their root mean square."""
    forces = _forces(reference, positions)[own]
    return float(np.sqrt(((stored[own] - forces) ** 2).sum() / (forces**2).sum()))


def _forces(reference: Reference, positions: F64) -> F64:
    reference.set(positions, np.zeros_like(positions))
    return reference.get().forces
