"""Data files: the same whoever writes them and however often, refused in one sentence, checked and plotted."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from flashmd_rs.reference.checks import Severity, findings, measure
from flashmd_rs.reference.checks.plot import plot
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe, Segment
from flashmd_rs.reference.store import Store

# 32 ions: thousands of steps a second.
IONS = {"size": 2, "temperatures_K": (500.0, 650.0), "spacing_fs": 4.0, "length_fs": 16.0}


def ions(seed: int = 1, **changed: object) -> Recipe:
    return Recipe.of("silver-iodide", seed, **(IONS | {"equilibration_ps": 0.2} | changed))


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in (*Segment._fields, "numbers", "masses", "cell")} | {
            "recipe": np.array(file.attrs["recipe"])
        }


def assert_same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ions") / "one.h5"
    generate(path, ions(replicas=2), 11)
    return path


@pytest.fixture(scope="module")
def thermal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ions") / "thermal.h5"
    generate(path, ions(equilibration_ps=2.0, decorrelation_fs=120.0), 80)
    return path


def test_the_file_does_not_depend_on_the_number_of_workers(uninterrupted: Path, tmp_path: Path) -> None:
    generate(tmp_path / "two.h5", ions(replicas=2), 11, workers=2)
    assert_same(uninterrupted, tmp_path / "two.h5")


def test_a_dask_cluster_writes_the_same_file(uninterrupted: Path, tmp_path: Path) -> None:
    generate(tmp_path / "dask.h5", ions(replicas=2), 11, workers=2, cluster="local")
    assert_same(uninterrupted, tmp_path / "dask.h5")


def test_more_segments_continue_the_same_chains(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "grown.h5"
    for segments in (1, 6, 6, 11):
        generate(path, ions(replicas=2), segments)
    assert_same(uninterrupted, path)


def test_a_run_killed_at_any_moment_goes_on_to_the_same_file(tmp_path: Path) -> None:
    recipe, segments = ions(seed=4), 40
    generate(tmp_path / "whole.h5", recipe, segments)
    path = tmp_path / "killed.h5"
    code = (
        "import sys; from pathlib import Path; from flashmd_rs.reference.generate import generate\n"
        f"from flashmd_rs.reference.recipe import Recipe; generate(Path(sys.argv[1]), {recipe!r}, {segments})"
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


def test_an_ase_system_is_resumed_to_the_same_file(tmp_path: Path) -> None:
    recipe = Recipe.of("aluminium", size=1, temperatures_K=(300.0,), length_fs=16.0, equilibration_ps=0.1)
    generate(tmp_path / "one.h5", recipe, 3)
    for segments in (1, 3):
        generate(tmp_path / "two.h5", recipe, segments)
    assert_same(tmp_path / "one.h5", tmp_path / "two.h5")


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


def test_another_recipe_is_refused_and_the_difference_named(uninterrupted: Path) -> None:
    with pytest.raises(ValueError, match=r"another recipe \(seed = 1 there, 2 here\)"):
        generate(uninterrupted, ions(seed=2, replicas=2), 12)


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
        momenta[:, :, file["numbers"][:] == species] *= 1.25
        file["momenta"][:] = momenta
    refused = [found.sentence for found in findings(spoilt) if found.severity is Severity.REFUSAL]
    assert any("are not Maxwell-Boltzmann" in sentence for sentence in refused)
