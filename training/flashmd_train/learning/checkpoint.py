"""A training run on disk: checkpoint.pt, replaced atomically; log.jsonl, a line per validation; TensorBoard events."""

from __future__ import annotations

import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.data.dataset import Dataset
from flashmd_train.learning.config import Optimizer
from flashmd_train.learning.tuning import merged
from flashmd_train.settings import Strict


class Averaged:
    """Exponential moving average of a model's weights.

    Args:
        model: whose weights it begins with.
        decay: of the average per step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = copy.deepcopy(model), decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards ``model``; early steps are forgotten faster."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, value in zip(self.model.parameters(), model.parameters()):
            mean.lerp_(value, 1 - decay)


# Factor on the learning rate of a schedule that begins anew.
RESTARTED = 0.2


def restart_step(settings: Optimizer) -> int | None:
    """The step at which the schedule begins anew; None if it does not."""
    return round(settings.restart * settings.steps) if settings.restart else None


def schedule_step(step: int, settings: Optimizer) -> int:
    """Steps since the schedule, and with it the average of the weights, began, or began anew."""
    restart = restart_step(settings)
    return step if restart is None or step < restart else step - restart


def learning_rate(step: int, settings: Optimizer) -> float:
    """The learning rate of a step: one schedule, or a second one with a smaller rate after the restart."""
    restart, own = restart_step(settings), schedule_step(step, settings)
    if own == step:
        return settings.learning_rate * schedule(step, restart or settings.steps, settings.warmup)
    return RESTARTED * settings.learning_rate * schedule(own, settings.steps - step + own, settings.warmup)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    x = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * x))


class TrainingRun:
    """Everything that changes while a model trains, saved and restored together.

    Random numbers are a function of seed, step and process, so there is no generator to save.

    Args:
        folder: where it is kept.
        config: settings of the model; a run goes on only with the same.
        model: trained in place.
        optimizer: its settings.
        seed: of the batches.
        rank: of this process; only the first one writes.
        tuning: which weights change, and the rank of adapters; a run goes on only with the same.

    Attributes:
        step: steps done.
        averaged: moving average of the weights.
        best: its state where validation was best.
        best_score: the score there.
        waited: validations since then.
        seconds: processor time spent.
    """

    def __init__(
        self,
        folder: Path,
        config: Strict,
        model: nn.Module,
        optimizer: Optimizer,
        seed: int,
        rank: int = 0,
        tuning: tuple[str, int] = ("all", 0),
    ) -> None:
        self.folder, self.config, self.model, self.settings = folder, config, model, optimizer
        self.seed, self.rank, self.tuning = seed, rank, tuning
        self.averaged = Averaged(model, optimizer.averaging)
        self.fused = next(model.parameters()).device.type == "cpu"
        self.adam = torch.optim.Adam(model.parameters(), lr=optimizer.learning_rate, fused=self.fused)
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

    def forget_best(self) -> None:
        """Let the best weights be those of a validation from here on."""
        self.best, self.best_score, self.waited = None, math.inf, 0

    def restore(self) -> None:
        """Go on from the folder's checkpoint.

        Raises:
            ValueError: it is of a model with other settings.
        """
        saved = torch.load(self.folder / "checkpoint.pt", weights_only=False)
        tuning = tuple(saved.get("tuning", ("all", 0)))
        if self._other_settings(saved["config"]) or (tuning != self.tuning and {tuning[0], self.tuning[0]} != {"all"}):
            raise ValueError(
                f"{self.folder} holds a run of another model: {saved['config']}, tune {tuning[0]!r}; "
                "name another folder"
            )
        load_weights(self.model, saved["model"], self.folder)
        load_weights(self.averaged.model, saved["averaged"], self.folder)
        self.adam.load_state_dict(saved["optimizer"])
        for group in self.adam.param_groups:
            group["fused"] = self.fused
        self.scaler.load_state_dict(saved["scaler"])
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.best, self.best_score, self.waited = saved["best"], saved["best_score"], saved["waited"]

    def _other_settings(self, config: dict) -> bool:
        """True unless a run's settings are this one's; settings that came later have their defaults in it."""
        try:
            there = type(self.config).model_validate(config)
        except ValidationError:
            return True
        return there.model_dump(mode="json") != self.config.model_dump(mode="json")

    @property
    def finished(self) -> bool:
        """True if all steps are done, or no validation was better for too long."""
        patience = self.settings.patience
        return self.step >= self.settings.steps or (patience is not None and self.waited >= patience)

    def generator(self) -> np.random.Generator:
        """The random generator of this step and process."""
        return np.random.default_rng([self.seed, self.step, self.rank])

    def optimizer_step(self, loss: torch.Tensor) -> None:
        """One step of the optimiser with clipped gradients; a step whose gradient is not finite changes nothing."""
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.step, self.settings)
        self.adam.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
        if torch.isfinite(norm):
            self.scaler.step(self.adam)
            self.averaged.update(self.model, schedule_step(self.step, self.settings))
        self.scaler.update()
        self.step += 1

    def save(self, data: Dataset, figures: dict, score: float) -> None:
        """Log ``figures``, keep the averaged weights if ``score`` is the lowest so far, and write the checkpoint."""
        if score < self.best_score:
            self.best, self.best_score, self.waited = copy.deepcopy(self.averaged.model.state_dict()), score, 0
        else:
            self.waited += 1
        if self.rank != 0:
            return
        self._count_time()
        line = dict(step=self.step, seconds=round(self.seconds, 1), **figures)
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        with SummaryWriter(self.folder) as events:
            for name, value in figures.items():
                events.add_scalar(name, value, self.step)
        print(json.dumps({k: round(v, 5) for k, v in line.items()}), flush=True)
        self.write(data)

    def _count_time(self) -> None:
        now = time.process_time()
        self.seconds, self._since = self.seconds + now - self._since, now

    def write(self, data: Dataset) -> None:
        """Write the checkpoint alone; between two steps."""
        if self.rank != 0:
            return
        self._count_time()
        state = dict(
            config=self.config.model_dump(mode="json"),
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
            tuning=self.tuning,
            data=dict(recipe=data.recipe, sha256=data.sha256),
        )
        with atomic_write(self.folder / "checkpoint.pt") as temporary:
            torch.save(state, temporary)


def load_weights(model: nn.Module, weights: dict, source: Path) -> None:
    """Put weights into a model.

    Raises:
        ValueError: ``source`` holds those of another network.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{source} is of another architecture: {' '.join(str(error).split())[:300]}") from None


def best_weights(saved: dict) -> dict:
    """State to export of a loaded checkpoint: the averaged weights where validation was best, adapters merged."""
    return merged(saved["best"] or saved["averaged"])
