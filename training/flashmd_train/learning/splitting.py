"""Train a splitting model: on reference forces first, then on strides through the map itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashmd_train.data.approaches import Approaches, measure_approaches
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import random_frame
from flashmd_train.data.pairs import StridePairs
from flashmd_train.data.sampler import Sampler
from flashmd_train.graph.nef import join
from flashmd_train.learning.config import SplittingTraining
from flashmd_train.learning.loop import MARGIN_A, fit_strides, prepared_run, training_pairs
from flashmd_train.learning.losses import FORCE_UNIT, StrideObjective
from flashmd_train.learning.pretrain_pairs import PRETRAINING_FRAMES, fit_pairs, fit_tables
from flashmd_train.models.energy import radial_derivative
from flashmd_train.models.splitting import Splitting

# Learning rate of the steps on forces, which falls linearly.
FORCE_RATE = 1e-3


def train_splitting(settings: SplittingTraining, folder: Path, stop_after: int | None = None) -> Splitting:
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
    if settings.loss.potential_weight and settings.data.position_noise_A:
        raise ValueError("loss.potential_weight is for frames as they are: set data.position_noise_A to 0")

    def pretrain(model: Splitting, data: Dataset, index: np.ndarray) -> None:
        fit_forces(model, data, index, settings)

    def refit(model: Splitting, data: Dataset, index: np.ndarray, new: list[str]) -> None:
        """Nothing: scalars have no units of their own."""

    build, labels = lambda: Splitting(settings.model), ("forces",)
    with prepared_run(settings, folder, build, pretrain, refit, stop_after, labels) as ready:
        # Atoms move between the kicks: edges that come within the cutoff on the way are there from the start.
        validation = StridePairs(
            ready.data, ready.validation, settings.model.stride_fs, settings.model.cutoff_A + MARGIN_A
        )
        pairs = training_pairs(settings, ready.data, ready.training, MARGIN_A, rotate=False)
        fit_strides(settings, ready, StrideObjective(ready.run.model, settings.loss), pairs, validation)
    return ready.run.averaged.model


def measure_closest(model: Splitting, data: Dataset) -> Approaches:
    """Put the wall at the closest approach of each pair of species in all frames, at the cutoff where none is nearer.

    Not at that of some frames: a wall and scalars that are held would act within the data.
    """
    pair_of = model.scalar.pair_of
    found = measure_approaches(data, model.config.cutoff_A, pair_of, lambda graph: graph.mask)
    model.closest.copy_(found.closest[pair_of])
    return found


@torch.no_grad()
def measure_repulsion(model: Splitting) -> None:
    """Set the force that goes on nearer than the closest approach: that of the fitted pair terms there, or none."""
    energy, kinds = model.scalar, len(model.closest)
    weights = (energy.whiten.double() @ energy.pair[0].double()).reshape(-1, energy.config.radial)
    slopes = radial_derivative(energy, model.closest.reshape(1, 1, -1))[0].double()
    forces = -(weights[energy.pair_of.reshape(-1)] * slopes.T).sum(-1)
    model.repulsion.copy_(forces.clamp(min=0.0).reshape(kinds, kinds))


def fit_forces(model: Splitting, data: Dataset, index: np.ndarray, settings: SplittingTraining) -> None:
    """Fit each scalar to its share of the reference's energy, as in velocity Verlet with as many kicks.

    Pair terms, or tables, by least squares; then all weights by Adam on the forces of random frames.
    """
    rng = np.random.default_rng(settings.seed)
    energy = model.scalar
    if model.tables is not None:
        fit_tables(model, data, index, rng)
    else:
        nearest = measure_closest(model, data).nearest(index)
        fit_pairs(energy, data, index, PRETRAINING_FRAMES, rng, model.closest, nearest=nearest)
        measure_repulsion(model)
    with torch.no_grad():
        energy.pair.copy_(energy.share[:, None] * energy.pair[:1])
    adam = torch.optim.Adam(model.parameters(), lr=FORCE_RATE)
    sampler = Sampler(data, index, model.config.cutoff_A)
    for step in range(settings.force_steps):
        frames = [random_frame(data, pick, sampler.cutoff, rng) for pick in sampler.draw(rng, 1, settings.data.edges)]
        graph, forces = join([frame.graph for frame in frames]), torch.cat([frame.forces for frame in frames])
        scalar = int(rng.integers(len(energy.share)))
        share = float(energy.share[scalar])
        forces = forces - model.drift_forces(graph)
        predicted = model.force(graph, torch.zeros_like(forces), scalar, train=True)
        loss = (predicted / share - forces).square().mean() / FORCE_UNIT**2
        for group in adam.param_groups:
            group["lr"] = FORCE_RATE * max(0.02, 1 - step / settings.force_steps)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
