"""Train a direct model: Adam, cosine schedule, averaged weights, resumable checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from ase import units
from torch import Tensor

from flashmd_train.backbones import Staged
from flashmd_train.checkpoint import Run
from flashmd_train.dataset import Pairs, Segments
from flashmd_train.direct import SPECIES, Direct, DirectConfig
from flashmd_train.pretrain import fit_linear
from flashmd_train.prior import BondedFlow

# Positions are weighed like momenta that act for this long: between a libration and a translation.
POSITION_TIME_FS = 8.0
REFERENCE_KT = 300 * units.kB


def mass_scaled_loss(prediction: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error of momenta and displacements in units of the thermal energy at 300 K."""
    dq, dp = (a - b for a, b in zip(prediction, target))
    return (dp.square().mean() + dq.square().mean() / (POSITION_TIME_FS * units.fs) ** 2) / REFERENCE_KT


def schedule(step: int, steps: int, warmup: int = 200) -> float:
    """Linear warm-up, then half a cosine to a hundredth."""
    if step < warmup:
        return (step + 1) / warmup
    x = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * x))


@torch.no_grad()
def validate(model: Direct, pairs: Pairs, boxes: int = 24) -> dict:
    """Relative errors on held-out pairs, forward in time, in all and per species.

    ``momentum_error``: rms of p' error over rms of p'. ``shrink``: 1 − Σ pred²/Σ true², what a stride
    takes from the mean square momentum. ``displacement_error``: likewise for Δq.
    """
    sums: dict[str, np.ndarray] = {k: np.zeros(len(SPECIES)) for k in ("ep", "p", "pp", "eq", "q")}
    for k in range(min(boxes, len(pairs.index))):
        graph, q, p = pairs.batch(pairs.index[k : k + 1], np.array([k % pairs.starts]), np.array([False]), None)
        q_hat, p_hat = model(*graph[:6])
        for s in range(len(SPECIES)):
            of = graph.species == s
            values = dict(ep=p_hat - p, p=p, pp=p_hat, eq=q_hat - q, q=q)
            for name, value in values.items():
                sums[name][s] += float(value[of].double().square().sum())
    report = {
        "momentum_error": math.sqrt(sums["ep"].sum() / sums["p"].sum()),
        "displacement_error": math.sqrt(sums["eq"].sum() / sums["q"].sum()),
    }
    for s, symbol in enumerate(SPECIES):
        report[f"momentum_error_{symbol}"] = math.sqrt(sums["ep"][s] / sums["p"][s])
        report[f"displacement_error_{symbol}"] = math.sqrt(sums["eq"][s] / sums["q"][s])
        report[f"shrink_{symbol}"] = float(1 - sums["pp"][s] / sums["p"][s])
    return report


def train(
    config: DirectConfig,
    data: list[Path],
    folder: Path,
    steps: int,
    boxes: int = 1,
    learning_rate: float = 3e-3,
    seed: int = 0,
    threads: int = 1,
    start: Path | None = None,
    every: int = 250,
    stop_after: int | None = None,
) -> Direct:
    """Train into ``folder`` (checkpoint.pt, log.jsonl); rerun the same call to resume.

    Args:
        start: checkpoint whose averaged weights to begin from (a shorter stride, say).
        every: steps between log lines with validation, and checkpoints.
        stop_after: end here, before ``steps``; a rerun goes on.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    segments = Segments.load(data)
    training, held_out = segments.split(0.05, seed=0)
    model = Direct(config)
    pairs = Pairs(segments, training, config.stride_fs, config.cutoff_A, augment=not model.backbone.equivariant)
    held_pairs = Pairs(segments, held_out, config.stride_fs, config.cutoff_A, augment=False)
    if start is not None:
        model.load_state_dict(torch.load(start, weights_only=False)["averaged"])
    elif not Run.exists(folder) and isinstance(model.backbone, Staged) and isinstance(model.prior, BondedFlow):
        fit_linear(model, pairs, 40, np.random.default_rng(seed))
    run = Run(folder, config.dict(), model, learning_rate, seed)
    if Run.exists(folder):
        run.restore()
    losses = []
    while run.step < min(steps, stop_after or steps):
        graph, q, p = pairs.draw(run.rng, boxes)
        loss = mass_scaled_loss(model(*graph[:6]), (q, p))
        run.descend(loss, learning_rate * schedule(run.step, steps))
        losses.append(loss.item())
        if run.step % every == 0 or run.step == steps:
            run.save(segments, dict(loss=float(np.nanmean(losses)), **validate(run.averaged.model, held_pairs)))
            losses = []
    return run.averaged.model
