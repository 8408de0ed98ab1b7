"""Hostile structures: each is one clear error, quickly and in bounded memory, through every door."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from ase import Atoms

from flashmd_rs import FlashMDError, InputError, StabilityError, _core, neighbor_list, rollout
from flashmd_rs.errors import ModelError

from conftest import TESTS

SECONDS = 2.0


def argon(positions, cell=None, pbc=False):
    atoms = Atoms(["Ar"] * len(positions), positions=positions, cell=cell, pbc=pbc)
    atoms.set_momenta(np.full((len(positions), 3), 0.1))
    return atoms


def at_one_point(count):
    return argon(np.zeros((count, 3)))


# Structures that no run can start from.
BROKEN = {
    "far_away_open": lambda: argon([[1e300, 0, 0], [0, 0, 0]]),
    "far_away_diagonal": lambda: argon([[1e308, 1e308, -1e308], [0, 0, 0]]),
    "far_away_periodic": lambda: argon([[1e300, 0, 0], [0, 0, 0]], [9, 9, 9], True),
    "billion_cells_away": lambda: argon([[1e11, 0, 0], [0, 0, 0]], [9, 9, 9], True),
    "denormal_cell": lambda: argon([[0, 0, 0]], [5e-324] * 3, True),
    "vanishing_cell": lambda: argon([[0, 0, 0]], [1e-200] * 3, True),
    "huge_cell": lambda: argon([[0, 0, 0]], [1e300] * 3, True),
    "cell_below_the_cutoff": lambda: argon([[0, 0, 0]], [1e-3] * 3, True),
    "wire_below_the_cutoff": lambda: argon([[0, 0, 0]], [2e-6, 9, 9], [True, False, False]),
    "crowded_small_cell": lambda: argon(np.zeros((300, 3)), [0.3] * 3, True),
    "nearly_flat_cell": lambda: argon([[0, 0, 0]], [[9, 0, 0], [0, 9, 0], [9, 9, 1e-5]], True),
    "many_at_one_point": lambda: at_one_point(45_000),
    "two_crowds": lambda: argon(np.repeat([[0.0, 0, 0], [50, 50, 50]], 30_000, axis=0)),
    "crowd_in_a_crystal": lambda: argon(
        np.vstack([np.zeros((20_000, 3)), 4.0 * np.indices((20, 20, 20)).reshape(3, -1).T])
    ),
}
BROKEN |= {
    f"{value}_{field}": lambda value=value, field=field: spoilt(field, value)
    for value in ("nan", "inf", "-inf")
    for field in ("positions", "momenta", "masses", "cell")
}


def spoilt(field, value):
    atoms = argon([[0, 0, 0], [3, 0, 0]], [9, 9, 9], True)
    if field == "cell":
        atoms.cell.array[1, 1] = float(value)
    elif field == "masses":
        atoms.set_masses([float(value), 39.948])
    else:
        atoms.arrays[field][1, 2] = float(value)
    return atoms


def stride(atoms, models):
    models("pair_stride").stride(atoms)


def run(atoms, models):
    rollout(atoms, models("pair_alone"), steps=2, temperature_K=50, progress=False)


def energy(atoms, models):
    models("pair_energy").energy(atoms)


def neighbors(atoms, _):
    neighbor_list("ijdDS", atoms, 4.5)


@pytest.mark.parametrize("door", [neighbors, stride, energy, run])
@pytest.mark.parametrize("case", BROKEN)
def test_broken_structures(case, door, models):
    atoms = BROKEN[case]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if case.endswith("momenta") and door in (neighbors, energy):
        door(atoms, models)
        return
    with pytest.raises((InputError, StabilityError, ModelError)) as caught:
        door(atoms, models)
    assert time.perf_counter() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 << 20, "KiB"
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize("cutoff", [np.nan, np.inf, -1.0, 0.0, 5e-324, 1e-200, 1e200, 1e308])
def test_broken_cutoffs(cutoff):
    with pytest.raises(InputError, match="cutoff"):
        neighbor_list("i", argon([[0, 0, 0], [1, 0, 0]]), cutoff)


def test_a_cutoff_that_takes_in_everything():
    """A billion Å: every pair of few atoms, an error for many."""
    line = argon([[float(k), 0, 0] for k in range(50)])
    assert len(neighbor_list("i", line, 1e9)) == 50 * 49
    start = time.perf_counter()
    with pytest.raises(InputError, match="smaller cutoff"):
        neighbor_list("i", argon(np.random.default_rng(1).uniform(0, 100, (20_000, 3))), 1e9)
    assert time.perf_counter() - start < SECONDS


def test_ten_thousand_random_structures():
    """Numbers of every size: a list that is symmetric and true, or one clear error."""
    rng = np.random.default_rng(7)
    listed = 0
    for _ in range(10_000):
        count = int(rng.integers(1, 6))
        scale = (
            10.0 ** rng.integers([-3, 0, -2], [4, 4, 1]) if rng.random() < 0.7 else 10.0 ** rng.uniform(-320, 308, 3)
        )
        with np.errstate(all="ignore"):
            atoms = argon(
                rng.normal(0, 1, (count, 3)) * scale[0], rng.normal(0, 1, (3, 3)) * scale[1], rng.random(3) < 0.6
            )
            cutoff = float(abs(rng.normal()) * scale[2])
        start = time.perf_counter()
        try:
            found = neighbor_list("ijdDS", atoms, cutoff)
        except InputError:
            found = None
        assert time.perf_counter() - start < SECONDS, (atoms, atoms.positions, cutoff)
        if found is not None:
            check_list(atoms, cutoff, *found)
            listed += 1
    assert listed > 3000


def check_list(atoms, cutoff, i, j, d, vectors, shifts):
    assert np.all(d < cutoff)
    travel = shifts @ np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    apart = atoms.positions[j] - atoms.positions[i] + travel
    size = np.abs(atoms.positions).max() + np.abs(atoms.cell.array).max() + np.abs(travel).max(initial=0.0)
    np.testing.assert_allclose(vectors, apart, rtol=0, atol=1e-12 * size)
    if len(i) < 5000:
        forth = set(zip(i, j, map(tuple, shifts), strict=True))
        assert forth == {(b, a, tuple(-x for x in s)) for a, b, s in forth}


ARRAYS = {
    "positions": np.zeros((2, 3)),
    "momenta": np.zeros((2, 3)),
    "masses": np.full(2, 39.948),
    "numbers": np.full(2, 18),
    "cell": np.eye(3) * 9,
    "pbc": np.ones(3, bool),
}
ODD = {
    "flat_positions": {"positions": np.zeros((2, 2))},
    "one_position": {"positions": np.zeros((1, 3))},
    "no_atoms": {
        "positions": np.zeros((0, 3)),
        "momenta": np.zeros((0, 3)),
        "masses": np.zeros(0),
        "numbers": np.zeros(0, int),
    },
    "many_masses": {"masses": np.ones(7)},
    "few_numbers": {"numbers": np.ones(1, int)},
    "large_number": {"numbers": np.array([18, 2**62])},
    "negative_number": {"numbers": np.array([18, -1])},
    "flat_cell": {"cell": np.zeros((2, 3))},
    "tall_cell": {"cell": np.zeros((4, 3))},
    "four_flags": {"pbc": np.ones(4, bool)},
    "fortran_order": {"positions": np.asfortranarray(np.full((2, 3), np.nan))},
    "strided": {"positions": np.full((4, 6), np.nan)[::2, ::2]},
    "wrong_type": {"positions": np.zeros((2, 3), np.float32)},
    "words": {"cell": "cell"},
    "nothing": {"masses": None},
}


@pytest.mark.parametrize("case", ODD)
def test_the_core_itself_refuses_odd_arrays(case, models):
    """Behind the checks in Python the core has its own: no panic crosses the border."""
    arrays = ARRAYS | ODD[case]
    core, surface = models("free_flight")._core, models("pair_energy")._core
    without_momenta = {name: value for name, value in arrays.items() if name != "momenta"}
    doors = [lambda: core.stride(**arrays), lambda: surface.energy(**without_momenta)]
    if (
        set(ODD[case]) & {"positions", "cell", "pbc"}
        and len(np.shape(arrays["positions"]))
        and case not in ("one_position", "no_atoms")
    ):
        doors.append(lambda: _core.neighbor_list(arrays["positions"], arrays["cell"], arrays["pbc"], 3.0))
    for door in doors:
        with pytest.raises((FlashMDError, TypeError)):
            door()


CROWD = """
import resource, sys, time
import numpy as np
from ase import Atoms
import flashmd_rs
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
atoms = Atoms(np.full(200_000, 18), positions=np.zeros((200_000, 3)))
start = time.perf_counter()
try:
    flashmd_rs.neighbor_list("i", atoms, 4.0)
except flashmd_rs.InputError as error:
    print(time.perf_counter() - start, error)
"""


def test_twenty_billion_pairs_in_little_memory():
    result = subprocess.run(
        [sys.executable, "-c", CROWD], cwd=TESTS, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    seconds, message = result.stdout.split(" ", 1)
    assert "the structure has collapsed" in message
    assert float(seconds) < SECONDS
