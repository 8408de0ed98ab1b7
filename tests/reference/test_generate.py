"""Data files: the same whoever writes them and however often, refused in one sentence, checked and plotted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import h5py
import numpy as np
import own_calculators
import pytest
from ase import Atoms
from ase.build import fcc110
from ase.cluster import Icosahedron
from ase.geometry import find_mic
from systems import RECIPES, alloy, ions

from flashmd_rs.errors import FlashMDWarning
from flashmd_rs.reference.base import REPEATABLE_EV_PER_A
from flashmd_rs.reference.checks import Severity, findings, measure
from flashmd_rs.reference.checks.plot import plot
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe, Segment
from flashmd_rs.reference.store import Store
from flashmd_rs.reference.system import System, calculator_potential, load_structures

from conftest import TESTS

OWN = own_calculators.__file__
EMT = calculator_potential("ase.calculators.emt:EMT")


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in (*Segment._fields, "numbers", "masses", "cell", "periodic")} | {
            "recipe": np.array(file.attrs["recipe"])
        }


def assert_same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name


@pytest.fixture(scope="module", params=RECIPES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def uninterrupted(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(kind) / "one.h5"
    generate(path, RECIPES[kind](replicas=2), 11)
    return path


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ions") / "thermal.h5"
    generate(path, ions(equilibration_ps=2.0, decorrelation_fs=120.0), 80)
    return path


def test_the_file_does_not_depend_on_the_number_of_workers(kind: str, uninterrupted: Path, tmp_path: Path) -> None:
    generate(tmp_path / "two.h5", RECIPES[kind](replicas=2), 11, workers=2)
    assert_same(uninterrupted, tmp_path / "two.h5")


def test_a_dask_cluster_writes_the_same_file(kind: str, uninterrupted: Path, tmp_path: Path) -> None:
    generate(tmp_path / "dask.h5", RECIPES[kind](replicas=2), 11, workers=2, cluster="local")
    assert_same(uninterrupted, tmp_path / "dask.h5")


def test_more_segments_continue_the_same_chains(kind: str, uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "grown.h5"
    for segments in (1, 6, 6, 11):
        generate(path, RECIPES[kind](replicas=2), segments)
    assert_same(uninterrupted, path)


def test_a_run_killed_at_any_moment_goes_on_to_the_same_file(kind: str, tmp_path: Path) -> None:
    recipe, segments = RECIPES[kind](seed=4), 40
    generate(tmp_path / "whole.h5", recipe, segments)
    path = tmp_path / "killed.h5"
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r}); from pathlib import Path; from systems import RECIPES\n"
        "from flashmd_rs.reference.generate import generate\n"
        f"generate(Path(sys.argv[1]), RECIPES[{kind!r}](seed=4), {segments})"
    )
    stops = []
    for wanted in (1, 12, 25):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.DEVNULL) as run:
            while rows(path) < wanted and run.poll() is None:
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
        stops.append(rows(path))
    assert stops == sorted(stops)
    assert stops[0] >= 1
    generate(path, recipe, segments)
    assert_same(tmp_path / "whole.h5", path)


def rows(path: Path) -> int:
    try:
        # Without a lock: looking must not keep the writer from opening the file.
        with h5py.File(path, "r", libver="latest", swmr=True, locking=False) as file:
            return len(file["temperature_K"])
    except OSError:
        return 0


def test_replicas_take_the_start_structures_in_turn(tmp_path: Path) -> None:
    """Chains of two temperatures and three replicas, after next to no time: each is still near its own structure."""
    structures = load_structures([f"{OWN}:structures"], {"count": 2})
    recipe = alloy(
        system=System(tuple(structures), EMT), replicas=3, equilibration_ps=0.006, decorrelation_fs=0.0, spacing_fs=2.0
    )
    generate(tmp_path / "data.h5", recipe, 6)
    starts = contents(tmp_path / "data.h5")["positions"][:, 0]
    for number, start in enumerate(starts):
        moved = [find_mic(start - atoms.positions, atoms.cell)[1].mean() for atoms in structures]
        assert np.argmin(moved) == number // 2 % 2


def test_a_calculator_with_a_past_in_a_file_of_the_users_own(tmp_path: Path) -> None:
    """Its forces depend, in the last bits, on all it was asked before; the data file must not."""
    atoms = own_calculators.structures(1)[0]
    atoms.calc = own_calculators.Remembering()
    first = atoms.get_forces()
    atoms.calc.reset()
    assert not np.array_equal(first, atoms.get_forces())

    structures = load_structures([f"{OWN}:structures"])
    recipe = alloy(system=System(tuple(structures), calculator_potential(f"{OWN}:Remembering")), replicas=2)
    generate(tmp_path / "one.h5", recipe, 6)
    for segments in (1, 4, 6):
        generate(tmp_path / "grown.h5", recipe, segments)
    generate(tmp_path / "two.h5", recipe, 6, workers=2)
    assert_same(tmp_path / "one.h5", tmp_path / "grown.h5")
    assert_same(tmp_path / "one.h5", tmp_path / "two.h5")


@pytest.mark.parametrize(
    ("atoms", "periodic"),
    [(Icosahedron("Cu", 2), [0, 0, 0]), (fcc110("Al", (2, 3, 4), a=4.05, vacuum=6.0), [1, 1, 0])],
    ids=["cluster", "slab"],
)
def test_atoms_that_do_not_repeat_everywhere(atoms: Atoms, periodic: list[int], tmp_path: Path) -> None:
    atoms.set_cell(atoms.cell if periodic[0] else None)
    atoms.positions += [0, 0, 100.0]
    recipe = alloy(system=System((atoms,), EMT), temperatures_K=(300.0,), length_fs=40.0)
    for segments in (1, 2):
        generate(tmp_path / "data.h5", recipe, segments)
    data = contents(tmp_path / "data.h5")
    assert data["periodic"].tolist() == periodic
    # Along an axis that does not repeat nothing is wrapped.
    assert np.abs(data["positions"] - atoms.positions)[..., 2].max() < 2.0
    kinetic = (data["momenta"].astype(float) ** 2 / data["masses"][:, None]).sum((2, 3)) / 2
    assert np.std(data["energy"] + kinetic, axis=1).max() < 0.1 * np.std(kinetic, axis=1).max()


def test_forces_that_do_not_repeat_are_found_out(tmp_path: Path) -> None:
    def noisy(noise: float) -> Recipe:
        potential = calculator_potential(f"{OWN}:Noisy", {"noise": noise})
        return alloy(system=System(tuple(own_calculators.structures(1)), potential))

    with pytest.raises(ValueError, match=r"differ by .* wanted at most 0\.0001"):
        generate(tmp_path / "data.h5", noisy(1e-3), 1)
    assert not (tmp_path / "data.h5").exists()
    with pytest.warns(FlashMDWarning, match="differ by .* agree to that only"):
        generate(tmp_path / "data.h5", noisy(1e-6), 1)
    with warnings.catch_warnings(action="error"):
        generate(tmp_path / "data.h5", noisy(1e-6), 2)
    with h5py.File(tmp_path / "data.h5") as file:
        assert 1e-8 < file.attrs["force_repeatability_eV_per_A"] < 2e-6 < REPEATABLE_EV_PER_A


def test_forces_repeat_to_the_last_bit(uninterrupted: Path) -> None:
    with h5py.File(uninterrupted) as file:
        assert file.attrs["force_repeatability_eV_per_A"] == 0.0


def test_without_a_bath_segments_are_one_nve_run(tmp_path: Path) -> None:
    path = tmp_path / "nve.h5"
    generate(path, ions(temperatures_K=(500.0,), decorrelation_fs=0.0), 4)
    data = contents(path)
    assert np.array_equal(data["momenta"][:-1, -1], data["momenta"][1:, 0])
    jump = (data["positions"][1:, 0] - data["positions"][:-1, -1]) @ np.linalg.inv(data["cell"])
    assert np.abs(jump - np.round(jump)).max() < 1e-6
    kinetic = (data["momenta"] ** 2 / data["masses"][:, None]).sum((2, 3)) / 2
    total = data["energy"] + kinetic
    assert np.std(total) < 0.02 * np.std(kinetic)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path, recipe = tmp_path / "ions.h5", ions()
    with Store(path, recipe, recipe.build()), pytest.raises(BlockingIOError, match="another process is writing"):
        generate(path, recipe, 1)


def test_another_recipe_is_refused_and_the_difference_named(kind: str, uninterrupted: Path) -> None:
    with pytest.raises(ValueError, match=r"another recipe \(seed = 1 there, 2 here\)"):
        generate(uninterrupted, RECIPES[kind](seed=2, replicas=2), 12)


def test_a_file_that_is_no_data_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.h5"
    path.write_text("not HDF5")
    with pytest.raises(ValueError, match="is not a file of segments"):
        generate(path, ions(), 1)
    assert path.read_text() == "not HDF5"


def test_a_simulation_that_explodes_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"gained .* eV .* shorter time step than 50\.0 fs"):
        generate(tmp_path / "ions.h5", ions(timestep_fs=50.0, spacing_fs=50.0, length_fs=500.0), 2)


def test_momenta_of_a_file_pass_the_kolmogorov_smirnov_test(thermal: Path, tmp_path: Path) -> None:
    temperatures = measure(thermal)
    assert not [found for found in findings(thermal) if found.severity is Severity.REFUSAL]
    for temperature in temperatures:
        assert set(temperature.ks_p) == {"Ag", "I"}
        assert temperature.frames >= 10
        mean, error = temperature.temperature_K["all"]
        assert abs(mean - temperature.bath_K) < 4 * error
        assert temperature.energy is not None
        drift, uncertain = temperature.energy.drift_meV_per_atom_ps
        assert abs(drift) < 0.05 + 4 * uncertain
    image = tmp_path / "plot.png"
    plot(temperatures, image, thermal.name)
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("species", [47, 53])
def test_a_species_that_is_too_fast_is_refused(thermal: Path, tmp_path: Path, species: int) -> None:
    spoilt = tmp_path / "spoilt.h5"
    shutil.copy(thermal, spoilt)
    with h5py.File(spoilt, "r+") as file:
        momenta = file["momenta"][:]
        momenta[:, :, file["numbers"][:] == species] *= 1.5
        file["momenta"][:] = momenta
    refused = [found.sentence for found in findings(spoilt) if found.severity is Severity.REFUSAL]
    assert any("are not Maxwell-Boltzmann" in sentence for sentence in refused)
