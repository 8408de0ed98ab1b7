"""PET trained here beside PET trained by ``mtt train``: same frames, settings and steps, seed by seed.

Both see the same strides in the same batches' size, turned at random, and learn by Adam with the same warm-up and half
cosine; weights are not averaged and no stride is turned in time, which ``mtt train`` does not do either. What both give
is measured by the same code on frames that neither has seen.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import ase.io
import numpy as np
import yaml

from flashmd_train.backbones.pet_sizes import PRESETS, pet_config
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.frames import frames
from flashmd_train.learning.config import Data, DirectTraining, Loss, Optimizer
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.start import read_start
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct
from flashmd_train.studies.learning_curve import errors_on, percent

VALIDATION_SHARE, WARMUP_SHARE = 0.1, 0.01


@dataclass
class Settings:
    """What both trainings share.

    Attributes:
        stride_fs: fs; the segments of the data are as long.
        preset: size of PET.
        cutoff_A: Å.
        epochs: how often each frame is seen.
        boxes: per step.
        learning_rate: the largest.
    """

    stride_fs: float
    preset: str = "tiny"
    cutoff_A: float = 4.5
    epochs: int = 50
    boxes: int = 4
    learning_rate: float = 1e-3


@dataclass
class Outcome:
    """Of one training.

    Attributes:
        momentum_error: on frames it has not seen, of the rms value.
        displacement_error: likewise.
        frames_per_s: trained on, validations included; the start of ``mtt train`` and its first epoch left out. Not a
            number of a training that was resumed.
    """

    momentum_error: float
    displacement_error: float
    frames_per_s: float


def train_here(data: Path, test: Path, settings: Settings, seed: int, folder: Path) -> Outcome:
    """By this package."""
    _, training = _split(data)
    steps = settings.epochs * (len(training) // settings.boxes)
    given = DirectTraining(
        model=_model(data, settings),
        data=Data(files=(data,), validation=VALIDATION_SHARE, boxes=settings.boxes, time_reversal=0.0),
        loss=Loss(kind="scaled"),
        optimizer=Optimizer(
            steps=steps, learning_rate=settings.learning_rate, warmup=int(WARMUP_SHARE * steps), averaging=0.0
        ),
        every=max(1, len(training) // settings.boxes),
        seed=seed,
    )
    start, resumed = time.perf_counter(), (folder / "checkpoint.pt").exists()
    model = train_direct(given, folder)
    seconds = math.nan if resumed else time.perf_counter() - start
    return _outcome(model, test, steps * settings.boxes / seconds)


def train_there(data: Path, test: Path, settings: Settings, seed: int, folder: Path) -> Outcome:
    """By ``mtt train``."""
    folder.mkdir(parents=True, exist_ok=True)
    held, training = _split(data)
    every = list(frames(data, settings.stride_fs))
    if len(every) != len(training) + len(held):
        raise ValueError(f"{data} holds segments of several strides of {settings.stride_fs:g} fs; wanted one each")
    for name, index in (("training", training), ("validation", held)):
        ase.io.write(folder / f"{name}.extxyz", [every[k] for k in index])
    (folder / "options.yaml").write_text(yaml.safe_dump(_options(settings, seed)))
    if not (folder / "model.ckpt").exists():
        command = [sys.executable, "-m", "metatrain", "train", "options.yaml"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"mtt train failed: {(done.stderr + done.stdout)[-1000:]}")
    seen = (len(training) // settings.boxes) * settings.boxes
    return _outcome(read_start(folder / "model.ckpt"), test, seen / _seconds_per_epoch(folder))


def compare(data: Path, test: Path, settings: Settings, seeds: int, folder: Path) -> dict[str, list[Outcome]]:
    """Both trainings with each seed, in turns; what is there from an earlier call is read.

    Args:
        data: HDF5 file of segments one stride long.
        test: another, of which each first stride is predicted.
        settings: of both.
        seeds: how many.
        folder: of everything that is written.
    """
    found: dict[str, list[Outcome]] = {"here": [], "mtt train": []}
    for seed in range(seeds):
        for name, train in (("here", train_here), ("mtt train", train_there)):
            run = folder / f"{name.split()[0]}-{seed}"
            result = run / "outcome.json"
            if not result.exists():
                outcome = train(data, test, settings, seed, run)
                result.write_text(json.dumps({"settings": asdict(settings), "outcome": asdict(outcome)}))
            kept = json.loads(result.read_text())
            if kept["settings"] != asdict(settings):
                raise ValueError(f"{run} holds a training with other settings; name another folder")
            found[name].append(Outcome(**kept["outcome"]))
    return found


def table(found: dict[str, list[Outcome]]) -> list[str]:
    """Rows of a Markdown table: means over seeds and their standard deviations."""
    rows = []
    for name, outcomes in found.items():
        columns = [np.array([getattr(outcome, field) for outcome in outcomes]) for field in Outcome.__annotations__]
        errors = [percent(x, 2) for x in columns[:2]]
        rows.append(f"| {name} | {' | '.join(errors)} | {np.nanmedian(columns[2]):.1f} |")
    return rows


def _split(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the frames that are held out for validation, and of those that are trained on."""
    training, held = Dataset([data]).split(VALIDATION_SHARE, seed=0)
    return held[:, 1], training[:, 1]


def _model(data: Path, settings: Settings) -> DirectConfig:
    return DirectConfig(
        species=Dataset([data]).symbols,
        stride_fs=settings.stride_fs,
        cutoff_A=settings.cutoff_A,
        backbone="pet",
        prior="none",
        options={"preset": settings.preset},
    )


def _options(settings: Settings, seed: int) -> dict:
    """Options of ``mtt train``."""
    c = pet_config(1, settings.cutoff_A, dict(PRESETS[settings.preset]))
    kind = dict(sample_kind="atom", type=dict(cartesian=dict(rank=1)))
    targets = {
        "position": dict(key="future_positions", quantity="length", unit="A", **kind),
        "momentum": dict(key="future_momenta", quantity="momentum", unit="(eV*u)^(1/2)", **kind),
    }
    return dict(
        seed=seed,
        architecture=dict(
            name="experimental.flashmd",
            model=dict(
                cutoff=c.cutoff_A,
                cutoff_width=c.cutoff_width_A,
                d_pet=c.features,
                d_node=c.node_features,
                d_head=c.head_features,
                d_feedforward=c.hidden,
                num_heads=c.heads,
                num_attention_layers=c.blocks,
                num_gnn_layers=c.layers,
            ),
            training=dict(
                timestep=settings.stride_fs,
                batch_size=settings.boxes,
                num_epochs=settings.epochs,
                learning_rate=settings.learning_rate,
                warmup_fraction=WARMUP_SHARE,
                num_workers=0,
            ),
        ),
        training_set=dict(systems=dict(read_from="training.extxyz", length_unit="angstrom"), targets=targets),
        validation_set=dict(systems=dict(read_from="validation.extxyz", length_unit="angstrom"), targets=targets),
        test_set=0.0,
    )


def _seconds_per_epoch(folder: Path) -> float:
    """Of ``mtt train``, by the log of its last run, whose times are whole seconds."""
    log = sorted(folder.glob("outputs/*/*/train.log"))[-1]
    found = re.findall(r"^\[(.+?)\]\[INFO\] - Epoch: ", log.read_text(), re.MULTILINE)
    first, last = (datetime.fromisoformat(found[k]) for k in (0, -1))
    return max(1.0, (last - first).total_seconds()) / max(1, len(found) - 1)


def _outcome(model: Direct, test: Path, frames_per_s: float) -> Outcome:
    errors = errors_on(model, test)
    return Outcome(errors["momentum_error"], errors["displacement_error"], frames_per_s)
