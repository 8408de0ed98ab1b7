"""docs/how-to/own-system.md tells the truth: its commands run in order, and what they promise is there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import toy_run
import yaml
from ase.io import read
from typer.testing import CliRunner

from flashmd_rs import Model
from flashmd_rs.cli import app as runtime
from flashmd_train.cli import app as trainer

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "own-system.md").read_text()
BEFORE, _, MOLECULES = PAGE.partition("## Molecules")
COMMAND = re.compile(r"^    (flashmd-(?:train|rs) .+)$", re.MULTILINE)
COMMANDS = COMMAND.findall(BEFORE)
APPS = {"flashmd-train": trainer, "flashmd-rs": runtime}
# What is smaller here: flags that are added to a command, or take the place of its own.
SMALLER = {
    "fit": toy_run.FLAGS,
    "structure": ["--structure-args", "cells=2", "--time-ps", "0.3"],
    "run": ["--time-ps", "1", "--device", "cpu"],
}


def test_page_has_the_commands_of_the_loop() -> None:
    assert [shlex.split(command)[:2] for command in COMMANDS] == [
        ["flashmd-train", "fit"],
        ["flashmd-train", "structure"],
        ["flashmd-rs", "run"],
        ["flashmd-rs", "run"],
        ["flashmd-train", "fit"],
    ]


def test_commands_of_the_page_run(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one finds the finished toy run, which is one of the same request."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_run.SYSTEMS, tmp_path / "examples" / "systems")
    toy_run.copied(toy, tmp_path / "runs")
    for command in COMMANDS:
        program, name, *arguments = shlex.split(command)
        with toy_run.small():
            result = CliRunner().invoke(APPS[program], [name, *arguments, *SMALLER[name]])
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
    for path in re.findall(r"`(runs/[^`]+)`", BEFORE):
        assert (tmp_path / path).exists(), path
    for path in ("start.extxyz", "run.extxyz"):
        assert read(path).get_temperature() > 0
    assert len(read("runs/collected.extxyz", ":")) > 0
    # A round has begun from the frames, once, from what the round before came to.
    program, name, *arguments = shlex.split(COMMANDS[-1])
    assert CliRunner().invoke(APPS[program], [name, *arguments, *SMALLER[name]]).exit_code == 0
    run = Path("runs/alloy")
    assert len(list(run.glob("added-*.h5"))) == 1
    assert [path.name for path in run.glob("round-*")] == ["round-0"]
    assert yaml.safe_load((run / "splitting.yaml").read_text())["start"] == "round-0/splitting/checkpoint.pt"
    assert (run / "round-0" / "alloy.onnx").read_bytes() == (toy / "alloy.onnx").read_bytes()
    assert (run / "alloy.onnx").read_bytes() != (toy / "alloy.onnx").read_bytes()
    assert "Added: 1 file" in (run / "card.md").read_text()


def test_command_for_molecules_makes_a_hybrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bonds of ethanol are found and known, and a stride is a kick each 4 fs."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_run.SYSTEMS, tmp_path / "examples" / "systems")
    (command,) = COMMAND.findall(MOLECULES)
    _, name, *arguments = shlex.split(command)
    with toy_run.small():
        result = CliRunner().invoke(trainer, [name, *arguments, *toy_run.SHORT, "--timestep-fs", "0.5"])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    assert "5 kinds of bonds, 7 of angles" in result.output
    metadata = Model("runs/ethanol/ethanol.onnx").metadata
    assert (metadata["kind"], metadata["contract"], metadata["stride_fs"]) == ("hybrid", 3, 4.0)
    assert len(metadata["fast"]["bonds"]) == 5
    assert metadata["validation"]["one_stride_momentum_error"] < 0.2
    assert "hybrid" in (tmp_path / "runs" / "ethanol" / "card.md").read_text()
