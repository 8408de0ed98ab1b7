"""Energy baselines: what each element adds to the energy of a structure, by least squares on compositions.

==========  ===============================================  ====
x_s         share of species s among the atoms of a frame
ε           reference energy less the model's, per atom      eV
b_s         change of the baseline of species s              eV
==========  ===============================================  ====

Over frames, b minimises Σ (ε − Σ_s x_s b_s)². Where the compositions leave directions of b open (one composition says
nothing about the elements in it), b is the smallest solution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.models.energies import EnergyModel

# Compositions that differ by less than this are one.
RESOLUTION = 1e-5
# Share of the mean energy error that the baselines take up each step of training.
RATE = 0.05


@torch.no_grad()
def fit_baselines(model: EnergyModel, data: Dataset, picks: np.ndarray) -> None:
    """Add to ``model.baseline`` what its energies of the first frames of segments ``picks`` [n, 2] lack."""
    kinds, shares, errors = model.baseline.shape[1], [], []
    device = model.baseline.device
    for pick in picks:
        graph, _, _, energy = force_sample(data, pick, 0, model.config.cutoff_A)
        graph = graph.to(device)
        predicted = model.per_atom(graph).double().sum()
        errors.append((energy - float(predicted)) / len(graph.species))
        shares.append(np.bincount(graph.species.cpu(), minlength=kinds) / len(graph.species))
    change = np.linalg.lstsq(np.array(shares), np.array(errors), rcond=RESOLUTION)[0]
    model.baseline += model.share[:, None] * torch.tensor(change, dtype=model.share.dtype, device=device)


@torch.no_grad()
def follow_energies(model: EnergyModel, species: Tensor, box: Tensor, errors: Tensor) -> None:
    """Let the baselines take up ``RATE`` of the model's energy errors per atom [B] (eV), of boxes ``box`` [N].

    The mean over boxes of the smallest change that takes up the error of each, b = −ε x/|x|².
    """
    counts = errors.new_zeros(len(errors), model.baseline.shape[1])
    counts.index_put_((box, species.long()), errors.new_ones(()), accumulate=True)
    share = counts / counts.sum(1, keepdim=True)
    change = -RATE * (errors[:, None] * share / share.square().sum(1, keepdim=True)).mean(0)
    model.baseline += model.share[:, None] * change.to(model.share.dtype)
