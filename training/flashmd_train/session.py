"""What every training run does before its first step and after its last, whatever it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from flashmd_train.checkpoint import Run, weights
from flashmd_train.config import DirectTraining, EnergyTraining, SplittingTraining
from flashmd_train.dataset import Dataset
from flashmd_train.distributed import processes, together

Settings = DirectTraining | SplittingTraining | EnergyTraining


@dataclass
class Session:
    """A run that is ready for its next step.

    Attributes:
        run: model, optimiser and where they stand.
        data: the files. training, held_out: (file, segment) of each part.
        device: where the model is. end: the step to stop at.
    """

    run: Run
    data: Dataset
    training: np.ndarray
    held_out: np.ndarray
    device: torch.device
    end: int

    @property
    def goes_on(self) -> bool:
        """True while there is a step to take."""
        return self.run.step < self.end and not self.run.finished


@contextmanager
def session(
    settings: Settings,
    folder: Path,
    build: Callable[[], nn.Module],
    prepare: Callable[[nn.Module, Dataset, np.ndarray], None],
    stop_after: int | None,
) -> Iterator[Session]:
    """Load, seed, build, begin or resume; at the end the averaged model holds the best weights.

    Args:
        settings: of the run. folder: where it is kept.
        build: the model with random weights.
        prepare: what is done to the weights of a new run: model, data and the training part [n, 2].
        stop_after: end at this step; None goes to the end.

    Raises:
        ValueError: data, model and folder do not go together.
    """
    torch.set_num_threads(settings.threads)
    with processes() as (rank, device):
        data = Dataset(list(settings.data.files))
        if data.symbols != settings.model.species:
            raise ValueError(
                f"the data holds {data.symbols}, model.species is {settings.model.species}; make them equal"
            )
        torch.manual_seed(settings.seed)
        model = build()
        training, held_out = data.split(settings.data.validation, seed=0)
        if settings.start is not None:
            model.load_state_dict(weights(torch.load(settings.start, weights_only=False)))
        elif not Run.exists(folder):
            prepare(model, data, training)
        model.to(device)
        run = Run(folder, settings.model.model_dump(mode="json"), model, settings.optimizer, settings.seed, rank)
        if Run.exists(folder):
            run.restore()
        together()
        steps = settings.optimizer.steps
        yield Session(run, data, training, held_out, device, min(steps, stop_after or steps))
        together()
        run.averaged.model.load_state_dict(run.best or run.averaged.model.state_dict())
