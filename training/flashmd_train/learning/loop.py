"""The training loop, and what every training run does before its first step and after its last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from flashmd_rs._engine.signals import between_strides
from flashmd_train.data.dataset import Dataset, stratified
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.checkpoint import TrainingRun, restart_step
from flashmd_train.learning.config import ActionTraining, DirectTraining, SplittingTraining, Training
from flashmd_train.learning.distributed import autocast, barrier, processes, wrap_ddp
from flashmd_train.learning.losses import StrideObjective
from flashmd_train.learning.metrics import stride_errors
from flashmd_train.learning.start import begin_from
from flashmd_train.learning.tuning import restrict

# Edges this much longer than the cutoff are kept where atoms move before the network runs again: they may come closer.
MARGIN_A = 1.0


@dataclass
class PreparedRun:
    """A run that is ready for its next step.

    Attributes:
        run: model, optimiser and where they stand.
        data: the files.
        training: (file, segment) of the training part [n, 2].
        validation: (file, segment) of the validation part [n, 2].
        device: where the model is.
        end: the step to stop at.
        check_signals: raises if Ctrl-C or a batch system has announced the end.
    """

    run: TrainingRun
    data: Dataset
    training: np.ndarray
    validation: np.ndarray
    device: torch.device
    end: int
    check_signals: Callable[[], None]

    @property
    def goes_on(self) -> bool:
        """True while there is a step to take; to be asked between two steps, where an end that was announced saves."""
        try:
            self.check_signals()
        except (KeyboardInterrupt, SystemExit):
            self.run.write(self.data)
            raise
        return self.run.step < self.end and not self.run.finished


@contextmanager
def prepared_run(
    settings: Training,
    folder: Path,
    build: Callable[[], nn.Module],
    pretrain: Callable[[nn.Module, Dataset, np.ndarray], None],
    refit: Callable[[nn.Module, Dataset, np.ndarray, list[str]], None],
    stop_after: int | None,
    labels: tuple[str, ...] = (),
) -> Iterator[PreparedRun]:
    """Load the data, seed, build the model, begin or resume; at the end the averaged model holds the best weights.

    Args:
        settings: of the run.
        folder: where it is kept.
        build: the model with random weights.
        pretrain: what is done to the weights of a new run, with model, data and the training part [n, 2].
        refit: likewise, of one that begins from other weights, with the symbols of elements that are new.
        stop_after: end at this step; None goes to the end.
        labels: what every file must hold, out of ``forces`` and ``energy``.

    Raises:
        ValueError: data, model and folder do not go together.
    """
    torch.set_num_threads(settings.threads)
    with processes() as (rank, device):
        data = Dataset(list(settings.data.files))
        data.require(*labels)
        if data.symbols != settings.model.species:
            raise ValueError(
                f"the data holds {data.symbols}, model.species is {settings.model.species}; make them equal"
            )
        data.find_bonds(getattr(settings.model, "bonded", None))
        torch.manual_seed(settings.seed)
        model = build()
        training, validation = data.split(settings.data.validation, seed=0)
        if settings.data.segments is not None:
            training = training[stratified(training, settings.data.segments)]
        if not TrainingRun.exists(folder):
            if settings.start is None:
                pretrain(model, data, training)
            else:
                new = begin_from(settings.start, model)
                if new and rank == 0:
                    print(f"{', '.join(new)}: not in {settings.start}, begin as the mean of its elements", flush=True)
                refit(model, data, training, new)
        restrict(model, settings.tune, settings.rank)
        model.to(device)
        tuning = (settings.tune, settings.rank)
        run = TrainingRun(folder, settings.model, model, settings.optimizer, settings.seed, rank, tuning)
        if TrainingRun.exists(folder):
            run.restore()
        barrier()
        steps = settings.optimizer.steps
        with between_strides(notices=True) as check:
            yield PreparedRun(run, data, training, validation, device, min(steps, stop_after or steps), check)
        barrier()
        run.averaged.model.load_state_dict(run.best or run.averaged.model.state_dict())


def training_pairs(
    settings: DirectTraining | SplittingTraining, data: Dataset, index: np.ndarray, margin: float, rotate: bool
) -> StridePairs:
    """Pairs that a run draws: edges up to ``margin`` (Å) beyond the cutoff, boxes rotated at random if ``rotate``."""
    return StridePairs(
        data,
        index,
        settings.model.stride_fs,
        settings.model.cutoff_A + margin,
        rotate,
        settings.loss.strides,
        settings.data.time_reversal,
        settings.data.position_noise_A,
        settings.data.momentum_noise,
    )


def fit_strides(
    settings: DirectTraining | SplittingTraining | ActionTraining,
    ready: PreparedRun,
    objective: StrideObjective,
    pairs: StridePairs,
    validation: StridePairs,
) -> None:
    """Take steps to the end of the run, validating and saving every ``settings.every`` steps."""
    run, device, wrapped = ready.run, ready.device, wrap_ddp(objective)
    terms: dict[str, list[float]] = {}
    weighs_potential, restart = objective.counts_potential, restart_step(settings.optimizer)
    while ready.goes_on:
        # Large steps shift energies by many kT.
        objective.counts_potential = weighs_potential and run.step >= (restart or 0)
        if weighs_potential and run.step == restart:
            run.forget_best()  # of weights that had another aim
        batch = pairs.draw(run.generator(), settings.data.boxes, settings.data.edges).to(device)
        with autocast(device, settings.optimizer.precision):
            loss, parts = wrapped(batch)
        run.optimizer_step(loss)
        for name, value in parts.items():
            terms.setdefault(f"loss_{name}", []).append(float(value))
        if run.step % settings.every == 0 or run.step == settings.optimizer.steps:
            figures = stride_errors(run.averaged.model, validation, device=device)
            means = {name: float(np.nanmean(values)) for name, values in terms.items()}
            score = figures["momentum_error"] + figures["displacement_error"]
            # By strides alone those weights would be best that potentials had hardly changed: now the last ones are.
            run.save(pairs.data, means | figures, -run.step if objective.counts_potential else score)
            terms = {}
