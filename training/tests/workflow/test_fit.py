"""`fit` from a potential to a card, on as few atoms as there can be."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import toy_run
from alloys import EMT, alloy
from ase.build import bulk
from ase.io import write
from cheap_calculators import CONSTANT_EV_PER_A2
from typer.testing import CliRunner

import flashmd_rs
import flashmd_train
from flashmd_rs.reference import checks
from flashmd_rs.reference.options import SystemOptions, load_system
from flashmd_rs.reference.system import System
from flashmd_train.cli import app
from flashmd_train.model_files.contract import read_model
from flashmd_train.workflow import fit, plan
from flashmd_train.workflow.card import LARGEST_SHARE, _speed, _verdict

CALCULATORS = Path(__file__).with_name("cheap_calculators.py")
COMMAND = [sys.executable, "-m", "flashmd_train", "fit"]


def weights(model: Path) -> list[tuple[str, bytes]]:
    """The weights of a model, by name."""
    graph = onnx.load(model).graph
    return sorted((tensor.name, onnx.numpy_helper.to_array(tensor).tobytes()) for tensor in graph.initializer)


def toy_system() -> System:
    return load_system(toy_run.CONFIG, structure_args=toy_run.SIZE)


def test_a_run_ends_in_a_model_that_moves_atoms(toy: Path) -> None:
    validation = read_model(toy / "alloy.onnx")[1]["validation"]
    assert validation["one_stride_momentum_error"] < LARGEST_SHARE * validation["free_flight_momentum_error"]
    result = flashmd_rs.rollout(
        toy_system().structures[0],
        flashmd_rs.Model(toy / "alloy.onnx", device="cpu", threads=1),
        time_ps=10,
        temperature_K=600,
        thermostat=flashmd_rs.Langevin(time_constant_fs=1000),
        guard="stop",
        seed=1,
        progress=False,
    )
    assert result.times_ps[-1] == pytest.approx(10, abs=0.032)
    assert 450 < np.mean(result.temperature_K["total"][100:]) < 750


def test_the_card_says_what_it_must(toy: Path) -> None:
    card = (toy / "card.md").read_text()
    assert "A splitting model of 32 fs for Cu, Au at 450–750 K" in card or "for Au, Cu at 450–750 K" in card
    assert "Reference: copper-gold, ASE effective-medium theory, velocity Verlet" in card
    for pattern in (
        r"\| model \| [\d.]+ % \| [\d.]+ % \|",
        r"\| free flight \| [\d.]+ % \| [\d.]+ % \|",
        r"Momentum error [\d.]+ %, [\d.]+ % of free flight's\.",
        r"Energy model: forces [\d.]+ meV/Å off, [\d.]+ % of the rms force",
        r"\| bath, 1 ps \| .*Cu [\d.]+",
        r"times as fast as its reference \([\d.]+ ns/day against [\d.]+\)|slower than its reference",
        r"\| verdict \|",
        r"60 segments of 64 fs at 450, 600, 750 K",
        r"Cost: [\d.]+ min, [\d.]+ core hours",
        r"Command: `.+`",
    ):
        assert re.search(pattern, card), pattern
    assert (toy / "evaluation-0" / "evaluation.md").exists()
    assert "Calibration" not in card  # a splitting's need not be


def test_card_of_a_bad_and_of_a_slow_model() -> None:
    bad = _verdict({"one_stride_momentum_error": 0.11, "free_flight_momentum_error": 0.5})
    assert bad.startswith("**Not good enough**")
    assert bad.endswith("give it more hours or a shorter stride.")
    assert "slower than its reference**, 2.0 times" in _speed({"a.onnx": 1.0, "verlet:2": 2.0}, "verlet:2")
    assert "4.0 times as fast" in _speed({"a.onnx": 8.0, "verlet:2": 2.0}, "verlet:2")


class Command:
    """`fit` in a process group of its own, as in a terminal.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder.with_suffix(".txt")
        flags = ["--config", toy_run.CONFIG, *toy_run.FLAGS]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*COMMAND, folder, *flags],
                stdout=log,
                stderr=log,
                start_new_session=True,
                # A shell's background job ignores Ctrl-C, and so would everything it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Until something is there; the command must not end before."""
        deadline = time.monotonic() + 240
        while not there():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self, number: signal.Signals, group: bool = False) -> int:
        """Send a signal to the command, or to all its processes as a terminal does; none may be left.

        Returns:
            The exit code.
        """
        (os.killpg if group else os.kill)(self.process.pid, number)
        code = self.process.wait(60)
        deadline = time.monotonic() + 30
        while _alive(self.process.pid):
            assert time.monotonic() < deadline, f"left behind: {_alive(self.process.pid)}"
            time.sleep(0.1)
        return code


def _alive(group: int) -> list[str]:
    """The processes of a group that are not dead."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [args for pgid, state, args in rows if int(pgid) == group and not state.startswith("Z")]


def _segments(path: Path) -> int:
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return len(file["temperature_K"])
    except (OSError, KeyError):
        return 0


def test_interruptions_change_nothing(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in data, twice in training and in export, it comes to the weights of a run in one go."""
    run = toy_run.copied(toy, tmp_path, toy_run.DECIDED)
    command = Command(run)
    command.wait_for(lambda: _segments(run / "data-0.h5") >= 12)
    assert command.stop(signal.SIGKILL) == -signal.SIGKILL
    assert 12 <= _segments(run / "data-0.h5") < 60
    command = Command(run)
    command.wait_for((run / "splitting" / "checkpoint.pt").exists)
    assert command.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "Traceback" not in command.log.read_text()
    written = (run / "splitting" / "log.jsonl").stat().st_size
    command = Command(run)
    command.wait_for(lambda: (run / "splitting" / "log.jsonl").stat().st_size > written)
    assert command.stop(signal.SIGKILL) == -signal.SIGKILL
    assert not (run / "alloy-energy.onnx").exists()
    command = Command(run)
    command.wait_for(lambda: "[4/6] export" in command.log.read_text())
    assert command.stop(signal.SIGINT, group=True) == 130
    assert "Traceback" not in command.log.read_text()
    for stage in ("_evaluate", "_card"):
        monkeypatch.setattr(fit.Fit, stage, lambda self, plan, clock: None)
    flashmd_train.fit(run, toy_system(), workers=2, **toy_run.OPTIONS)
    for name in ("alloy.onnx", "alloy-energy.onnx"):
        assert weights(run / name) == weights(toy / name), name
    with h5py.File(run / "data-0.h5") as resumed, h5py.File(toy / "data-0.h5") as whole:
        assert (resumed["momenta"][:] == whole["momenta"][:]).all()
    assert json.loads((run / "clock.json").read_text())["processor_seconds"] > 1


def test_a_rerun_of_a_finished_run_does_nothing_anew(toy: Path, tmp_path: Path) -> None:
    run = toy_run.copied(toy, tmp_path)
    before = {
        name: (run / name).stat().st_mtime_ns for name in ("alloy.onnx", "choices.json", "evaluation-0/evaluation.json")
    }
    flashmd_train.fit(run, toy_system(), workers=2, **{**toy_run.OPTIONS, "hours": 2.0})
    assert before == {name: (run / name).stat().st_mtime_ns for name in before}


def test_one_direct_model_of_two_systems(tmp_path: Path) -> None:
    """Of 32 and 48 atoms; its card has both, and says how momenta are calibrated."""
    aluminium = System((bulk("Al", "fcc", a=4.05, cubic=True) * (2, 2, 3),), EMT)
    options = {**toy_run.OPTIONS, "evaluation_ps": 0.3, "kind": "direct", "cutoff_A": 4.5}
    with toy_run.small():
        model = flashmd_train.fit(tmp_path / "both", [System((alloy(),), EMT), aluminium], workers=2, **options)
    metadata = read_model(model)[1]
    assert metadata["kind"] == "direct"
    assert sorted(metadata["species"]) == ["Al", "Au", "Cu"]
    card = (tmp_path / "both" / "card.md").read_text()
    assert "## Au16Cu16, 600 K" in card
    assert "## Al48, 600 K" in card
    assert "Calibration of the momenta: " in card
    assert "60 + 60 segments" in card


def refused(*arguments: object) -> str:
    """The one line of an error of the command."""
    result = CliRunner().invoke(app, ["fit", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert result.output.splitlines()[-1] == lines[0]
    return lines[0]


def test_too_short_a_time_is_refused_and_leaves_the_folder_free(tmp_path: Path) -> None:
    given = [tmp_path / "run", "--config", toy_run.CONFIG, "--structure-args", "cells=2", "--workers", "2"]
    for equilibration_ps in (0.3, 0.2):  # what the sentence proposes is no other request
        said = refused(*given, "--equilibration-ps", equilibration_ps, "--hours", 1e-4)
        assert re.search(r"0\.0001 h are too short: .* want [\d.e-]+ h on 2 processors", said)


def test_another_request_in_a_folder_is_refused(toy: Path, tmp_path: Path) -> None:
    run = toy_run.copied(toy, tmp_path, toy_run.DECIDED)
    flags = ["--config", toy_run.CONFIG, *toy_run.FLAGS]
    assert "holds a run with another temperature_K; name another folder" in refused(run, *flags, "--temperature-k", 700)
    assert "another systems" in refused(run, *flags, "--structure-args", "gold=0.25")
    assert "holds no finished run to add data to" in refused(run, *flags, "--add", CALCULATORS)


def test_bad_requests_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "start.extxyz", alloy())
    system = ["--structure", tmp_path / "start.extxyz", "--calculator", "ase.calculators.emt:EMT"]
    assert "got no temperature" in refused(tmp_path / "run", *system)
    assert "got no system" in refused(tmp_path / "run", "--temperature-k", 600)
    assert "hours: Input should be greater than 0" in refused(
        tmp_path / "run", *system, "--temperature-k", 600, "--hours", 0
    )
    no_forces = [*system[:2], "--calculator", f"{CALCULATORS}:NoForces", "--temperature-k", 600]
    assert "forces" in refused(tmp_path / "run", *no_forces)
    assert not (tmp_path / "run" / "request.json").exists()
    heavy = alloy()
    heavy.set_masses([70.0, *heavy.get_masses()[1:]])
    write(tmp_path / "heavy.extxyz", heavy, columns=["symbols", "positions", "masses"])
    assert "one model knows one mass per element" in refused(
        tmp_path / "run", "--structure", tmp_path / "heavy.extxyz", *system[2:], "--temperature-k", 600
    )


def test_forces_that_are_no_gradient_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "start.extxyz", alloy())
    flags = ["--temperature-k", 600, "--equilibration-ps", 0.1, "--stride-fs", 16, "--workers", 2]
    with toy_run.small():
        said = refused(
            tmp_path / "run",
            "--structure",
            tmp_path / "start.extxyz",
            "--calculator",
            f"{CALCULATORS}:WeakForces",
            *flags,
        )
    assert "are not the gradient of its energy" in said


def test_where_the_reference_is_cheaper_the_model_is_direct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Springs between few atoms take less than the gradients of a splitting."""
    system = SystemOptions(structure=(f"{CALCULATORS}:dimers",), calculator=f"{CALCULATORS}:Springs").load()
    lines: list[str] = []
    options = fit.FitOptions.checked(temperature_K=300, hours=1.0, cutoff_A=4.0, equilibration_ps=0.1, stride_fs=4.0)
    run = fit.Fit(tmp_path / "springs", [system], options, 1, lines.append)
    # There is nothing between the molecules: they pass through each other.
    monkeypatch.setattr(checks, "CLOSEST", 1e-3)
    monkeypatch.setattr(fit.Fit, "_train", lambda self, plan, clock: self._choices(plan, clock))
    for stage in ("_export", "_evaluate", "_card"):
        monkeypatch.setattr(fit.Fit, stage, lambda self, plan, clock: None)
    with toy_run.small():
        run.run()
    # ω² = 2k/m
    mass_u, ase_fs = 14.007, 10.180506  # fs of ASE's unit of time
    period_fs = 2 * np.pi * np.sqrt(mass_u / (2 * CONSTANT_EV_PER_A2)) * ase_fs
    found = plan.Plan.model_validate_json((tmp_path / "springs" / "plan.json").read_text())
    assert found.fastest_period_fs == pytest.approx(period_fs, rel=0.1)
    assert json.loads((tmp_path / "springs" / "choices.json").read_text())["kind"] == "direct"
    assert "  a splitting would be slower than its reference: direct" in lines
