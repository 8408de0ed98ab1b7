"""The trainings of a run: settings files, and processes that train by them side by side."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from tqdm import tqdm

from flashmd_rs._engine.workers import follow_parent
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.learning.config import DirectTraining, EnergyTraining, SplittingTraining, read
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.energy import train_energy
from flashmd_train.learning.splitting import train_splitting
from flashmd_train.models.config import BondedConfig
from flashmd_train.settings import Strict

KINDS: dict[str, tuple[type, Any]] = {
    "energy": (EnergyTraining, train_energy),
    "direct": (DirectTraining, train_direct),
    "splitting": (SplittingTraining, train_splitting),
}
FEWEST_STEPS, MOST_STEPS = 200, 20000
# An energy model is at its best early; the time is better spent on the stride beside it.
MOST_ENERGY_STEPS = 4000
# Steps of a trial that is timed, and those on forces before them.
TRIAL_STEPS, TRIAL_FORCE_STEPS = 90, 150
VALIDATIONS = 8
# Steps of pair tables between two kicks of a hybrid model.
PAIR_STEPS = 2
# Weight of the potential energies of a hybrid's frames. Momenta hardly show what torsions are off by, and energies do.
POTENTIAL_WEIGHT = 0.1
# They count from this share of the steps on, at a smaller learning rate.
RESTART = 0.5
# Legendre polynomials of a driven model's slow forces.
DRIVEN_ORDERS = 4
# Inner time steps of its stride, or as many as the reference's.
DRIVEN_STEPS = 16
# Time between two looks at what is running, s.
POLLING_S = 0.5


class Training(NamedTuple):
    """One training run.

    Attributes:
        kind: a key of ``KINDS``, also the command that does the same.
        settings: YAML file.
        folder: of the run.
    """

    kind: str
    settings: Path
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Where it stands."""
        return self.folder / "checkpoint.pt"

    @property
    def ended(self) -> Path:
        """File that says that the time was up before the last step."""
        return self.folder / "ended.txt"

    @property
    def is_done(self) -> bool:
        """True if its last step has been taken, or its time was up."""
        if not self.checkpoint.exists():
            return False
        if self.ended.exists():
            return True
        steps = yaml.safe_load(self.settings.read_text())["optimizer"]["steps"]
        return bool(torch.load(self.checkpoint, weights_only=False)["step"] >= steps)

    @property
    def step(self) -> int:
        """The last step that has been validated."""
        log = self.folder / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return int(json.loads(lines[-1])["step"]) if lines else 0


class KnownBonds(Strict):
    """What a hybrid or a driven model of molecules knows.

    Attributes:
        bonded: kinds of bonds and angles.
        inner_timestep_fs: time step under them, fs.
        shortest_A: shortest distance of two atoms in the data, Å.
    """

    bonded: BondedConfig
    inner_timestep_fs: float
    shortest_A: float


def model_settings(
    kind: str,
    species: tuple[str, ...],
    cutoff_A: float,
    angular: int,
    stride_fs: float,
    kicks: int,
    known: KnownBonds | None = None,
) -> dict[str, Any]:
    """The section ``model`` of a training; with ``known`` bonds, of models of molecules."""
    energy: dict[str, Any] = {
        "species": list(species),
        "prior": "free",
        "cutoff_A": cutoff_A,
        "radial": 32,
        "spacing": 2.0,
        "hidden": 24,
        "angular": angular,
    }
    if known is not None:
        # Atoms that are bonded are near each other: there radial functions have to be as fine as far out.
        energy |= {"spacing": 1.0, "first_A": known.shortest_A}
    if kind == "energy":
        return energy
    if kind == "splitting":
        settings = {
            "species": list(species),
            "stride_fs": stride_fs,
            "kicks": [0, *[1] * (kicks - 1), 0],
            "drifts": [1 / kicks] * kicks,
            "scalar": energy,
        }
        if known is not None:
            settings |= {
                "inner_timestep_fs": known.inner_timestep_fs,
                "bonded": known.bonded.model_dump(mode="json"),
                "pair_timestep_fs": stride_fs / kicks / PAIR_STEPS,
                "mollified": True,
            }
        return settings
    if known is not None:
        return {
            "species": list(species),
            "stride_fs": stride_fs,
            "cutoff_A": cutoff_A,
            "prior": "free",
            "backbone": "painn",
            "legendre_orders": DRIVEN_ORDERS,
            "inner_timestep_fs": max(known.inner_timestep_fs, stride_fs / DRIVEN_STEPS),
            "bonded": known.bonded.model_dump(mode="json"),
        }
    return {
        "species": list(species),
        "stride_fs": stride_fs,
        "cutoff_A": cutoff_A,
        "prior": "free",
        "backbone": "lookahead",
        # Those that pre-training begins with.
        "options": {"message_vectors": 4 + len(species)},
    }


def write_settings(
    training: Training,
    model: dict[str, Any],
    files: list[Path],
    *,
    steps: int,
    force_steps: int,
    seed: int,
    edges: int | None = None,
    start: Path | None = None,
    potentials: bool = True,
) -> None:
    """Write the settings of a training; only that of a splitting has steps on forces before its own.

    A hybrid of molecules learns potential energies in its second half, unless ``potentials`` is False.
    """
    settings: dict[str, Any] = {
        "model": model,
        "data": {
            "files": [os.path.relpath(path, training.settings.parent) for path in files],
            **({} if edges is None else {"edges": edges}),
        },
        "optimizer": {"steps": steps, "learning_rate": 1e-3, "warmup": min(100, steps // 4)},
        "every": max(1, math.ceil(steps / VALIDATIONS)),
        "seed": seed,
    }
    if training.kind == "splitting":
        settings["force_steps"] = force_steps
        if potentials and "bonded" in model:
            settings["loss"] = {"potential_weight": POTENTIAL_WEIGHT}
            settings["optimizer"]["restart"] = RESTART
    if start is not None:
        settings["start"] = os.path.relpath(start, training.settings.parent)
    with atomic_write(training.settings) as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False))


def trial(
    kind: str, model: dict[str, Any], files: list[Path], folder: Path, edges: int | None = None
) -> tuple[float, dict[str, float]]:
    """A short training.

    Returns:
        Wall time of a step, s, and the figures of its last validation.
    """
    training = Training(kind, folder / f"{kind}.yaml", folder / kind)
    folder.mkdir(parents=True, exist_ok=True)
    if not training.settings.exists():
        steps = dict(steps=TRIAL_STEPS, force_steps=TRIAL_FORCE_STEPS)
        write_settings(training, model, files, **steps, seed=0, edges=edges, potentials=False)
    settings, train = KINDS[kind]
    if not training.is_done:
        with open(_log(training), "a") as log, redirect_stdout(log):
            train(read(settings, training.settings), training.folder)
    figures = json.loads((training.folder / "log.jsonl").read_text().splitlines()[-1])
    return figures["seconds"] / TRIAL_STEPS, figures


def run_trainings(trainings: list[Training], workers: int, seconds: float) -> None:
    """Train what is not trained yet, side by side where there are processors for it; a rerun goes on.

    Args:
        trainings: with their settings written.
        workers: processes.
        seconds: wall time of each, s; a training that is not through by then ends with the weights it has.

    Raises:
        ValueError: a training failed; with the last line it wrote.
    """
    waiting = [training for training in trainings if not training.is_done]
    for first in range(0, len(waiting), workers):
        _run_side_by_side(waiting[first : first + workers], seconds)


def _run_side_by_side(trainings: list[Training], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    total = sum(yaml.safe_load(t.settings.read_text())["optimizer"]["steps"] for t in trainings)
    with _processes(trainings) as running, tqdm(total=total, unit="step", desc="training", mininterval=20) as bar:
        while any(process.is_alive() for process in running):
            time.sleep(POLLING_S)
            if time.monotonic() > deadline:
                _end(trainings, running)
            bar.update(sum(t.step for t in trainings) - bar.n)
    for training, process in zip(trainings, running):
        if process.exitcode and not training.ended.exists():
            lines = _log(training).read_text().splitlines() or ["no word"]
            raise ValueError(f"training {training.folder} failed: {lines[-1]}; all it wrote is in {_log(training)}")


def _end(trainings: list[Training], running: list[SpawnProcess]) -> None:
    """End what is still running after its step, with its checkpoint.

    Raises:
        ValueError: there is none yet.
    """
    for training, process in zip(trainings, running):
        if process.is_alive():
            process.terminate()
            process.join()
            if not training.checkpoint.exists():
                raise ValueError(f"the time was up before training {training.folder} had taken a step: give more hours")
            training.ended.write_text("the time was up\n")


def _log(training: Training) -> Path:
    return training.folder.with_suffix(".log")


@contextmanager
def _processes(trainings: list[Training]) -> Iterator[list[SpawnProcess]]:
    """A process per training; an error or an interruption here ends them after their step, with their checkpoints."""
    running = [get_context("spawn").Process(target=_train, args=(training,)) for training in trainings]
    try:
        for process in running:
            process.start()
        yield running
    finally:
        for process in running:
            if process.is_alive():
                process.terminate()
        for process in running:
            if process.pid is not None:
                process.join()


def _train(training: Training) -> None:
    """What the process of a training does; what it prints goes to its log."""
    follow_parent()
    with open(_log(training), "ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    settings, train = KINDS[training.kind]
    try:
        train(read(settings, training.settings), training.folder)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(str(error))
