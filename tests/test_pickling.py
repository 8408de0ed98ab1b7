"""What goes to another process: models and their calculators, results and errors; and what copies of them do."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import is_dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from ase.mep import NEB

from flashmd_rs import InputError, Model, ModelError, Simulation, StabilityError, errors, options, rollout

from conftest import fixture_model, make_crystal


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


COPIES = [copy.copy, copy.deepcopy, pickled]


def energy_of(structure, model):
    return model.energy(structure)


def explode(model):
    """Ends in a StabilityError."""
    return rollout(make_crystal(2), model, steps=50, temperature_K=300, seed=1, progress=False)


@pytest.fixture
def own_model(tmp_path):
    """A model in a file that a test may change."""
    path = tmp_path / "mine.onnx"
    path.write_bytes(fixture_model("pair_energy").read_bytes())
    return Model(path, device="cpu", threads=1)


class TestModel:
    @pytest.mark.parametrize("copied", COPIES)
    def test_a_copy_is_the_same_model(self, copied, own_model, crystal):
        other = copied(own_model)
        for name in ("path", "name", "sha256", "device", "threads", "metadata"):
            assert getattr(other, name) == getattr(own_model, name), name
        assert other.energy(crystal) == own_model.energy(crystal)

    def test_threads_stay_as_given(self, monkeypatch):
        """None is decided where the model is opened, as joblib and Dask expect it."""
        model = Model(fixture_model("pair_energy"), device="cpu")
        data = pickle.dumps(model)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        other = pickle.loads(data)
        assert other.threads is None
        assert other.threads_used == 1

    def test_another_file_is_refused_by_name(self, own_model):
        data = pickle.dumps(own_model)
        own_model.path.write_bytes(fixture_model("pair_stride").read_bytes())
        with pytest.raises(ModelError, match=r"mine\.onnx is not the file of the pickled model.*SHA-256"):
            pickle.loads(data)
        own_model.path.write_bytes(b"no model")
        with pytest.raises(ModelError, match=r"mine\.onnx"):
            pickle.loads(data)
        own_model.path.unlink()
        with pytest.raises(FileNotFoundError, match=r"gone, .*mine\.onnx"):
            pickle.loads(data)
        assert copy.deepcopy(own_model) is own_model, "copies share what is open"

    def test_relative_paths_survive_another_folder(self, own_model, monkeypatch, crystal):
        monkeypatch.chdir(own_model.path.parent)
        data = pickle.dumps(Model("mine.onnx", device="cpu", threads=1))
        monkeypatch.chdir("/")
        assert pickle.loads(data).energy(crystal) == own_model.energy(crystal)


class TestCalculator:
    @pytest.mark.parametrize("copied", COPIES)
    def test_a_copy_gives_the_same(self, copied, own_model, crystal):
        crystal.calc = own_model.calculator()
        forces = crystal.get_forces()
        other = copied(crystal)
        assert other.calc.results.keys() == crystal.calc.results.keys()
        other.rattle(0.01, seed=1)
        assert not np.array_equal(other.get_forces(), forces)
        moved = crystal.copy()
        moved.positions = other.positions
        moved.calc = own_model.calculator()
        np.testing.assert_array_equal(other.get_forces(), moved.get_forces())

    def test_images_of_an_elastic_band(self, own_model):
        """Each image has a calculator of its own, copied from one."""
        start = make_crystal(2)
        end = start.copy()
        end.positions[0] += 0.3
        images = [start, *(start.copy() for _ in range(3)), end]
        calculator = own_model.calculator()
        for image in images:
            image.calc = copy.deepcopy(calculator)
        band = NEB(images, method="improvedtangent")
        band.interpolate()
        forces = band.get_forces()
        assert forces.shape == (3 * len(start), 3)
        assert np.isfinite(forces).all()
        energies = [image.get_potential_energy() for image in images]
        np.testing.assert_allclose(energies, [own_model.energy(image) for image in images], rtol=1e-12)


class TestOtherProcesses:
    def test_spawn(self, own_model):
        """Models, structures with calculators, trajectories and errors cross both ways, through the standard pool."""
        structure = make_crystal(2)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            there = pool.submit(energy_of, structure, own_model).result(60)
            failed = pool.submit(explode, Model(fixture_model("explodes"), device="cpu", threads=1))
            with pytest.raises(StabilityError) as caught:
                failed.result(60)
        assert there == own_model.energy(structure)
        assert caught.value.step > 0
        assert len(caught.value.last_good) == len(structure)

    def test_joblib_and_dask(self, own_model):
        """They pickle with cloudpickle."""
        cloudpickle = pytest.importorskip("cloudpickle")
        structure = make_crystal(2)
        structure.calc = own_model.calculator()
        work = pickle.loads(cloudpickle.dumps(lambda: (own_model.energy(structure), structure.get_potential_energy())))
        assert work() == (own_model.energy(structure),) * 2


@pytest.mark.parametrize("suffix", [None, ".extxyz", ".traj", ".h5md", ".xtc", ".dcd"])
@pytest.mark.parametrize("copied", COPIES)
def test_trajectories(copied, suffix, models, tmp_path, monkeypatch):
    """Frames that stay in a file are read from it by the copy too, from whatever folder."""
    monkeypatch.chdir(tmp_path)
    file = None if suffix is None else Path(f"run{suffix}")
    arguments = {"steps": 4, "temperature_K": 30, "interval": 1, "seed": 1, "progress": False}
    energy = models("pair_energy")
    run = rollout(make_crystal(2), models("pair_stride"), trajectory=file, energy_model=energy, **arguments)
    monkeypatch.chdir("/")
    other = copied(run)
    assert [len(part) for part in (other, other.frames[1:3])] == [5, 2]
    for ours, theirs in zip(run, other, strict=True):
        np.testing.assert_array_equal(ours.positions, theirs.positions)
    np.testing.assert_array_equal(run.potential_energy, other.potential_energy)
    assert other.report == run.report


@pytest.mark.parametrize("copied", COPIES)
def test_states(copied, models, crystal):
    simulation = Simulation(crystal, models("pair_stride"), temperature_K=30, seed=1)
    simulation.step(2)
    other = copied(simulation.state)
    assert other.step == 2
    np.testing.assert_array_equal(other.atoms.get_momenta(), simulation.atoms.get_momenta())


@pytest.mark.parametrize("copied", COPIES)
def test_a_simulation_is_refused_with_what_to_do(copied, models, crystal):
    simulation = Simulation(crystal, models("pair_stride"), temperature_K=30)
    with pytest.raises(InputError, match=r"save a checkpoint with save\(path\)"):
        copied(simulation)


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("kind", ERRORS)
def test_errors(kind, copied, crystal):
    details = {}
    if kind is ModelError:
        details = {"fault": "NoMetadata"}
    if kind is StabilityError:
        details = {"step": 3, "time_ps": 0.1, "atoms": [1], "quantity": "T", "last_good": crystal, "saved_to": "/x"}
    other = copied(kind("what was got", **details))
    assert type(other) is kind
    assert str(other) == "what was got"
    assert {name: getattr(other, name) for name in details} == details


def test_file_errors():
    """They keep their number and their file."""
    with pytest.raises(OSError, match="trajectory") as caught:
        rollout(make_crystal(2), fixture_model("pair_stride"), steps=1, temperature_K=1, trajectory="/nowhere/x.traj")
    other = pickled(caught.value)
    assert (type(other), other.errno, other.filename) == (type(caught.value), caught.value.errno, caught.value.filename)


OPTIONS = [kind for kind in vars(options).values() if is_dataclass(kind) and kind.__module__ == options.__name__]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("kind", OPTIONS)
def test_options(kind, copied):
    option = kind(*{options.Output: ("x.traj",), options.Checkpoint: ("x",)}.get(kind, ()))
    assert copied(option) == option
