"""How near atoms come to each other in a data file: a potential that was fitted may have holes at short distances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ase
import h5py
import numpy as np
from ase.data import chemical_symbols, covalent_radii

from flashmd_rs.neighbors import neighbor_list


@dataclass(frozen=True)
class Approach:
    """The nearest pair of atoms of a data file, by the sum of their covalent radii.

    Attributes:
        symbols: of the two.
        distance_A: between them, Å.
        share: of the sum of their covalent radii (Cordero 2008, as in ASE).
        bath_K: temperature of the segment, K.
    """

    symbols: tuple[str, str]
    distance_A: float
    share: float
    bath_K: float


def nearest(path: Path, within: float) -> Approach | None:
    """The nearest pair in the last frames of the segments; None if none is ``within`` that share of its radii."""
    worst: Approach | None = None
    with h5py.File(path, "r") as file:
        numbers, bath = file["numbers"][:], file["temperature_K"][:]
        radii = covalent_radii[numbers]
        atoms = ase.Atoms(numbers=numbers, cell=file["cell"][:], pbc=file["periodic"][:])
        for segment, temperature in enumerate(bath):
            atoms.positions = file["positions"][segment, -1]
            i, j, d = neighbor_list("ijd", atoms, within * 2 * radii.max())
            share = d / (radii[i] + radii[j])
            if len(share) and share.min() < min(within, within if worst is None else worst.share):
                k = int(np.argmin(share))
                symbols = (chemical_symbols[numbers[i[k]]], chemical_symbols[numbers[j[k]]])
                worst = Approach(symbols, float(d[k]), float(share[k]), float(temperature))
    return worst
