"""The command `convert`, without metatrain: found by its entry point, quick to import, one clear error."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from flashmd_rs.errors import ModelError
from flashmd_train.convert.command import convert

TRAINING = Path(__file__).parents[2]


def test_the_entry_point_is_the_command() -> None:
    declared = tomllib.loads((TRAINING / "pyproject.toml").read_text())["project"]["entry-points"]
    assert resolve_name(declared["flashmd_rs.commands"]["convert"]) is convert


def test_loading_the_command_does_not_load_pytorch() -> None:
    """flashmd-rs loads it whatever command is asked for."""
    check = "import sys, flashmd_train.convert.command; assert not {'torch', 'onnx', 'metatrain'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_without_metatrain_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metatrain", None)
    monkeypatch.setitem(sys.modules, "metatomic", None)
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"pip install '\./training\[convert\]'"):
        convert(tmp_path / "model.ckpt", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
