"""Train a splitting model: on reference forces first, then on strides through the map itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashmd_train.checkpoint import Run, weights
from flashmd_train.config import Optimizer, SplittingTraining
from flashmd_train.dataset import Dataset, Pairs
from flashmd_train.distributed import processes, shared, together
from flashmd_train.losses import Objective
from flashmd_train.publish import domain
from flashmd_train.splitting import Splitting
from flashmd_train.train import MARGIN_A, descend
from flashmd_train.train_energy import FORCE_UNIT, PRETRAINING_FRAMES, fit_pairs, sample


def train_splitting(settings: SplittingTraining, folder: Path, stop_after: int | None = None) -> Splitting:
    """Train into ``folder``; rerun the same call to resume.

    Args:
        settings: everything else. folder: of the run. stop_after: end here; a rerun goes on.

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
        training, held_out = data.split(settings.data.validation, seed=0)
        model = Splitting(settings.model)
        if settings.start is not None:
            model.load_state_dict(weights(torch.load(settings.start, weights_only=False)))
        elif not Run.exists(folder):
            measure_closest(model, data)
            begin_with_forces(model, data, training, settings)
        model.to(device)
        run = Run(folder, settings.model.model_dump(mode="json"), model, settings.optimizer, settings.seed, rank)
        if Run.exists(folder):
            run.restore()
        together()
        stride, cutoff = settings.model.stride_fs, settings.model.cutoff_A + MARGIN_A
        held = Pairs(data, held_out, stride, cutoff)
        pairs = Pairs(
            data,
            training,
            stride,
            cutoff,
            strides=settings.loss.strides,
            time_reversal=settings.data.time_reversal,
            position_noise_A=settings.data.position_noise_A,
            momentum_noise=settings.data.momentum_noise,
        )
        objective = shared(Objective(model, settings.loss))
        end = min(settings.optimizer.steps, stop_after or settings.optimizer.steps)
        descend(settings, run, objective, pairs, held, end)
        together()
        run.averaged.model.load_state_dict(run.best or run.averaged.model.state_dict())
        return run.averaged.model


def measure_closest(model: Splitting, data: Dataset) -> None:
    """Where the wall stands: at the closest approach of each pair of species."""
    found = domain(data, model.config.cutoff_A)["smallest_pair_distance_A"]
    for a, first in enumerate(data.symbols):
        for b, second in enumerate(data.symbols[a:], a):
            distance = found.get(f"{first}-{second}", 0.0)
            model.closest[a, b] = model.closest[b, a] = distance


def begin_with_forces(model: Splitting, data: Dataset, index: np.ndarray, settings: SplittingTraining) -> None:
    """Each scalar towards its share of the reference's energy, as in velocity Verlet with as many kicks."""
    rng = np.random.default_rng(settings.seed)
    energy = model.scalar
    fit_pairs(energy, data, index, PRETRAINING_FRAMES, rng)
    with torch.no_grad():
        energy.pair.copy_(energy.share[:, None] * energy.pair[:1])
        energy.offset.zero_()
    schedule = Optimizer(steps=max(1, settings.force_steps), learning_rate=1e-3)
    adam = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate)
    for step in range(settings.force_steps):
        pick = index[int(rng.integers(len(index)))]
        frame = int(rng.integers(data.files[pick[0]].positions.shape[1]))
        graph, _, forces, _ = sample(data, pick, frame, model.config.cutoff_A)
        scalar = int(rng.integers(len(energy.share)))
        share = float(energy.share[scalar])
        got = model.force(graph, torch.zeros_like(forces), scalar, train=True)
        loss = (got / share - forces).square().mean() / FORCE_UNIT**2
        for group in adam.param_groups:
            group["lr"] = schedule.learning_rate * max(0.02, 1 - step / settings.force_steps)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
