"""Train the energy model on reference forces and energies."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flashmd_train.config import EnergyTraining
from flashmd_train.dataset import Dataset
from flashmd_train.distributed import mixed, shared
from flashmd_train.energy import Energy, energy_and_forces, radial_derivative
from flashmd_train.graph import Graph, gather_rows, join, norm
from flashmd_train.pretrain import RIDGE
from flashmd_train.prior import bonded_forces
from flashmd_train.session import session

# Loss weights: forces in units of 0.5 eV/Å, energies in units of 5 meV per atom. Each step shifts the energies of all
# frames alike by more than they differ, so a heavier term would drown the forces.
FORCE_UNIT, ENERGY_UNIT, ENERGY_WEIGHT = 0.5, 0.005, 1e-4
PRETRAINING_FRAMES = 40
# Share of an energy error that the zero of the energy takes up each step.
FOLLOWING = 0.05


def sample(data: Dataset, pick: np.ndarray, frame: int, cutoff: float) -> tuple[Graph, Tensor, Tensor, float]:
    """One frame of the segment ``pick`` (file, segment): graph, positions [N, 3], forces [N, 3] and energy."""
    file, segment = (int(x) for x in pick)
    of = data.files[file]
    q, p = of.positions[segment, frame], of.momenta[segment, frame]
    forces = torch.tensor(of.forces[segment, frame])
    return data.graph(file, q, p, cutoff), torch.tensor(q), forces, float(of.energy[segment, frame])


@torch.no_grad()
def fit_pairs(model: Energy, data: Dataset, index: np.ndarray, frames: int, rng: np.random.Generator) -> None:
    """Pair weights by ridge regression of reference forces minus bonds and angles; then the offset."""
    fan, kinds = model.pair.shape[1], int(model.pair_of.max()) + 1
    xx, xy = torch.zeros(fan, fan, dtype=torch.float64), torch.zeros(fan, dtype=torch.float64)
    rows = 0
    draws = [index[int(rng.integers(len(index)))] for _ in range(frames)]
    for pick in draws:
        graph, _, forces, _ = sample(data, pick, 0, model.config.cutoff_A)
        molecules = model.molecules(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)
        slow, outside = forces, graph.mask
        if molecules is not None:
            slow = forces - bonded_forces(molecules, torch.zeros_like(forces), model.reference)
            outside = graph.mask & ~molecules.intra
        d = norm(graph.edge_vectors)
        pair = model.pair_of[graph.species[:, None], gather_rows(graph.species, graph.neighbors)]
        one_hot = torch.nn.functional.one_hot(pair, kinds).float() * outside[..., None]
        slope = radial_derivative(model, d.transpose(1, 2))
        field = torch.einsum("nkx,nkt,nrk->nxtr", graph.edge_vectors / d, one_hot, slope).flatten(2)
        x, y = field.flatten(0, 1).double(), slow.flatten().double()
        xx += x.T @ x
        xy += x.T @ y
        rows += len(y)
    root = torch.linalg.cholesky(xx + RIDGE * xx.diagonal().mean() * torch.eye(fan))
    whiten = torch.linalg.solve_triangular(root.T, torch.eye(fan, dtype=torch.float64) * rows**0.5, upper=True)
    model.whiten.copy_(whiten)
    model.pair[0] = torch.linalg.solve_triangular(root, xy[:, None], upper=False)[:, 0] / rows**0.5
    fit_offset(model, data, draws)


@torch.no_grad()
def fit_offset(model: Energy, data: Dataset, picks: list[np.ndarray]) -> None:
    """The zero of the energy, so that its mean error over the first frames of the segments ``picks`` is none."""
    errors = []
    for pick in picks:
        graph, _, _, energy = sample(data, pick, 0, model.config.cutoff_A)
        mine = model(graph.species, graph.edge_vectors, graph.mask, graph.neighbors).double().sum()
        errors.append((energy - mine) / (graph.species == 0).sum())
    model.offset += torch.stack(errors).mean()


def validate_energy(model: Energy, data: Dataset, index: np.ndarray, frames: int = 24) -> dict:
    """``force_error`` (relative rms), ``energy_error_meV_per_atom`` (rms after the mean is taken out)."""
    error, total, count, energies = 0.0, 0.0, 0, []
    device = model.pair.device
    for pick in index[:frames]:
        graph, q, forces, energy = sample(data, pick, 0, model.config.cutoff_A)
        e, f = energy_and_forces(model, graph.to(device), q.to(device), train=False)
        error += float((f.cpu() - forces).square().sum())
        total += float(forces.square().sum())
        count += forces.numel()
        energies.append((float(e.detach().double().sum()) - energy) / len(q))
    return dict(
        force_error=math.sqrt(error / total),
        force_error_eV_A=math.sqrt(error / count),
        energy_error_meV_per_atom=1000 * float(np.std(energies)),
        energy_bias_meV_per_atom=1000 * float(np.mean(energies)),
    )


class Objective(torch.nn.Module):
    """Frames to loss, around an energy model: what data-parallel training wraps."""

    def __init__(self, model: Energy) -> None:
        super().__init__()
        self.model = model

    def forward(self, graph: Graph, q: Tensor, forces: Tensor, energy: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and forces [N, 3], energies [B] (eV), box of each atom [N]: loss and mean energy error per atom."""
        e, f = energy_and_forces(self.model, graph, q, train=True)
        atoms = torch.bincount(box, minlength=len(energy))
        per_atom = (torch.zeros_like(energy).index_add(0, box, e) - energy) / atoms
        loss = (f - forces).square().mean() / FORCE_UNIT**2 + ENERGY_WEIGHT * (per_atom / ENERGY_UNIT).square().mean()
        return loss, per_atom.detach().mean()


def draw(data: Dataset, index: np.ndarray, boxes: int, cutoff: float, rng: np.random.Generator) -> tuple:
    """A random batch of frames: the arguments of :class:`Objective`."""
    picks = index[rng.integers(len(index), size=boxes)]
    samples = [sample(data, pick, int(rng.integers(data.files[pick[0]].positions.shape[1])), cutoff) for pick in picks]
    graphs, q, forces, energies = zip(*samples)
    box = torch.repeat_interleave(torch.arange(boxes), torch.tensor([len(x) for x in q]))
    return join(list(graphs)), torch.cat(q), torch.cat(forces), torch.tensor(energies, dtype=torch.float32), box


def train_energy(settings: EnergyTraining, folder: Path, stop_after: int | None = None) -> Energy:
    """Train into ``folder``; rerun the same call to resume.

    Args:
        settings: everything else. folder: of the run. stop_after: end here; a rerun goes on.

    Raises:
        ValueError: data, model and folder do not go together.
    """

    def prepare(model: Energy, data: Dataset, index: np.ndarray) -> None:
        fit_pairs(model, data, index, PRETRAINING_FRAMES, np.random.default_rng(settings.seed))

    with session(settings, folder, lambda: Energy(settings.model), prepare, stop_after) as ready:
        run, data, device = ready.run, ready.data, ready.device
        objective = shared(Objective(run.model))
        while ready.goes_on:
            graph, *rest = draw(data, ready.training, settings.data.boxes, settings.model.cutoff_A, run.random())
            with mixed(device, settings.optimizer.precision):
                loss, error = objective(graph.to(device), *(x.to(device) for x in rest))
            run.descend(loss)
            run.model.offset -= FOLLOWING * error / (graph.species == 0).float().mean().to(device)
            if run.step % settings.every == 0 or run.step == settings.optimizer.steps:
                figures = validate_energy(run.averaged.model, data, ready.held_out)
                score = figures["force_error_eV_A"] / FORCE_UNIT + figures["energy_error_meV_per_atom"] / 1000
                run.save(data, dict(loss=loss.item(), **figures), score)
    return ready.run.averaged.model
