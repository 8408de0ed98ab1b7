"""Last-layer uncertainty (LLPR, Bigi et al., Mach. Learn.: Sci. Technol. 5, 045018 (2024)).

σ² = α² Σ_x f_xᵀ (Σ f fᵀ + ς 1)⁻¹ f_x: how far what an atom's last layer is linear in, the vectors f of an equivariant
backbone, lies from that of its species in training. One factor α per species and output is calibrated on held-out
atoms, so that σ is the standard deviation of a component.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from flashmd_train.dataset import Pairs
from flashmd_train.direct import Direct

# ς over the mean of the diagonal.
RIDGE = 1e-4
BOXES = 100


@torch.no_grad()
def set_uncertainty(model: Direct, training: Pairs, held_out: Pairs, boxes: int = BOXES) -> dict:
    """Fill ``model.doubt`` and ``model.doubt_scale``; returns :func:`rank` on the held-out boxes."""
    covariance = torch.zeros_like(model.doubt, dtype=torch.float64)
    for k in np.linspace(0, len(training.index) - 1, min(boxes, len(training.index))).astype(int):
        graph = training.held(int(k)).graph
        last = model.predict(graph).last.double()
        for s in range(len(covariance)):
            of = last[graph.species == s].flatten(0, 1)
            covariance[s] += of.T @ of
    eye = torch.eye(covariance.shape[-1], dtype=torch.float64)
    ridge = RIDGE * covariance.diagonal(dim1=1, dim2=2).mean(1)
    root = torch.linalg.cholesky(covariance + ridge[:, None, None] * eye)
    # |f R|² = fᵀ (L Lᵀ)⁻¹ f with R = L⁻ᵀ.
    model.doubt.copy_(torch.linalg.solve_triangular(root.transpose(1, 2), eye, upper=True))
    model.doubt_scale.fill_(1.0)
    error, spread, species = observe(model, held_out)
    for s in range(len(model.config.species)):
        of = species == s
        model.doubt_scale[s] = torch.sqrt(error[of].square().mean(0) / spread[of].square().mean(0))
    return rank(model, held_out)


@torch.no_grad()
def observe(model: Direct, pairs: Pairs, boxes: int = BOXES) -> tuple[Tensor, Tensor, Tensor]:
    """Of all atoms of the boxes: rms of the errors over x, y, z [A, 2], stated uncertainties [A, 2], species [A]."""
    errors, spreads, species = [], [], []
    for k in range(min(boxes, len(pairs.index))):
        batch = pairs.held(k)
        stride = model.predict(batch.graph)
        both = torch.stack([stride.displacement - batch.displacement[0], stride.momenta - batch.momenta[0]], -1)
        errors.append(both.square().mean(1).sqrt())
        spreads.append(model.uncertainty(batch.graph.species, stride.last))
        species.append(batch.graph.species)
    return torch.cat(errors), torch.cat(spreads), torch.cat(species)


def rank(model: Direct, pairs: Pairs, boxes: int = BOXES) -> dict:
    """Spearman's correlation of an atom's error with its uncertainty, per output, over all atoms of the boxes."""
    error, spread, _ = observe(model, pairs, boxes)
    names = ("displacement", "momenta_out")
    return {f"spearman_{name}": float(spearmanr(error[:, c], spread[:, c]).statistic) for c, name in enumerate(names)}
