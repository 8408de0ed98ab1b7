"""Train an energy model on reference forces and energies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flashmd_train.data.dataset import Dataset, stratified
from flashmd_train.data.force_samples import draw_force_batch
from flashmd_train.data.pairs import random_rotations
from flashmd_train.data.sampler import Sampler
from flashmd_train.graph.nef import Graph
from flashmd_train.learning.baselines import fit_baselines, follow_energies
from flashmd_train.learning.checkpoint import best_weights, load_weights
from flashmd_train.learning.config import EnergyTraining
from flashmd_train.learning.distributed import autocast, wrap_ddp
from flashmd_train.learning.loop import prepared_run
from flashmd_train.learning.losses import FORCE_UNIT
from flashmd_train.learning.metrics import energy_errors
from flashmd_train.learning.pretrain_pairs import PRETRAINING_FRAMES, fit_pairs
from flashmd_train.learning.units import measure_energy
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energies import EnergyModel, build_energy, energy_and_forces
from flashmd_train.models.energy import Energy
from flashmd_train.models.pet import PETEnergy

# Unit (eV per atom) and weight of the energy term. Each step shifts the energies of all frames alike by more than they
# differ, so a heavier term would outweigh the forces.
ENERGY_UNIT, ENERGY_WEIGHT = 0.005, 1e-4


class EnergyObjective(nn.Module):
    """Frames to loss, around an energy model: the module that data-parallel training wraps."""

    def __init__(self, model: EnergyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, graph: Graph, q: Tensor, forces: Tensor, energy: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and energy errors per atom [B] (eV).

        From positions and forces [N, 3] (Å, eV/Å), energies [B] (eV, float64) and the box of each atom [N].
        """
        e, f = energy_and_forces(self.model, graph, q, train=True)
        atoms = torch.bincount(box, minlength=len(energy))
        per_atom = (torch.zeros_like(energy).index_add(0, box, e.double()) - energy) / atoms
        loss = (f - forces).square().mean() / FORCE_UNIT**2 + ENERGY_WEIGHT * (per_atom / ENERGY_UNIT).square().mean()
        return loss, per_atom.detach()


def train_energy(settings: EnergyTraining, folder: Path, stop_after: int | None = None) -> Energy | PETEnergy:
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

    def pretrain(model: Energy | PETEnergy, data: Dataset, index: np.ndarray) -> None:
        if isinstance(model, PETEnergy):
            measure_energy(model, data, index)
        else:
            fit_pairs(model, data, index, PRETRAINING_FRAMES, np.random.default_rng(settings.seed))
        fit_baselines(model, data, index[stratified(index, PRETRAINING_FRAMES)])

    def refit(model: Energy | PETEnergy, data: Dataset, index: np.ndarray, new: list[str]) -> None:
        if new and isinstance(model, PETEnergy):
            measure_energy(model, data, index, new)
        fit_baselines(model, data, index[stratified(index, PRETRAINING_FRAMES)])

    labels, build = ("forces", "energy"), lambda: build_energy(settings.model)
    with prepared_run(settings, folder, build, pretrain, refit, stop_after, labels) as ready:
        run, data, device = ready.run, ready.data, ready.device
        objective = wrap_ddp(EnergyObjective(run.model))
        sampler = Sampler(data, ready.training, settings.model.cutoff_A)
        baseline_picks = ready.training[stratified(ready.training, PRETRAINING_FRAMES)]
        while ready.goes_on:
            rng = run.generator()
            batch = draw_force_batch(sampler, rng, settings.data.boxes, settings.data.edges)
            if settings.data.rotate and not run.model.equivariant:
                batch = batch.rotated(random_rotations(rng, len(batch.energies)))
            batch = batch.to(device)
            with autocast(device, settings.optimizer.precision):
                loss, errors = objective(*batch)
            run.optimizer_step(loss)
            follow_energies(run.model, batch.graph.species, batch.box, errors)
            if run.step % settings.every == 0 or run.step == settings.optimizer.steps:
                # Averaged weights want baselines of their own.
                fit_baselines(run.averaged.model, data, baseline_picks)
                figures = energy_errors(run.averaged.model, data, ready.validation, device=device)
                score = figures["force_error_eV_A"] / FORCE_UNIT + figures["energy_error_meV_per_atom"] / 1000
                run.save(data, dict(loss=loss.item(), **figures), score)
    return ready.run.averaged.model


def load_energy(run: Path) -> Energy | PETEnergy:
    """The energy model of the folder ``run``: its averaged weights, where validation was best."""
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    model = build_energy(EnergyConfig.model_validate(saved["config"]))
    load_weights(model, best_weights(saved), run)
    return model.eval()
