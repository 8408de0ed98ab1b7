"""Graphs of ASE structures, and random structures on which exports are traced and proved."""

from __future__ import annotations

import ase
import numpy as np
import torch

from flashmd_train.graph.nef import Graph, build_graph

# √(k_B · 300 K): width of the distribution of p/√m, √eV.
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
    """Graph of an ASE structure.

    Args:
        atoms: positions Å, momenta √(eV·u), masses u.
        symbols: the model's species, in order.
        cutoff: Å.
        dtype: of the floating-point tensors.
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


def water_graph(waters_per_edge: int, cutoff: float, seed: int, masses: tuple[float, ...]) -> Graph:
    """Graph of a small cubic box of random waters: a jittered lattice, random orientations, 300 K.

    Args:
        waters_per_edge: molecules along each edge of the box.
        cutoff: Å; the box is at least twice as long.
        seed: of everything random.
        masses: of O and H, u.
    """
    rng = np.random.default_rng(seed)
    n = waters_per_edge**3
    spacing = max(3.1, 2.02 * cutoff / waters_per_edge)
    sites = np.stack(np.meshgrid(*[np.arange(waters_per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    half = np.deg2rad(52.26)
    water = 0.9572 * np.array([[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    turns, _ = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    q = (sites[:, None] + water @ turns).reshape(-1, 3) + 0.03 * rng.normal(size=(3 * n, 3))
    return _cubic_graph(q, np.array([0, 1, 1] * n), waters_per_edge * spacing, cutoff, rng, masses)


def solid_graph(atoms_per_edge: int, cutoff: float, seed: int, masses: tuple[float, ...]) -> Graph:
    """Graph of a small cubic box without molecules: random species on a jittered lattice of at least 2.6 Å, 300 K."""
    rng = np.random.default_rng(seed)
    spacing = max(2.6, 2.02 * cutoff / atoms_per_edge)
    sites = np.stack(np.meshgrid(*[np.arange(atoms_per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
    q = sites + 0.15 * rng.normal(size=sites.shape)
    return _cubic_graph(q, rng.integers(len(masses), size=len(q)), atoms_per_edge * spacing, cutoff, rng, masses)


def _cubic_graph(
    q: np.ndarray, species: np.ndarray, edge: float, cutoff: float, rng: np.random.Generator, masses: tuple[float, ...]
) -> Graph:
    m = np.array(masses)[species]
    p = THERMAL * rng.normal(size=q.shape) * np.sqrt(m)[:, None]
    return build_graph(q, p, m, species, np.eye(3) * edge, cutoff)
