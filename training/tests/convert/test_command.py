"""The command `convert`: found by its entry point, quick to import."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

from flashmd_train.convert.command import convert

TRAINING = Path(__file__).parents[2]


def test_the_entry_point_is_the_command() -> None:
    declared = tomllib.loads((TRAINING / "pyproject.toml").read_text())["project"]["entry-points"]
    assert resolve_name(declared["flashmd_rs.commands"]["convert"]) is convert


def test_loading_the_command_does_not_load_pytorch() -> None:
    """flashmd-rs loads it whatever command is asked for."""
    check = "import sys, flashmd_train.convert.command; assert not {'torch', 'onnx', 'metatrain'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
