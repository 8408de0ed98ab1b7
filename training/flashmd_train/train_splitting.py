"""Train a splitting model: on reference forces first, then on strides through the map itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashmd_train.config import SplittingTraining
from flashmd_train.dataset import Dataset, Pairs
from flashmd_train.energy import enveloped
from flashmd_train.graph import cosine_cutoff, gather_rows, norm
from flashmd_train.losses import Objective
from flashmd_train.prior import Molecules
from flashmd_train.publish import domain
from flashmd_train.session import session
from flashmd_train.splitting import WALL_POWER, Splitting
from flashmd_train.train import MARGIN_A, descend, drawn
from flashmd_train.train_energy import FORCE_UNIT, PRETRAINING_FRAMES, fit_pairs, sample

# Learning rate of the steps on forces, which falls on a straight line.
FORCE_RATE = 1e-3


def train_splitting(settings: SplittingTraining, folder: Path, stop_after: int | None = None) -> Splitting:
    """Train into ``folder``; rerun the same call to resume.

    Args:
        settings: everything else. folder: of the run. stop_after: end here; a rerun goes on.

    Raises:
        ValueError: data, model and folder do not go together.
    """

    def prepare(model: Splitting, data: Dataset, index: np.ndarray) -> None:
        measure_closest(model, data)
        begin_with_forces(model, data, index, settings)

    with session(settings, folder, lambda: Splitting(settings.model), prepare, stop_after) as ready:
        # Atoms move between the kicks: edges that come in on the way are there from the start.
        held = Pairs(ready.data, ready.held_out, settings.model.stride_fs, settings.model.cutoff_A + MARGIN_A)
        pairs = drawn(settings, ready.data, ready.training, MARGIN_A, turn=False)
        descend(settings, ready, Objective(ready.run.model, settings.loss), pairs, held)
    return ready.run.averaged.model


def measure_closest(model: Splitting, data: Dataset) -> None:
    """Where the wall stands: at the closest approach of each pair of species."""
    found = domain(data, model.config.cutoff_A)["smallest_pair_distance_A"]
    for a, first in enumerate(data.symbols):
        for b, second in enumerate(data.symbols[a:], a):
            distance = found.get(f"{first}-{second}", 0.0)
            model.closest[a, b] = model.closest[b, a] = distance


@torch.no_grad()
def fit_tables(model: Splitting, data: Dataset, index: np.ndarray, rng: np.random.Generator) -> None:
    """Tables from the ridge regression of pair terms, and walls; the scalars are left without pair terms."""
    energy, tables = model.scalar, model.tables
    fit_pairs(energy, data, index, PRETRAINING_FRAMES, rng)
    weight = (energy.whiten.double() @ energy.pair[0].double()).reshape(-1, energy.config.radial)
    closest = closest_strangers(model, data, index)[:, None]

    def curves(d: torch.Tensor) -> torch.Tensor:
        wall = model.config.repulsion_eV * (closest / d) ** WALL_POWER
        return weight @ enveloped(energy, d[None, None])[0] + wall * cosine_cutoff(
            d, energy.config.cutoff_A, energy.config.width
        )

    distances = tables.distances
    energies, slopes = torch.func.jvp(curves, (distances,), (torch.ones_like(distances),))
    tables.energies.copy_(energies)
    tables.slopes.copy_(slopes)
    energy.pair.zero_()


def closest_strangers(model: Splitting, data: Dataset, index: np.ndarray) -> torch.Tensor:
    """Smallest distance between atoms of different molecules in the data, by pair of species [P] (Å)."""
    pair_of = model.tables.pair_of
    closest = torch.full((int(pair_of.max()) + 1,), model.config.cutoff_A, dtype=torch.float64)
    for pick in index[:: max(1, len(index) // PRETRAINING_FRAMES)]:
        graph, _, _, _ = sample(data, pick, 0, model.config.cutoff_A)
        pair = pair_of[graph.species[:, None], gather_rows(graph.species, graph.neighbors)]
        outside = graph.mask & ~Molecules(graph).intra
        d = norm(graph.edge_vectors).squeeze(-1).double()
        closest = closest.scatter_reduce(0, pair[outside], d[outside], "amin")
    return closest


def begin_with_forces(model: Splitting, data: Dataset, index: np.ndarray, settings: SplittingTraining) -> None:
    """Each scalar towards its share of the reference's energy, as in velocity Verlet with as many kicks."""
    rng = np.random.default_rng(settings.seed)
    energy = model.scalar
    if model.tables is not None:
        fit_tables(model, data, index, rng)
    else:
        fit_pairs(energy, data, index, PRETRAINING_FRAMES, rng)
    with torch.no_grad():
        energy.pair.copy_(energy.share[:, None] * energy.pair[:1])
        energy.offset.zero_()
    adam = torch.optim.Adam(model.parameters(), lr=FORCE_RATE)
    for step in range(settings.force_steps):
        pick = index[int(rng.integers(len(index)))]
        frame = int(rng.integers(data.files[pick[0]].positions.shape[1]))
        graph, _, forces, _ = sample(data, pick, frame, model.config.cutoff_A)
        scalar = int(rng.integers(len(energy.share)))
        share = float(energy.share[scalar])
        forces = forces - model.fast_forces(graph)
        got = model.force(graph, torch.zeros_like(forces), scalar, train=True)
        loss = (got / share - forces).square().mean() / FORCE_UNIT**2
        for group in adam.param_groups:
            group["lr"] = FORCE_RATE * max(0.02, 1 - step / settings.force_steps)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
