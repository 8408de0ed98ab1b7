"""Train a direct model: Adam, cosine schedule, averaged weights, resumable to the last bit, on one process or many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashmd_train.backbones.lookahead import LookaheadNet
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.graph.nef import Graph
from flashmd_train.learning.config import DirectTraining
from flashmd_train.learning.energy import load_energy
from flashmd_train.learning.loop import MARGIN_A, fit_strides, prepared_run, training_pairs
from flashmd_train.learning.losses import StrideObjective
from flashmd_train.learning.pretrain_lookahead import fit_linear
from flashmd_train.learning.units import measure_direct
from flashmd_train.models.build import build_direct
from flashmd_train.models.direct import Direct
from flashmd_train.models.prior import NoPrior

PRETRAINING_BOXES = 40


def train_direct(settings: DirectTraining, folder: Path, stop_after: int | None = None) -> Direct:
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

    # Edges that come within the cutoff where the network looks later than at the start.
    within = 0.0 if settings.model.bonded is None else MARGIN_A

    def plain_pairs(data: Dataset, index: np.ndarray) -> StridePairs:
        return StridePairs(data, index, settings.model.stride_fs, settings.model.cutoff_A + within)

    def pairs_of(model: Direct, data: Dataset, index: np.ndarray) -> StridePairs:
        margin = MARGIN_A if settings.loss.strides > 1 or settings.loss.energy_weight > 0 else within
        return training_pairs(settings, data, index, margin, settings.data.rotate and not model.backbone.equivariant)

    def pretrain(model: Direct, data: Dataset, index: np.ndarray) -> None:
        if isinstance(model.prior, NoPrior):
            measure_direct(model, plain_pairs(data, index))
        if isinstance(model.backbone, LookaheadNet):
            rng = np.random.default_rng(settings.seed)
            fit_linear(model, pairs_of(model, data, index), PRETRAINING_BOXES, rng)

    def refit(model: Direct, data: Dataset, index: np.ndarray, new: list[str]) -> None:
        if new and isinstance(model.prior, NoPrior):
            measure_direct(model, plain_pairs(data, index), new)

    with prepared_run(settings, folder, lambda: build_direct(settings.model), pretrain, refit, stop_after) as ready:
        validation = plain_pairs(ready.data, ready.validation)
        energy = frozen_energy(settings, ready.data, ready.device)
        objective = StrideObjective(ready.run.model, settings.loss, energy)
        fit_strides(settings, ready, objective, pairs_of(ready.run.model, ready.data, ready.training), validation)
    return ready.run.averaged.model


def frozen_energy(settings: DirectTraining, data: Dataset, device: torch.device) -> Callable[[Graph], Tensor] | None:
    """The energy model of the energy term, whose own weights take no gradient; None without that term.

    Raises:
        ValueError: no energy model is named, or it knows other species.
    """
    if not settings.loss.energy_weight:
        return None
    if settings.loss.energy_run is None:
        raise ValueError("loss.energy_weight needs loss.energy_run, the folder of an energy model's run")
    energy = load_energy(settings.loss.energy_run).to(device).requires_grad_(False)
    if energy.config.species != data.symbols:
        raise ValueError(f"the energy model knows {energy.config.species}, the data holds {data.symbols}")
    return energy.per_atom
