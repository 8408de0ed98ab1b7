"""Graphs of ASE structures, and random structures to prove an export on."""

from __future__ import annotations

import ase
import numpy as np
import torch

from flashmd_train.graph import Graph, build_graph

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
    return build_graph(
        atoms.positions,
        atoms.get_momenta(),
        atoms.get_masses(),
        np.array([symbols.index(s) for s in atoms.get_chemical_symbols()]),
        np.array(atoms.cell),
        cutoff,
        atoms.pbc,
        dtype,
    )
