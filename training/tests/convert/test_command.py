"""The commands that the training package brings to `flashmd-rs`: found by their entry points, quick to import."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from flashmd_rs.cli.app import TRAINING
from flashmd_train.convert.command import convert
from flashmd_train.convert.fetch_command import fetch
from flashmd_train.data.domain_command import domain

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_entry_points_are_the_commands() -> None:
    declared = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["flashmd_rs.commands"]
    assert {name: resolve_name(entry) for name, entry in declared.items()} == dict(
        convert=convert, domain=domain, fetch=fetch
    )
    assert declared.keys() == TRAINING.keys()


@pytest.mark.parametrize("module", ["convert.command", "convert.fetch_command", "data.domain_command"])
def test_loading_a_command_does_not_load_pytorch(module: str) -> None:
    """flashmd-rs loads it whatever command is asked for."""
    heavy = {"torch", "onnx", "metatrain", "huggingface_hub"}
    check = f"import sys, flashmd_train.{module}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
