"""Last-layer uncertainty (LLPR, Bigi et al., Mach. Learn.: Sci. Technol. 5, 045018 (2024)).

σ² = α² Σ_x f_xᵀ (Σ f fᵀ + ς 1)⁻¹ f_x = α² |f R|² is large where an atom's last-layer features are unlike those of its
species in training.

=====  =========================================================================================
f_x    what the last layer is linear in, by Cartesian component x (``Prediction.last_features``)
ς      ridge, ``RIDGE`` times the mean of the diagonal
R      L⁻ᵀ, where L Lᵀ is the Cholesky factorisation of Σ f fᵀ + ς 1 (``llpr_factor``)
α      by species and output, so that σ is the standard deviation of a component (``llpr_scale``)
=====  =========================================================================================
"""

from __future__ import annotations

import torch
from scipy.stats import spearmanr
from torch import Tensor

from flashmd_train.data.dataset import stratified
from flashmd_train.data.pairs import StridePairs
from flashmd_train.models.direct import Direct

RIDGE = 1e-4
BOXES = 100
# Trusted is this much times the largest uncertainty in a sample of the training data: its tail is long, and a run meets
# many more atoms.
TRUST = 2.0


@torch.no_grad()
def set_uncertainty(model: Direct, training: StridePairs, validation: StridePairs, boxes: int = BOXES) -> dict:
    """Fill ``model.llpr_factor`` from training boxes and ``model.llpr_scale`` from held-out ones.

    Returns:
        :func:`rank` on the held-out boxes.
    """
    covariance = torch.zeros_like(model.llpr_factor, dtype=torch.float64)
    for k in stratified(training.index, boxes):
        graph = training.unaugmented(int(k)).graph
        last = model.predict(graph).last_features.double()
        for s in range(len(covariance)):
            features = last[graph.species == s].flatten(0, 1)
            covariance[s] += features.T @ features
    eye = torch.eye(covariance.shape[-1], dtype=torch.float64)
    ridge = RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1)
    root = torch.linalg.cholesky(covariance + ridge[:, None, None] * eye)
    model.llpr_factor.copy_(torch.linalg.solve_triangular(root.transpose(1, 2), eye, upper=True))
    model.llpr_scale.fill_(1.0)
    error, spread, species = observe(model, validation)
    for s in range(len(model.config.species)):
        # A species in no held-out box takes the scale of all atoms.
        mask = species == s if (species == s).any() else slice(None)
        model.llpr_scale[s] = torch.sqrt(error[mask].square().mean(0) / spread[mask].square().mean(0))
    return rank(model, validation)


@torch.no_grad()
def observe(model: Direct, pairs: StridePairs, boxes: int = BOXES) -> tuple[Tensor, Tensor, Tensor]:
    """Errors (rms over x, y, z) [A, 2], stated uncertainties [A, 2] and species [A] of all atoms of the boxes.

    Of displacements (Å·√u) and of momenta (√eV).
    """
    errors, spreads, species = [], [], []
    for k in range(min(boxes, len(pairs.index))):
        batch = pairs.unaugmented(k)
        stride = model.predict(batch.graph)
        both = torch.stack([stride.displacement - batch.displacement[0], stride.momenta - batch.momenta[0]], -1)
        errors.append(both.square().mean(1).sqrt())
        spreads.append(model.uncertainty(batch.graph.species, stride.last_features))
        species.append(batch.graph.species)
    return torch.cat(errors), torch.cat(spreads), torch.cat(species)


def rank(model: Direct, pairs: StridePairs, boxes: int = BOXES) -> dict:
    """Spearman's correlation of an atom's error with its uncertainty, per output, over all atoms of the boxes."""
    error, spread, _ = observe(model, pairs, boxes)
    names = ("displacement", "momenta_out")
    return {f"spearman_{name}": float(spearmanr(error[:, c], spread[:, c]).statistic) for c, name in enumerate(names)}


@torch.no_grad()
def largest_uncertainty(model: Direct, pairs: StridePairs, boxes: int = 150) -> list[float]:
    """Largest trusted uncertainty per output (Å·√u and √eV): ``TRUST`` times the largest in ``boxes`` of ``pairs``."""
    largest = torch.zeros(2)
    for k in stratified(pairs.index, boxes):
        graph = pairs.unaugmented(int(k)).graph
        largest = torch.maximum(largest, model.uncertainty(graph.species, model.predict(graph).last_features).amax(0))
    return [float(f"{TRUST * value:.4g}") for value in largest]
