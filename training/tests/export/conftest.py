"""Data of a small alloy, whose potential is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from alloys import CUTOFF_A, SPECIES, alloy_data

from flashmd_train.export.publish import publish
from flashmd_train.learning.config import Data, EnergyTraining, Optimizer
from flashmd_train.learning.energy import train_energy
from flashmd_train.models.config import EnergyConfig


@pytest.fixture(scope="session")
def alloy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alloy_data(tmp_path_factory.mktemp("alloy") / "alloy.h5")


@pytest.fixture(scope="session")
def alloy_energy(alloy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An energy model of two steps, exported without its potential."""
    folder = tmp_path_factory.mktemp("alloy-energy")
    model = EnergyConfig(species=SPECIES, prior="free", cutoff_A=CUTOFF_A, radial=6, hidden=4)
    settings = EnergyTraining(model=model, data=Data(files=(alloy_file,)), optimizer=Optimizer(steps=2), every=2)
    train_energy(settings, folder / "run")
    publish(folder / "run", folder / "e.onnx", [alloy_file], None, {})
    return folder / "e.onnx"
