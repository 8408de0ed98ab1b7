"""The cutoff by the data: how far pair forces reach."""

from __future__ import annotations

import numpy as np
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.learning.metrics import energy_errors
from flashmd_train.learning.pretrain_pairs import fit_pairs
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energy import Energy

CUTOFFS_A = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)
# What a cutoff may add in quadrature to the error of the best one, relative to the rms force. Pair forces are far from
# exact where forces are not pairwise, and a many-body model is left with what the cutoff alone leaves out.
LARGEST_LOSS = 0.01
FRAMES, HELD_OUT = 20, 10


def energy_config(data: Dataset, cutoff_A: float) -> EnergyConfig:
    """An energy model of the data's species that knows no bonds."""
    return EnergyConfig(species=data.symbols, prior="free", cutoff_A=cutoff_A, radial=32, spacing=2.0, hidden=24)


def choose_cutoff(data: Dataset, seed: int = 0) -> tuple[float, dict[float, float]]:
    """The shortest cutoff whose pair forces are nearly as good as those of the best, and the errors by cutoff.

    Pair terms are fitted by least squares to reference forces
    (:func:`~flashmd_train.learning.pretrain_pairs.fit_pairs`); the error is that of held-out frames, relative to the
    rms force.

    Returns:
        Cutoff, Å, and relative errors by cutoff.
    """
    training, validation = data.split(0.05, seed=0)
    errors = {}
    for cutoff in CUTOFFS_A:
        torch.manual_seed(seed)
        model = Energy(energy_config(data, cutoff))
        fit_pairs(model, data, training, FRAMES, np.random.default_rng(seed))
        errors[cutoff] = energy_errors(model, data, validation, HELD_OUT)["force_error"]
    best = min(errors.values())
    return min(cutoff for cutoff, error in errors.items() if error**2 <= best**2 + LARGEST_LOSS**2), errors
