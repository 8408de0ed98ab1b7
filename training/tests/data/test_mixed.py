"""Clusters, slabs and crystals side by side: their graphs, what is drawn, what is held out, what stays on disk."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import ase
import h5py
import numpy as np
import pytest
from ase.build import bulk, fcc110
from ase.cluster import Octahedron
from ase.neighborlist import neighbor_list
from segment_files import still, write

from flashmd_train.data.bonds import bonds
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.domain import domain
from flashmd_train.data.pairs import StridePairs
from flashmd_train.data.segments import Segments

CUTOFF = 4.5


def rattled(atoms: ase.Atoms) -> ase.Atoms:
    atoms.rattle(0.05, seed=3)
    return atoms


# A cluster without a cell, a slab without a third vector, a crystal whose cell is smaller than the cutoff.
SYSTEMS = {
    "cluster": rattled(Octahedron("Cu", 3, 1)),
    "slab": rattled(fcc110("Al", (2, 3, 4))),
    "crystal": rattled(bulk("CuAu", "rocksalt", a=4.2, cubic=True)),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("mixed")
    return Dataset([still(folder / f"{name}.h5", atoms, 6) for name, atoms in SYSTEMS.items()])


@pytest.mark.parametrize("f", range(3))
def test_graphs_have_the_edges_of_ase(mixed: Dataset, f: int) -> None:
    atoms = list(SYSTEMS.values())[f]
    graph = mixed.frame_graph(f, 0, 0, CUTOFF)
    center = np.repeat(np.arange(len(atoms))[:, None], graph.mask.shape[1], 1)
    edges = [center, graph.neighbors.numpy(), *graph.edge_vectors.round(decimals=3).numpy().transpose(2, 0, 1)]
    got = {tuple(edge) for edge in np.stack([x[graph.mask.numpy()] for x in edges], 1) + 0.0}
    i, j, vectors = neighbor_list("ijD", atoms, CUTOFF)
    wanted = np.column_stack([i, j, vectors])
    assert int(graph.mask.sum()) == len(i) == len(got)
    lookup = np.array(sorted(got))
    for edge in wanted:
        assert np.abs(lookup - edge).max(1).min() < 1e-3


def test_one_table_of_species_and_a_domain(mixed: Dataset) -> None:
    assert mixed.symbols == ("Cu", "Al", "Au")
    limits = domain(mixed, CUTOFF)
    crystal = SYSTEMS["crystal"]
    density = crystal.get_masses().sum() * 1.66053906660 / crystal.get_volume()
    assert limits["density_g_per_cm3"] == pytest.approx([density, density], rel=1e-3)
    assert set(limits["smallest_pair_distance_A"]) == {"Cu-Cu", "Cu-Au", "Au-Au", "Al-Al"}
    assert bonds(mixed) == []
    assert [file.density_g_per_cm3 is None for file in mixed.files] == [True, True, False]


def test_a_domain_looks_at_small_files_too(tmp_path: Path) -> None:
    few = still(tmp_path / "few.h5", SYSTEMS["slab"], 1)
    many = still(tmp_path / "many.h5", SYSTEMS["cluster"], 300)
    assert set(domain(Dataset([many, few]), CUTOFF, frames=5)["smallest_pair_distance_A"]) == {"Cu-Cu", "Al-Al"}


class TestSteps:
    """A cluster of 13 atoms, 60 segments, and a crystal of 256, 20 segments."""

    @pytest.fixture
    def pairs(self, tmp_path: Path) -> StridePairs:
        cluster = still(tmp_path / "cluster.h5", SYSTEMS["cluster"], 60)
        crystal = still(tmp_path / "crystal.h5", bulk("Cu", cubic=True) * 4, 20)
        data = Dataset([cluster, crystal])
        return StridePairs(data, np.array([(0, s) for s in range(60)] + [(1, s) for s in range(20)]), 4.0, CUTOFF)

    def test_of_equal_edges(self, pairs: StridePairs) -> None:
        largest = int(pairs.data.frame_graph(1, 0, 0, CUTOFF).mask.sum())
        for edges, portions in ((1, 1), (largest, 1), (3 * largest, 3)):
            found = np.array(
                [int(pairs.draw(np.random.default_rng([1, k]), 1, edges).graph.mask.sum()) for k in range(12)]
            )
            assert np.abs(found / (portions * largest) - 1).max() < 0.05
        one = [int(pairs.draw(np.random.default_rng([1, k]), 1).graph.mask.sum()) for k in range(12)]
        assert max(one) > 10 * min(one)

    def test_files_by_segments_times_atoms(self, pairs: StridePairs) -> None:
        largest = int(pairs.data.frame_graph(1, 0, 0, CUTOFF).mask.sum())
        drawn = [pairs.sampler.draw(np.random.default_rng([2, k]), 1, largest) for k in range(4000)]
        assert all(len(set(picks[:, 0])) == 1 for picks in drawn)
        share = np.mean([picks[0, 0] == 0 for picks in drawn])
        wanted = 60 * 13 / (60 * 13 + 20 * 256)
        assert abs(share - wanted) < 4 * (wanted / 4000) ** 0.5

    def test_are_a_function_of_the_generator(self, pairs: StridePairs) -> None:
        a, b = (pairs.draw(np.random.default_rng([3, 7, 0]), 1, 50_000) for _ in range(2))
        assert a.graph.edge_vectors.equal(b.graph.edge_vectors)
        assert a.box.equal(b.box)
        # What was drawn before leaves no trace.
        fresh = StridePairs(pairs.data, pairs.index, 4.0, CUTOFF).draw(np.random.default_rng([3, 7, 0]), 1, 50_000)
        assert fresh.graph.edge_vectors.equal(a.graph.edge_vectors)


class TestSplit:
    def split(self, folder: Path, *kelvin: list[float]) -> tuple[set, set]:
        files = [
            still(folder / f"{k}.h5", SYSTEMS["cluster"], len(each), temperature_K=np.array(each))
            for k, each in enumerate(kelvin)
        ]
        training, validation = Dataset(files).split(0.1, seed=0)
        parts = [{tuple(row) for row in part.tolist()} for part in (training, validation)]
        assert not parts[0] & parts[1]
        assert len(parts[0] | parts[1]) == sum(map(len, kelvin))
        return parts[0], parts[1]

    def test_holds_the_last_of_each_temperature(self, tmp_path: Path) -> None:
        _, held = self.split(tmp_path, [300.0] * 10 + [400.0] * 20)
        assert held == {(0, 9), (0, 28), (0, 29)}

    def test_single_segments_count_as_one_temperature(self, tmp_path: Path) -> None:
        _, held = self.split(tmp_path, [300.0, 310.0, 320.0], [300.0, 300.0, 400.0])
        assert held == {(0, 2), (1, 1)}

    def test_the_only_segment_trains(self, tmp_path: Path) -> None:
        training, held = self.split(tmp_path, [300.0], [300.0] * 4)
        assert (training, held) == ({(0, 0), (1, 0), (1, 1), (1, 2)}, {(1, 3)})
        with pytest.raises(ValueError, match=r"0\.h5 hold one segment each"):
            self.split(tmp_path, [300.0])

    def test_files_take_turns_in_validation(self, mixed: Dataset) -> None:
        _, validation = mixed.split(0.4, seed=0)
        assert validation[:, 0].tolist() == [0, 1, 2, 0, 1, 2]


class TestStored:
    @pytest.fixture
    def moving(self, tmp_path: Path) -> tuple[Path, np.ndarray]:
        q = np.random.default_rng(4).normal(size=(5, 7, 13, 3)).astype("f4")
        return write(tmp_path / "a.h5", SYSTEMS["cluster"], dict(positions=q, momenta=q)), q

    def test_reads_what_is_asked_for(self, moving: tuple[Path, np.ndarray]) -> None:
        path, q = moving
        stored = Segments.load(path).positions
        for index in (0, -1, (np.int64(2), 3), (2, -1), (1, np.array([5, 3, 1])), (4, np.arange(2, 6))):
            assert np.array_equal(stored[index], q[index])
        assert np.array_equal(np.stack(list(stored)), q)
        with pytest.raises(IndexError, match="segment 5 of 5"):
            stored[5]

    def test_is_pickled_and_survives_a_fork(self, moving: tuple[Path, np.ndarray]) -> None:
        path, q = moving
        segments = Segments.load(path)
        assert np.array_equal(segments.momenta[1], q[1])
        assert np.array_equal(pickle.loads(pickle.dumps(segments)).momenta[1], q[1])
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert np.array_equal(np.stack(pool.map(segments.momenta.__getitem__, range(5))), q)

    def test_hash_is_that_of_the_array(self, moving: tuple[Path, np.ndarray]) -> None:
        path, q = moving
        assert Segments.load(path).sha256 == hashlib.sha256(q.tobytes()).hexdigest()

    def test_a_killed_writer_leaves_complete_segments(self, moving: tuple[Path, np.ndarray]) -> None:
        path, q = moving
        code = (
            "import h5py, os, sys\n"
            "file = h5py.File(sys.argv[1], 'r+', libver='latest')\n"
            "file.swmr_mode = True\n"
            "file['positions'].resize(6, axis=0)\n"
            "file['positions'].flush()\n"
            "os._exit(0)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
        with pytest.raises(OSError, match="consistency flags"):
            h5py.File(path, "r+", libver="latest")
        segments = Segments.load(path)
        assert len(segments.positions) == len(segments.temperature_K) == 5
        assert np.array_equal(segments.positions[4], q[4])

    def test_reads_while_another_process_writes(self, moving: tuple[Path, np.ndarray]) -> None:
        path, q = moving
        code = (
            "import h5py, sys\n"
            "file = h5py.File(sys.argv[1], 'r+', libver='latest')\n"
            "file.swmr_mode = True\n"
            "print('open', flush=True)\n"
            "input()\n"
        )
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            assert np.array_equal(Segments.load(path).positions[2], q[2])
            writer.communicate("\n", timeout=60)

    def test_something_else_is_refused(self, moving: tuple[Path, np.ndarray]) -> None:
        path, _ = moving
        with h5py.File(path, "r+") as file:
            del file["momenta"]
        with pytest.raises(ValueError, match=r"a\.h5 lacks momenta; wanted a file of segments"):
            Segments.load(path)
        with pytest.raises(ValueError, match="holds no segment"):
            Segments.load(still(path.with_name("b.h5"), SYSTEMS["cluster"], 0))

    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        """Loaded, hashed and read from, in a process of its own: a peak that was reached before hides nothing."""
        path = tmp_path / "large.h5"
        segments, shape = 40, (100, 2000, 3)
        write(
            path, ase.Atoms("Cu2000"), dict(positions=np.zeros((0, *shape), "f4"), momenta=np.zeros((0, *shape), "f4"))
        )
        with h5py.File(path, "a", libver="latest") as file:
            file["temperature_K"].resize(segments, axis=0)
            for name in ("positions", "momenta"):
                file[name].resize(segments, axis=0)
                for s in range(segments):
                    file[name][s] = np.ones(shape, "f4")
        assert path.stat().st_size > 190e6
        code = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from flashmd_train.data.dataset import Dataset\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "before = peak()\n"
            "data = Dataset([Path(sys.argv[1])])\n"
            "data.sha256\n"
            "for s in range(40):\n"
            "    data.files[0].positions[s, 0], data.files[0].momenta[s, 5]\n"
            "print(peak() - before)\n"
        )
        command = [sys.executable, "-c", code, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=os.environ)
        assert int(done.stdout) < 30_000


@pytest.mark.parametrize(("mass", "wrong"), [(63.55, False), (64.0, True)])
def test_masses_of_one_element_may_differ_as_those_of_two_programs_do(mass: float, wrong: bool, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    one = still(tmp_path / "one.h5", atoms, 2)
    atoms.set_masses([mass] * len(atoms))
    other = still(tmp_path / "other.h5", atoms, 2)
    if wrong:
        with pytest.raises(ValueError, match=r"other\.h5 has Cu of 64\.0 u, another file of 63\.546 u"):
            Dataset([one, other])
    else:
        assert Dataset([one, other]).masses == (63.546,)
