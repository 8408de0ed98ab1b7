"""A run on disk: checkpoint.pt, replaced in one go, and one JSON line per validation in log.jsonl."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from flashmd_train.dataset import Segments


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


class Run:
    """Everything that changes while a model trains, saved and restored together.

    Attributes:
        step: steps done. averaged: moving average of the weights.
        rng: of batches. seconds: processor time spent.
    """

    def __init__(self, folder: Path, config: dict, model: nn.Module, learning_rate: float, seed: int) -> None:
        self.folder, self.config, self.model, self.seed = folder, config, model, seed
        self.averaged = Averaged(model, 0.999)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        self.rng = np.random.default_rng(seed)
        self.step, self.seconds, self._since = 0, 0.0, time.process_time()
        folder.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def exists(folder: Path) -> bool:
        """True if there is a checkpoint to go on from."""
        return (folder / "checkpoint.pt").exists()

    def restore(self) -> None:
        """Go on from the folder's checkpoint."""
        saved = torch.load(self.folder / "checkpoint.pt", weights_only=False)
        if saved["config"] != self.config:
            raise ValueError(f"{self.folder} holds a run of another model: {saved['config']}; name another folder")
        self.model.load_state_dict(saved["model"])
        self.averaged.model.load_state_dict(saved["averaged"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.rng.bit_generator.state = saved["rng"]
        self.step, self.seconds = saved["step"], saved["seconds"]

    def descend(self, loss: torch.Tensor, learning_rate: float) -> None:
        """One step of the optimiser with clipped gradients; a gradient that is not finite is skipped."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.averaged.update(self.model, self.step)
        self.step += 1

    def save(self, segments: Segments, figures: dict) -> None:
        """Log ``figures`` and write the checkpoint."""
        now = time.process_time()
        self.seconds, self._since = self.seconds + now - self._since, now
        line = dict(step=self.step, seconds=round(self.seconds, 1), **figures)
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps({k: round(v, 5) for k, v in line.items()}), flush=True)
        state = dict(
            config=self.config,
            model=self.model.state_dict(),
            averaged=self.averaged.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            rng=self.rng.bit_generator.state,
            step=self.step,
            seconds=self.seconds,
            seed=self.seed,
            data=dict(recipe=segments.recipe, sha256=segments.sha256, segments=len(segments.temperature_K)),
        )
        temporary = self.folder / "checkpoint.tmp"
        torch.save(state, temporary)
        temporary.rename(self.folder / "checkpoint.pt")
