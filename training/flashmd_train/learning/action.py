"""Train an action model on the midpoints of strides, where its derivatives are the stride."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import Batch, StridePairs
from flashmd_train.graph.nef import displaced
from flashmd_train.learning.config import ActionTraining, Loss
from flashmd_train.learning.loop import MARGIN_A, fit_strides, prepared_run
from flashmd_train.learning.losses import StrideObjective
from flashmd_train.learning.units import measure_action
from flashmd_train.models.pet import PETAction


class MidpointPairs(StridePairs):
    """Pairs whose graphs are at the midpoint, (q + q')/2 and (p + p')/2, with the targets of the whole stride."""

    def batch(
        self, picks: np.ndarray, starts: list[int], reverse: np.ndarray, rng: np.random.Generator | None
    ) -> Batch:
        """As of all pairs."""
        batch = super().batch(picks, starts, reverse, rng)
        momenta = 0.5 * (batch.graph.momenta + batch.momenta[0])
        return replace(batch, graph=displaced(batch.graph, 0.5 * batch.displacement[0], momenta))


def train_action(settings: ActionTraining, folder: Path, stop_after: int | None = None) -> PETAction:
    """Train into ``folder``; rerun the same call to resume.

    Args:
        settings: everything else.
        folder: of the run.
        stop_after: end here, before all steps are done; a rerun goes on.

    Returns:
        The model with its averaged weights, where validation was best.

    Raises:
        ValueError: data, model and folder do not go together.
    """
    stride, given = settings.model.stride_fs, settings.data
    # Atoms may come within the cutoff on the way to the midpoint.
    cutoff = settings.model.cutoff_A + MARGIN_A

    def pretrain(model: PETAction, data: Dataset, index: np.ndarray) -> None:
        measure_action(model, StridePairs(data, index, stride, cutoff))

    def refit(model: PETAction, data: Dataset, index: np.ndarray, new: list[str]) -> None:
        """Nothing: the unit of an action is one for all elements."""

    with prepared_run(settings, folder, lambda: PETAction(settings.model), pretrain, refit, stop_after) as ready:
        pairs = MidpointPairs(
            ready.data,
            ready.training,
            stride,
            cutoff,
            given.rotate,
            1,
            given.time_reversal,
            given.position_noise_A,
            given.momentum_noise,
        )
        validation = MidpointPairs(ready.data, ready.validation, stride, cutoff)
        loss = Loss(**settings.loss.model_dump())
        fit_strides(settings, ready, StrideObjective(ready.run.model, loss), pairs, validation)
    return ready.run.averaged.model
