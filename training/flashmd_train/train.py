"""Train a direct model: Adam, cosine schedule, averaged weights, resumable to the last bit, on one process or many."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashmd_train.backbones import Staged
from flashmd_train.config import DirectTraining, SplittingTraining
from flashmd_train.dataset import Batch, Dataset, Pairs
from flashmd_train.direct import Direct
from flashmd_train.distributed import mixed, shared
from flashmd_train.energy import load_energy
from flashmd_train.graph import Graph
from flashmd_train.losses import Objective
from flashmd_train.pretrain import fit_linear
from flashmd_train.session import Session, session

PRETRAINING_BOXES = 40
VALIDATION_BOXES = 24
# Edges this much longer than the cutoff are kept where atoms are followed beyond the first stride: they may come in.
MARGIN_A = 1.0


@torch.no_grad()
def validate(model: Direct, pairs: Pairs, boxes: int = VALIDATION_BOXES) -> dict:
    """Relative errors on held-out pairs, forward in time, in all and per species.

    ``momentum_error``: rms of p' error over rms of p'. ``shrink``: 1 − Σ pred²/Σ true², what a stride
    takes from the mean square momentum. ``displacement_error``: likewise for Δq. With a noise head,
    ``noise_q`` and ``noise_p``: mean square of the residual over what the head says it is.
    """
    kinds = len(model.config.species)
    sums: dict[str, np.ndarray] = {k: np.zeros(kinds) for k in ("ep", "p", "pp", "eq", "q", "nq", "np")}
    device = next(model.parameters()).device
    for k in range(min(boxes, len(pairs.index))):
        batch = on(pairs.held(k), device)
        stride = model.predict(batch.graph)
        q, p = batch.displacement[0], batch.momenta[0]
        values = dict(ep=stride.momenta - p, p=p, pp=stride.momenta, eq=stride.displacement - q, q=q)
        if stride.residual_scale is not None:
            first, mixed, second = stride.residual_scale[..., None].unbind(1)
            values |= dict(nq=first.expand_as(q), np=torch.sqrt(mixed**2 + second**2).expand_as(p))
        for s in range(kinds):
            of = batch.graph.species == s
            for name, value in values.items():
                sums[name][s] += float(value[of].double().square().sum())
    report = {
        "momentum_error": math.sqrt(sums["ep"].sum() / sums["p"].sum()),
        "displacement_error": math.sqrt(sums["eq"].sum() / sums["q"].sum()),
    }
    for s, symbol in enumerate(model.config.species):
        report[f"momentum_error_{symbol}"] = math.sqrt(sums["ep"][s] / sums["p"][s])
        report[f"displacement_error_{symbol}"] = math.sqrt(sums["eq"][s] / sums["q"][s])
        report[f"shrink_{symbol}"] = float(1 - sums["pp"][s] / sums["p"][s])
        if model.noise is not None:
            report[f"noise_q_{symbol}"] = float(sums["eq"][s] / sums["nq"][s])
            report[f"noise_p_{symbol}"] = float(sums["ep"][s] / sums["np"][s])
    return report


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``."""
    if device.type == "cpu":
        return batch
    return Batch(batch.graph.to(device), batch.displacement.to(device), batch.momenta.to(device), batch.box.to(device))


def frozen_energy(settings: DirectTraining, data: Dataset, device: torch.device) -> Callable[[Graph], Tensor] | None:
    """The energy model of the energy term, with its gradient switched off for its own weights."""
    if not settings.loss.energy_weight:
        return None
    if settings.loss.energy_run is None:
        raise ValueError("loss.energy_weight needs loss.energy_run, the folder of an energy model's run")
    energy = load_energy(settings.loss.energy_run).to(device).requires_grad_(False)
    if energy.config.species != data.symbols:
        raise ValueError(f"the energy model knows {energy.config.species}, the data holds {data.symbols}")
    return lambda graph: energy(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)


def train(settings: DirectTraining, folder: Path, stop_after: int | None = None) -> Direct:
    """Train into ``folder`` (checkpoint.pt, log.jsonl, TensorBoard events); rerun the same call to resume.

    Args:
        settings: everything else.
        folder: of the run.
        stop_after: end here, before all steps are done; a rerun goes on.

    Returns:
        The model with its averaged weights, where validation was best.

    Raises:
        ValueError: data, model and folder do not go together.
    """

    def pairs_of(model: Direct, data: Dataset, index: np.ndarray) -> Pairs:
        margin = MARGIN_A if settings.loss.strides > 1 or settings.loss.energy_weight > 0 else 0.0
        return drawn(settings, data, index, margin, settings.data.rotate and not model.backbone.equivariant)

    def prepare(model: Direct, data: Dataset, index: np.ndarray) -> None:
        if isinstance(model.backbone, Staged):
            rng = np.random.default_rng(settings.seed)
            fit_linear(model, pairs_of(model, data, index), PRETRAINING_BOXES, rng)

    with session(settings, folder, lambda: Direct(settings.model), prepare, stop_after) as ready:
        held = Pairs(ready.data, ready.held_out, settings.model.stride_fs, settings.model.cutoff_A)
        energy = frozen_energy(settings, ready.data, ready.device)
        objective = Objective(ready.run.model, settings.loss, energy)
        descend(settings, ready, objective, pairs_of(ready.run.model, ready.data, ready.training), held)
    return ready.run.averaged.model


def drawn(
    settings: DirectTraining | SplittingTraining, data: Dataset, index: np.ndarray, margin: float, turn: bool
) -> Pairs:
    """The pairs of a run: edges up to ``margin`` (Å) beyond the cutoff, boxes turned at random if ``turn``."""
    return Pairs(
        data,
        index,
        settings.model.stride_fs,
        settings.model.cutoff_A + margin,
        turn,
        settings.loss.strides,
        settings.data.time_reversal,
        settings.data.position_noise_A,
        settings.data.momentum_noise,
    )


def descend(
    settings: DirectTraining | SplittingTraining, ready: Session, objective: Objective, pairs: Pairs, held: Pairs
) -> None:
    """Take steps to the end, validating and saving every so often."""
    run, device, wrapped = ready.run, ready.device, shared(objective)
    terms: dict[str, list[float]] = {}
    while ready.goes_on:
        batch = on(pairs.draw(run.random(), settings.data.boxes), device)
        with mixed(device, settings.optimizer.precision):
            loss, parts = wrapped(batch)
        run.descend(loss)
        for name, value in parts.items():
            terms.setdefault(f"loss_{name}", []).append(float(value))
        if run.step % settings.every == 0 or run.step == settings.optimizer.steps:
            figures = validate(run.averaged.model, held)
            means = {name: float(np.nanmean(values)) for name, values in terms.items()}
            run.save(pairs.data, means | figures, figures["momentum_error"] + figures["displacement_error"])
            terms = {}
