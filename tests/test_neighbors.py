"""The neighbour list against ASE, vesin and brute force."""

import itertools
import sys
import time

import ase.neighborlist
import numpy as np
import pytest
import vesin
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from flashmd_rs import InputError, _core, neighbor_list

LETTERS = "ijdDS"
CASES = 540


def random_case(seed):
    """A structure and a cutoff; every kind of box turns up among them."""
    rng = np.random.default_rng(seed)
    kind = ("triclinic", "skewed", "tiny", "slab", "wire", "cluster", "far", "single", "flat")[seed % 9]
    lengths = rng.uniform(3.0, 9.0, 3)
    cell = np.diag(lengths) + rng.uniform(-1.5, 1.5, (3, 3)) * (kind != "flat")
    pbc = np.array([True, True, True])
    count = int(rng.integers(2, 25))
    if kind == "skewed":
        cell[1, 0] += rng.uniform(0.8, 2.5) * lengths[0]
        cell[2, :2] += rng.uniform(-2.0, 2.0, 2) * lengths[:2]
    elif kind == "tiny":
        cell = np.diag(rng.uniform(1.2, 2.5, 3)) + rng.uniform(-0.4, 0.4, (3, 3))
        count = int(rng.integers(1, 4))
    elif kind == "slab":
        pbc[rng.integers(3)] = False
    elif kind == "wire":
        pbc[:] = False
        pbc[rng.integers(3)] = True
    elif kind == "cluster":
        pbc[:] = False
        cell = np.zeros((3, 3)) if seed % 2 else cell
    elif kind == "single":
        count = 1
    elif kind == "flat":
        cell = np.diag([rng.uniform(1.0, 1.5), rng.uniform(8.0, 12.0), rng.uniform(3.0, 4.0)])
    box = cell if np.any(cell) else np.eye(3) * 6.0
    positions = rng.uniform(0, 1, (count, 3)) @ box
    if kind == "far":
        positions += rng.integers(-40, 40, (count, 3)) @ cell
    atoms = Atoms(["Ar"] * count, positions=positions, cell=cell, pbc=pbc)
    return atoms, float(rng.uniform(1.0, 5.5))


def pairs(i, j, shifts):
    return sorted(zip(i.tolist(), j.tolist(), map(tuple, shifts.tolist()), strict=True))


def brute_force(atoms, cutoff):
    """O(N²) over every image that can matter."""
    cell, pbc = atoms.cell.array, atoms.pbc
    reach = 60 if np.abs(atoms.get_scaled_positions(wrap=False)).max() > 2 else 7
    ranges = [range(-reach, reach + 1) if axis else (0,) for axis in pbc]
    found = []
    shifts = np.array(list(itertools.product(*ranges)))
    for i, j in itertools.product(range(len(atoms)), repeat=2):
        d = np.linalg.norm(atoms.positions[j] - atoms.positions[i] + shifts @ cell, axis=1)
        keep = (d < cutoff) & ~((i == j) & ~shifts.any(axis=1))
        found += [(i, j, tuple(s)) for s in shifts[keep].tolist()]
    return sorted(found)


@pytest.mark.parametrize("block", range(9))
def test_equals_ase_on_random_cases(block):
    """540 random cases in 9 blocks: the same set of (i, j, S), the same distances and vectors."""
    for seed in range(block * CASES // 9, (block + 1) * CASES // 9):
        atoms, cutoff = random_case(seed)
        i, j, d, D, S = neighbor_list(LETTERS, atoms, cutoff)
        expected = ase.neighborlist.neighbor_list(LETTERS, atoms, cutoff)
        assert pairs(i, j, S) == pairs(*expected[:2], expected[4]), f"seed {seed}"
        np.testing.assert_allclose(D, atoms.positions[j] - atoms.positions[i] + S @ atoms.cell.array, atol=1e-9)
        np.testing.assert_allclose(d, np.linalg.norm(D, axis=1), atol=1e-9)
        assert np.all(d < cutoff)


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 7, 8, 11, 12, 13])
def test_equals_brute_force(seed):
    atoms, cutoff = random_case(seed)
    assert pairs(*neighbor_list("ijS", atoms, cutoff)) == brute_force(atoms, cutoff)


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 14, 18, 27, 36])
def test_equals_vesin(seed):
    atoms, cutoff = random_case(seed)
    compute = vesin.NeighborList(cutoff=cutoff, full_list=True).compute
    periodic = bool(atoms.pbc.all())
    expected = compute(points=atoms.positions, box=atoms.cell.array, periodic=periodic, quantities="ijS")
    assert pairs(*neighbor_list("ijS", atoms, cutoff)) == pairs(*(np.asarray(x).astype(int) for x in expected))


@pytest.mark.parametrize("letters", ["i", "d", "ij", "Sji", "dDSij", "D", "ii"])
def test_letters_in_any_order_and_types_of_ase(letters):
    atoms = bulk("Al", cubic=True)
    got, expected = (f(letters, atoms, 3.5) for f in (neighbor_list, ase.neighborlist.neighbor_list))
    if len(letters) == 1:
        got, expected = (got,), (expected,)
    assert isinstance(got, tuple)
    for mine, theirs in zip(got, expected, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)


def test_known_counts():
    assert len(neighbor_list("i", bulk("Al"), 2.9)) == 12  # fcc, one atom: its own images
    assert len(neighbor_list("i", fcc111("Al", (2, 2, 3), vacuum=5), 2.9)) == 4 * (9 + 12 + 9)
    assert len(neighbor_list("i", molecule("H2O"), 1.0)) == 4
    assert len(neighbor_list("i", Atoms("Ar"), 5.0)) == 0
    assert neighbor_list("D", Atoms(), 5.0).shape == (0, 3)


def test_shift_of_the_whole_system_changes_nothing():
    atoms, cutoff = random_case(0)
    moved = atoms.copy()
    moved.positions += 1e4
    i, j, D = neighbor_list("ijD", atoms, cutoff)
    k, m, E = neighbor_list("ijD", moved, cutoff)
    assert np.array_equal(i, k)
    assert np.array_equal(j, m)
    np.testing.assert_allclose(np.sort(D, axis=0), np.sort(E, axis=0), atol=1e-10)


def arrays(atoms, cutoff, threads=1):
    edges = _core.Edges(cutoff, threads=threads)
    count = edges.update(atoms.positions, atoms.cell.array, atoms.pbc)
    return count, *edges.arrays()


@pytest.mark.parametrize("block", range(5))
def test_arrays_of_a_stride_equal_ase_on_random_cases(block):
    """500 random cases: rows, vectors and reverse edges of what the network is fed, against ASE's list."""
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        atoms, cutoff = random_case(seed)
        edges, vectors, mask, neighbors, reverse = arrays(atoms, cutoff)
        i, j, D, _ = sorted_list_of_ase(atoms, cutoff)
        degrees = np.bincount(i, minlength=len(atoms))
        count, slots = mask.shape
        assert (edges, slots) == (len(i), max(1, degrees.max())), f"seed {seed}"
        assert np.array_equal(mask, np.arange(slots) < degrees[:, None])
        assert np.array_equal(neighbors[mask], j), f"seed {seed}"
        np.testing.assert_allclose(vectors[mask], D, atol=2e-5)
        flat, own = reverse.ravel(), np.arange(count * slots)
        assert np.array_equal(flat[flat], own)
        assert np.array_equal(flat[~mask.ravel()], own[~mask.ravel()])
        assert np.array_equal(vectors.reshape(-1, 3)[flat], -vectors.reshape(-1, 3))
        assert np.array_equal(flat[mask.ravel()] // slots, j)
        assert np.array_equal(neighbors[~mask], np.nonzero(~mask)[0])


def sorted_list_of_ase(atoms, cutoff):
    """By (i, j, S), S between the wrapped atoms, which is the order of the slots."""
    i, j, D, S = ase.neighborlist.neighbor_list("ijDS", atoms, cutoff)
    order = np.lexsort((*S.T[::-1], j, i))
    return i[order], j[order], D[order], S[order]


def test_arrays_do_not_depend_on_threads():
    atoms = bulk("Al", cubic=True) * (12, 12, 12)
    atoms.rattle(0.1, seed=1)
    one, two = (arrays(atoms, 5.0, threads) for threads in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


SHAPES = """
import sys, time, resource
import numpy as np
from flashmd_rs import _core

count, pbc = 20_000, np.ones(3, bool)
edge, thin = ((10.0 * count / aspect) ** (1 / 3) for aspect in (1, 1000))
lengths = {"slab": [edge, edge, 1e6], "long": [1000 * thin, thin, thin]}
filled = np.array(lengths.get(sys.argv[1], [edge] * 3))
cell = np.diag(filled)
if sys.argv[1] == "slab":
    filled[2] = edge
positions = np.random.default_rng(0).uniform(0, 1, (count, 3)) * filled
if sys.argv[1] == "flown":
    positions[7], pbc = [1e8, -1e8, 1e8], np.zeros(3, bool)
edges = _core.Edges(5.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
edges.update(positions, cell, pbc)
rise = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
start = time.process_time()
edges.update(positions, cell, pbc)
print(time.process_time() - start, 1024 * rise, edges.arrays()[1].size * 21)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_awkward_shapes_cost_no_more_than_a_compact_box(shell):
    """Time within a factor of five (a busy machine), and at most 1 kB per atom beyond the arrays themselves."""
    shapes = ("compact", "slab", "long", "flown")
    figures = {s: [float(x) for x in shell("-c", SHAPES, s, module=False).stdout.split()] for s in shapes}
    for shape, (seconds, rise, size) in figures.items():
        assert seconds < 5 * figures["compact"][0] + 0.02, shape
        assert rise < size + 20_000 * 1000, shape


def test_cost_grows_with_atoms_not_with_their_square():
    """4 096 and 32 768 atoms: eight times the atoms may cost at most 24 times the time (64 would be quadratic)."""

    def seconds(repeat):
        atoms = bulk("Al", cubic=True) * (repeat, repeat, repeat)
        start = time.perf_counter()
        neighbor_list("ij", atoms, 4.0)
        return time.perf_counter() - start

    small = min(seconds(10) for _ in range(5))
    assert seconds(20) < 24 * small + 0.2


@pytest.mark.parametrize(
    ("quantities", "cutoff", "message"),
    [
        ("", 2.0, "wanted letters"),
        ("ijx", 2.0, "'ijx'"),
        ("ij", 0.0, "cutoff=0"),
        ("ij", -1.0, "positive number of Å"),
        ("ij", float("nan"), "positive"),
        ("ij", float("inf"), "positive"),
        ("ij", "5", "'5'"),
    ],
)
def test_bad_arguments(quantities, cutoff, message):
    with pytest.raises(InputError, match=message):
        neighbor_list(quantities, bulk("Al"), cutoff)


def test_bad_structures():
    with pytest.raises(InputError, match=r"wanted one ase\.Atoms"):
        neighbor_list("ij", np.zeros((3, 3)), 2.0)
    with pytest.raises(InputError, match="cell vector is zero"):
        neighbor_list("ij", Atoms("Ar", pbc=True), 2.0)
