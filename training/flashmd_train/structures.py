"""Graphs of ASE structures, and random structures to prove an export on."""

from __future__ import annotations

import ase
import numpy as np
import torch
from ase.neighborlist import neighbor_list

from flashmd_train.graph import Graph

# Largest scaled momentum of a random structure is about three of these, √eV: 300 K.
THERMAL = 0.16


def random_structure(symbols: list[str], masses: list[float], atoms: int, spacing: float, seed: int) -> ase.Atoms:
    """Random species on a jittered, sheared lattice, periodic along two axes, with momenta of 300 K.

    Args:
        symbols: species to draw from.
        masses: of each, u.
        atoms: at least how many.
        spacing: of the lattice, Å.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(atoms ** (1 / 3)))
    cell = spacing * side * np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.15, 1]])
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) / side
    kinds = rng.integers(len(symbols), size=len(sites))
    m = np.asarray(masses)[kinds]
    return ase.Atoms(
        [symbols[k] for k in kinds],
        positions=sites @ cell + rng.uniform(-0.15, 0.15, (len(sites), 3)) * spacing,
        cell=cell,
        pbc=[True, True, False],
        masses=m,
        momenta=THERMAL * rng.normal(size=(len(sites), 3)) * np.sqrt(m)[:, None],
    )


def graph_of(atoms: ase.Atoms, symbols: list[str], cutoff: float, dtype: torch.dtype = torch.float32) -> Graph:
    """The contract's inputs for a structure, with ``reverse``.

    Args:
        atoms: positions Å, momenta √(eV·u), masses u.
        symbols: the model's species, in order.
        cutoff: Å.
        dtype: of the numbers.
    """
    first, second, vectors, shifts = neighbor_list("ijDS", atoms, cutoff)
    counts = np.bincount(first, minlength=len(atoms))
    k = max(1, int(counts.max(initial=0)))
    slots = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    flat = first * k + slots
    place = {(i, j, *s): f for i, j, s, f in zip(first, second, map(tuple, shifts), flat)}
    own = np.repeat(np.arange(len(atoms))[:, None], k, 1)
    neighbors, edges = own.copy(), np.zeros((len(atoms), k, 3))
    mask, reverse = np.zeros((len(atoms), k), bool), np.arange(len(atoms) * k)
    neighbors[first, slots], edges[first, slots], mask[first, slots] = second, vectors, True
    reverse[flat] = [place[j, i, *(-s)] for i, j, s in zip(first, second, shifts)]
    masses = atoms.get_masses()
    return Graph(
        species=torch.tensor([symbols.index(s) for s in atoms.get_chemical_symbols()]),
        momenta=torch.tensor(atoms.get_momenta() / np.sqrt(masses)[:, None], dtype=dtype),
        masses=torch.tensor(masses, dtype=dtype),
        edge_vectors=torch.tensor(edges, dtype=dtype),
        mask=torch.tensor(mask),
        neighbors=torch.tensor(neighbors),
        reverse=torch.tensor(reverse).view(len(atoms), k),
    )
