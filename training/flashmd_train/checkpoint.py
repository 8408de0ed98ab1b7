"""A run on disk: checkpoint.pt, replaced in one go, a line per validation in log.jsonl, and TensorBoard's events."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.config import Optimizer
from flashmd_train.dataset import Dataset


class Averaged:
    """Exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model), decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards ``model``; early steps are forgotten faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, value in zip(self.model.parameters(), model.parameters()):
            mean.lerp_(value, 1 - decay)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    x = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * x))


class Run:
    """Everything that changes while a model trains, saved and restored together.

    Random numbers are a function of seed, step and process, so there is no generator to save.

    Args:
        folder: where it is kept.
        shape: what must be the same to go on, as JSON.
        model: trained in place.
        optimizer: its settings.
        seed: of the batches.
        rank: of this process; only the first one writes.

    Attributes:
        step: steps done. averaged: moving average of the weights. best: its state where validation was best.
        seconds: processor time spent. finished: True once there is nothing left to do.
    """

    def __init__(
        self, folder: Path, shape: dict, model: nn.Module, optimizer: Optimizer, seed: int, rank: int = 0
    ) -> None:
        self.folder, self.shape, self.model, self.settings = folder, shape, model, optimizer
        self.seed, self.rank = seed, rank
        self.averaged = Averaged(model, optimizer.averaging)
        self.adam = torch.optim.Adam(model.parameters(), lr=optimizer.learning_rate)
        self.scaler = torch.amp.GradScaler("cuda", enabled=optimizer.precision == "float16")
        self.step, self.seconds, self._since = 0, 0.0, time.process_time()
        self.best: dict | None = None
        self.best_score, self.waited = math.inf, 0
        if rank == 0:
            folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def exists(folder: Path) -> bool:
        """True if there is a checkpoint to go on from."""
        return (folder / "checkpoint.pt").exists()

    def restore(self) -> None:
        """Go on from the folder's checkpoint."""
        saved = torch.load(self.folder / "checkpoint.pt", weights_only=False)
        if saved["config"] != self.shape:
            raise ValueError(f"{self.folder} holds a run of another model: {saved['config']}; name another folder")
        self.model.load_state_dict(saved["model"])
        self.averaged.model.load_state_dict(saved["averaged"])
        self.adam.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.best, self.best_score, self.waited = saved["best"], saved["best_score"], saved["waited"]

    @property
    def finished(self) -> bool:
        """All steps done, or no better validation for too long."""
        patience = self.settings.patience
        return self.step >= self.settings.steps or (patience is not None and self.waited >= patience)

    def random(self) -> np.random.Generator:
        """The generator of this step and process."""
        return np.random.default_rng([self.seed, self.step, self.rank])

    def descend(self, loss: torch.Tensor) -> None:
        """One step of the optimiser with clipped gradients; a gradient that is not finite is skipped."""
        for group in self.adam.param_groups:
            group["lr"] = self.settings.learning_rate * schedule(self.step, self.settings.steps, self.settings.warmup)
        self.adam.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        if torch.isfinite(norm):
            self.scaler.step(self.adam)
            self.averaged.update(self.model, self.step)
        self.scaler.update()
        self.step += 1

    def save(self, data: Dataset, figures: dict, score: float) -> None:
        """Log ``figures``, remember the best by ``score`` (the less the better) and write the checkpoint."""
        if score < self.best_score:
            self.best, self.best_score, self.waited = copy.deepcopy(self.averaged.model.state_dict()), score, 0
        else:
            self.waited += 1
        if self.rank != 0:
            return
        now = time.process_time()
        self.seconds, self._since = self.seconds + now - self._since, now
        line = dict(step=self.step, seconds=round(self.seconds, 1), **figures)
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        with SummaryWriter(self.folder) as events:
            for name, value in figures.items():
                events.add_scalar(name, value, self.step)
        print(json.dumps({k: round(v, 5) for k, v in line.items()}), flush=True)
        state = dict(
            config=self.shape,
            model=self.model.state_dict(),
            averaged=self.averaged.model.state_dict(),
            best=self.best,
            best_score=self.best_score,
            waited=self.waited,
            optimizer=self.adam.state_dict(),
            scaler=self.scaler.state_dict(),
            step=self.step,
            seconds=self.seconds,
            seed=self.seed,
            data=dict(recipe=data.recipe, sha256=data.sha256),
        )
        with atomic_write(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)


def weights(saved: dict) -> dict:
    """The state to export: the moving average where validation was best."""
    return saved["best"] or saved["averaged"]
