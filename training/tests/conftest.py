"""A tiny real data set: a few NVE segments of 64 waters from OpenMM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe
from flashmd_train.dataset import Dataset, Segments


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "water64.h5"
    recipe = Recipe.of(
        "water", 3, size=64, temperatures_K=(300.0, 350.0), spacing_fs=2.0, length_fs=8.0, equilibration_ps=0.3
    )
    generate(path, recipe, 6)
    return path


@pytest.fixture(scope="session")
def data(data_file: Path) -> Dataset:
    return Dataset([data_file])


@pytest.fixture(scope="session")
def segments(data: Dataset) -> Segments:
    return data.files[0]
