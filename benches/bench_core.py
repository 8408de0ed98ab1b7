"""Core operations on the bundled water box: ``pytest benches/bench_core.py`` (needs the ``bench`` extra)."""

from __future__ import annotations

import ase
import pytest
import vesin
from ase.neighborlist import neighbor_list as ase_neighbor_list

import flashmd_rs

CUTOFF_A = 6.0


@pytest.fixture(scope="module")
def water() -> ase.Atoms:
    return flashmd_rs.load_structure("water258")


@pytest.mark.benchmark(group="neighbors::water258::ijdDS")
@pytest.mark.parametrize("who", ["flashmd_rs", "vesin", "ase"])
def test_neighbor_list(benchmark, water: ase.Atoms, who: str) -> None:
    calls = {
        "flashmd_rs": lambda: flashmd_rs.neighbor_list("ijdDS", water, CUTOFF_A),
        "vesin": lambda: vesin.ase_neighbor_list("ijdDS", water, CUTOFF_A),
        "ase": lambda: ase_neighbor_list("ijdDS", water, CUTOFF_A),
    }
    found = benchmark(calls[who])
    assert len(found[0]) == len(ase_neighbor_list("i", water, CUTOFF_A))


@pytest.mark.benchmark(group="stride::water258")
@pytest.mark.parametrize("threads", [1, 2])
def test_stride(benchmark, water: ase.Atoms, threads: int) -> None:
    model = flashmd_rs.Model("water", threads=threads)
    moved = benchmark(model.stride, water)
    assert len(moved) == len(water)
