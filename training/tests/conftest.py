"""A tiny real data set: a few NVE segments of 64 waters from OpenMM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy_run
from alloys import CUTOFF_A, SPECIES, alloy_data
from methanols import methanol_data
from small_models import CUTOFF

import flashmd_train
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.options import load_system
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.segments import Segments
from flashmd_train.export.publish import publish
from flashmd_train.learning.config import Data, EnergyTraining, Optimizer
from flashmd_train.learning.energy import train_energy
from flashmd_train.models.config import EnergyConfig

SYSTEMS = Path(__file__).parents[2] / "examples" / "systems"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def water64() -> System:
    size = {"molecules": 64}
    return load_system(SYSTEMS / "water" / "system.yaml", structure_args=size, openmm_args=size)


@pytest.fixture(scope="session")
def data_file(water64: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "water64.h5"
    recipe = Recipe(
        system=water64,
        seed=3,
        temperatures_K=(300.0, 350.0),
        spacing_fs=2.0,
        length_fs=8.0,
        decorrelation_fs=20.0,
        equilibration_ps=0.3,
        anneal_K=450.0,
    )
    generate(path, recipe, 6)
    return path


@pytest.fixture(scope="session")
def data(data_file: Path) -> Dataset:
    return Dataset([data_file])


@pytest.fixture(scope="session")
def segments(data: Dataset) -> Segments:
    return data.files[0]


@pytest.fixture(scope="session")
def alloy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alloy_data(tmp_path_factory.mktemp("alloy") / "alloy.h5")


@pytest.fixture(scope="session")
def methanol_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segments of methanol under its bonds and angles alone."""
    return methanol_data(tmp_path_factory.mktemp("methanol") / "methanol.h5")


@pytest.fixture(scope="session")
def alloy_energy(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy model of two steps, exported without its potential."""
    folder = tmp_path_factory.mktemp("alloy-energy")
    model = EnergyConfig(species=SPECIES, prior="free", cutoff_A=CUTOFF_A, radial=6, hidden=4)
    settings = EnergyTraining(model=model, data=Data(files=(alloy_file,)), optimizer=Optimizer(steps=2), every=2)
    train_energy(settings, folder / "run")
    publish(folder / "run", folder / "e.onnx", [alloy_file], None, {})
    return folder / "e.onnx"


@pytest.fixture(scope="session")
def energy_run(data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an energy model's run of two steps."""
    folder = tmp_path_factory.mktemp("energy")
    model = EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4)
    train_energy(
        EnergyTraining(model=model, data=Data(files=(data_file,)), optimizer=Optimizer(steps=2), every=2), folder
    )
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of `fit`; to be copied before anything is changed in it."""
    folder = tmp_path_factory.mktemp("runs") / "alloy"
    system = load_system(toy_run.CONFIG, structure_args=toy_run.SIZE)
    with toy_run.small():
        flashmd_train.fit(folder, system, workers=2, **toy_run.OPTIONS)
    return folder
