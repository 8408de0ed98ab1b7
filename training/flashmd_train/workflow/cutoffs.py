"""The cutoff by the data: how far pair forces reach."""

from __future__ import annotations

import numpy as np
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.learning.pretrain_pairs import fit_pairs
from flashmd_train.models.bonded_forces import BondedForces, known_bonds
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energies import energy_and_forces
from flashmd_train.models.energy import Energy

CUTOFFS_A = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)
# What a cutoff may add in quadrature to the error of the best one, relative to the rms force. Pair forces are far from
# exact where forces are not pairwise, and a many-body model is left with what the cutoff alone leaves out.
LARGEST_LOSS = 0.01
# Frames that are fitted and held out, and of small structures as many as hold so many atoms.
FRAMES, HELD_OUT = 20, 10
ATOMS = 5000


def energy_config(data: Dataset, cutoff_A: float) -> EnergyConfig:
    """An energy model of the data's species that knows no bonds."""
    return EnergyConfig(species=data.symbols, prior="free", cutoff_A=cutoff_A, radial=32, spacing=2.0, hidden=24)


def choose_cutoff(data: Dataset, seed: int = 0, bonded: BondedForces | None = None) -> tuple[float, dict[float, float]]:
    """The shortest cutoff whose pair forces are nearly as good as those of the best, and the errors by cutoff.

    Pair terms are fitted by least squares to reference forces
    (:func:`~flashmd_train.learning.pretrain_pairs.fit_pairs`); the error is that of held-out frames, relative to the
    rms force. Of molecules both are of what bonds and angles leave.

    Args:
        data: with forces, and with its bonds if they are known.
        seed: of the frames.
        bonded: bonds and angles that are known.

    Returns:
        Cutoff, Å, and relative errors by cutoff.
    """
    training, validation = data.split(0.05, seed=0)
    more = max(1.0, ATOMS * len(data.species) / sum(map(len, data.species)) / FRAMES)
    frames, held_out = round(FRAMES * more), round(HELD_OUT * more)
    errors = {}
    for cutoff in CUTOFFS_A:
        torch.manual_seed(seed)
        model = Energy(energy_config(data, cutoff))
        fit_pairs(model, data, training, frames, np.random.default_rng(seed), bonded=bonded)
        errors[cutoff] = _force_error(model, data, validation[:held_out], bonded)
    best = min(errors.values())
    return min(cutoff for cutoff, error in errors.items() if error**2 <= best**2 + LARGEST_LOSS**2), errors


def _force_error(model: Energy, data: Dataset, index: np.ndarray, bonded: BondedForces | None) -> float:
    """Rms error of the forces that bonds and angles leave, over their rms, in the first frames of segments [n, 2]."""
    off = size = 0.0
    for pick in index:
        graph, q, forces, _ = force_sample(data, pick, 0, model.config.cutoff_A)
        if bonded is not None:
            forces = forces - bonded.forces(graph, torch.zeros_like(forces)).detach()
            graph = graph._replace(mask=graph.mask & ~known_bonds(graph).joined)
        _, predicted = energy_and_forces(model, graph, q, train=False)
        off += float((predicted - forces).square().sum())
        size += float(forces.square().sum())
    return (off / size) ** 0.5
