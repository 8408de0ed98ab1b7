"""The domain of structures: what a model is taken to know that does not say what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.units import _amu

from flashmd_rs._structure import constraints
from flashmd_rs.neighbors import neighbor_list
from flashmd_rs.temperature import temperatures

GRAM_PER_CM3 = _amu * 1e3 * 1e24  # of 1 u/Å³


def frame_domain(frames: Sequence[ase.Atoms], species: Sequence[str], cutoff_A: float) -> dict[str, Any]:
    """What structures span, as the contract's ``domain``.

    Momenta and temperatures are those of the structures that have momenta, densities those of cells periodic along
    three axes; what no structure says is left out.

    Args:
        frames: the structures.
        species: chemical symbols the model knows.
        cutoff_A: radius of the neighbour list, Å.

    Raises:
        ValueError: there is no structure, or one with other species.
    """
    if not frames:
        raise ValueError("got no structures to take a domain from, wanted at least one")
    closest: dict[str, float] = {}
    fewest, most, momentum = np.inf, 0, 0.0
    densities, found = [], []
    for number, atoms in enumerate(frames):
        if unknown := sorted(set(atoms.symbols) - set(species)):
            raise ValueError(f"structure {number} has {', '.join(unknown)}; the model knows {', '.join(species)}")
        i, j, d = neighbor_list("ijd", atoms, cutoff_A)
        present = [symbol for symbol in species if symbol in atoms.symbols]
        _lower(closest, present, atoms.numbers[i], atoms.numbers[j], d)
        counts = np.bincount(i, minlength=len(atoms))
        fewest, most = min(fewest, counts.min()), max(most, counts.max())
        masses = atoms.get_masses()
        if atoms.pbc.all():
            densities.append(round(float(masses.sum() / atoms.get_volume() * GRAM_PER_CM3), 4))
        if atoms.has("momenta"):
            momenta = atoms.get_momenta()
            momentum = max(momentum, float(np.abs(momenta / np.sqrt(masses)[:, None]).max()))
            symbols, fixed = np.array(atoms.get_chemical_symbols()), constraints(atoms).fixed
            found.append(temperatures(momenta, masses, symbols, fixed)["total"])
    limits: dict[str, Any] = dict(
        smallest_pair_distance_A=closest, largest_neighbor_count=int(most), smallest_neighbor_count=int(fewest)
    )
    if momentum > 0:
        limits |= dict(
            largest_scaled_momentum_sqrt_eV=round(momentum, 3),
            temperature_K=[round(min(found), 1), round(max(found), 1)],
        )
    return limits | (dict(density_g_per_cm3=[min(densities), max(densities)]) if densities else {})


def _lower(
    closest: dict[str, float], species: Sequence[str], first: np.ndarray, second: np.ndarray, d: np.ndarray
) -> None:
    """Lower the smallest distance of each pair of species to those found between two lists of atoms."""
    for a, one in enumerate(species):
        for other in species[a:]:
            pair = (first == atomic_numbers[one]) & (second == atomic_numbers[other])
            if pair.any():
                name = f"{one}-{other}"
                closest[name] = round(min(closest.get(name, np.inf), float(d[pair].min())), 3)
