"""The public neighbour list against vesin, ASE and others, on one thread: ``pytest benches/bench_neighbors.py``.

Ours and ASE's give arrays of one's own; vesin is asked for those, and for views of its memory, which the next call
overwrites. Needs ``pip install '.[bench]'``.
"""

from __future__ import annotations

from collections.abc import Callable

import ase.neighborlist
import numpy as np
import pytest
import vesin
from ase import Atoms

import flashmd_rs

from conftest import Run

CUTOFF_A = 5.0
OURS, OPPONENT = "flashmd_rs.neighbor_list", "vesin"
ATOMS_PER_A3 = 0.1


def random_points(count: int) -> Atoms:
    """At the density of water, in a cubic cell."""
    length = (count / ATOMS_PER_A3) ** (1 / 3)
    positions = np.random.default_rng(count).uniform(0, length, (count, 3))
    return Atoms(["H"] * count, positions, cell=np.eye(3) * length, pbc=True)


def call(name: str, atoms: Atoms) -> Callable[[], tuple]:
    """i, j, S, D and d of all pairs, both ways."""
    positions, cell = atoms.positions, atoms.cell.array
    search = vesin.NeighborList(cutoff=CUTOFF_A, full_list=True, n_threads=1)
    return {
        OURS: lambda: flashmd_rs.neighbor_list("ijSDd", atoms, CUTOFF_A),
        OPPONENT: lambda: search.compute(positions, cell, True, "ijSDd"),
        "vesin, views": lambda: search.compute(positions, cell, True, "ijSDd", copy=False),
        "ASE": lambda: ase.neighborlist.neighbor_list("ijSDd", atoms, CUTOFF_A),
    }[name]


CASES = [
    (size, name)
    for size in (774, 6192, 50000)
    for name in (OPPONENT, OURS, "vesin, views", "ASE")
    if (size, name) != (50000, "ASE")
]


@pytest.mark.parametrize(("size", "name"), CASES)
def test_neighbor_list(benchmark, in_turns: Callable, size: int, name: str) -> None:
    benchmark.group = f"neighbour list, {size} atoms"
    atoms = random_points(size)
    own, opponent = call(name, atoms), call(OPPONENT, atoms)
    assert len(own()[0]) == len(opponent()[0])
    rounds = {774: 25, 6192: 15, 50000: 7}[size]
    facts = dict(name=name, atoms=size, threads=1, unit="call")
    in_turns(Run(own), None if name == OPPONENT else Run(opponent), rounds=rounds, **facts)
