"""Models that the real `mtt train` made, and their imports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from metatrain_models import train

from flashmd_train.convert.conversion import convert_checkpoint


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a model trained by `mtt train`, by name: model.ckpt and model.pt."""
    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp("metatrain")
            train(name, folders[name])
        return folders[name]

    return folder


@pytest.fixture(scope="session")
def converted(trained: Callable[[str], Path]) -> Callable[[str], tuple[Path, dict]]:
    """File and metadata of a trained and imported model, by name."""
    done: dict[str, tuple[Path, dict]] = {}

    def file(name: str) -> tuple[Path, dict]:
        if name not in done:
            path = trained(name) / "model.onnx"
            done[name] = path, convert_checkpoint(trained(name) / "model.ckpt", path)
        return done[name]

    return file
