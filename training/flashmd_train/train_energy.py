"""Train the energy model on reference forces and energies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashmd_train.checkpoint import Run
from flashmd_train.dataset import Segments
from flashmd_train.energy import Energy, EnergyConfig, energy_and_forces, radial_derivative
from flashmd_train.graph import Graph, build_graph, gather_rows, norm
from flashmd_train.pretrain import RIDGE
from flashmd_train.prior import Molecules, bonded_forces
from flashmd_train.train import schedule

# Loss weights: forces in units of 0.5 eV/Å, energies in units of 5 meV per atom.
FORCE_UNIT, ENERGY_UNIT = 0.5, 0.005


def sample(data: Segments, segment: int, frame: int, cutoff: float) -> tuple[Graph, Tensor, Tensor, float]:
    """One frame: graph, positions [N, 3], forces [N, 3] and energy."""
    q = torch.tensor(data.positions[segment, frame])
    p = torch.tensor(data.momenta[segment, frame])
    graph = build_graph(q[None], p[None], data.masses, data.species, data.lengths, cutoff)
    return graph, q, torch.tensor(data.forces[segment, frame]), float(data.energy[segment, frame])


@torch.no_grad()
def fit_pairs(model: Energy, data: Segments, index: np.ndarray, frames: int, rng: np.random.Generator) -> None:
    """Pair weights by ridge regression of reference forces minus bonds and angles; then the offset."""
    fan = model.pair.shape[0]
    xx, xy = torch.zeros(fan, fan, dtype=torch.float64), torch.zeros(fan, dtype=torch.float64)
    rows, offsets = 0, []
    draws = [(int(rng.choice(index)), 0) for _ in range(frames)]
    for segment, frame in draws:
        graph, _, forces, _ = sample(data, segment, frame, model.config.cutoff_A)
        molecules = Molecules(graph)
        slow = forces - bonded_forces(molecules, torch.zeros_like(forces), model.reference)
        d = norm(graph.edge_vectors)
        pair = (graph.species[:, None] + gather_rows(graph.species, graph.neighbors)).long()
        kinds = torch.nn.functional.one_hot(pair, 3).float() * (graph.mask & ~molecules.intra)[..., None]
        slope = radial_derivative(model, d.transpose(1, 2))
        field = torch.einsum("nkx,nkt,nrk->nxtr", graph.edge_vectors / d, kinds, slope).flatten(2)
        x, y = field.flatten(0, 1).double(), slow.flatten().double()
        xx += x.T @ x
        xy += x.T @ y
        rows += len(y)
    root = torch.linalg.cholesky(xx + RIDGE * xx.diagonal().mean() * torch.eye(fan))
    whiten = torch.linalg.solve_triangular(root.T, torch.eye(fan, dtype=torch.float64) * rows**0.5, upper=True)
    model.whiten.copy_(whiten)
    model.pair.copy_(torch.linalg.solve_triangular(root, xy[:, None], upper=False)[:, 0] / rows**0.5)
    for segment, frame in draws:
        graph, _, _, energy = sample(data, segment, frame, model.config.cutoff_A)
        mine = model(graph.species, graph.edge_vectors, graph.mask, graph.neighbors).sum()
        offsets.append((energy - mine) / (graph.species == 0).sum())
    model.offset.fill_(torch.stack(offsets).mean())


def validate_energy(model: Energy, data: Segments, index: np.ndarray, frames: int = 24) -> dict:
    """``force_error`` (relative rms), ``energy_error_meV_per_atom`` (rms after the mean is taken out)."""
    error, total, energies = 0.0, 0.0, []
    for segment in index[:frames]:
        graph, q, forces, energy = sample(data, int(segment), 0, model.config.cutoff_A)
        e, f = energy_and_forces(model, graph, q, train=False)
        error += float((f - forces).square().sum())
        total += float(forces.square().sum())
        energies.append((float(e.detach().double().sum()) - energy) / len(q))
    return dict(
        force_error=math.sqrt(error / total),
        force_error_eV_A=math.sqrt(error / (frames * len(q) * 3)),
        energy_error_meV_per_atom=1000 * float(np.std(energies)),
        energy_bias_meV_per_atom=1000 * float(np.mean(energies)),
    )


def train_energy(
    config: EnergyConfig,
    data: list[Path],
    folder: Path,
    steps: int,
    learning_rate: float = 1e-3,
    seed: int = 0,
    threads: int = 1,
    every: int = 250,
) -> Energy:
    """Train into ``folder``; rerun the same call to resume."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    segments = Segments.load(data)
    training, held_out = segments.split(0.05, seed=0)
    model = Energy(config)
    if not Run.exists(folder):
        fit_pairs(model, segments, training, 40, np.random.default_rng(seed))
    run = Run(folder, config.dict(), model, learning_rate, seed)
    if Run.exists(folder):
        run.restore()
    while run.step < steps:
        segment, frame = int(run.rng.choice(training)), int(run.rng.integers(segments.positions.shape[1]))
        graph, q, forces, energy = sample(segments, segment, frame, config.cutoff_A)
        e, f = energy_and_forces(model, graph, q, train=True)
        per_atom = (e.sum() - energy) / len(q)
        loss = (f - forces).square().mean() / FORCE_UNIT**2 + 0.01 * (per_atom / ENERGY_UNIT).square()
        run.descend(loss, learning_rate * schedule(run.step, steps))
        if run.step % every == 0 or run.step == steps:
            figures = validate_energy(run.averaged.model, segments, held_out)
            run.save(segments, dict(loss=loss.item(), **figures))
    return run.averaged.model
