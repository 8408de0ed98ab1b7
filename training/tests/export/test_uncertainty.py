"""The last-layer uncertainty."""

from __future__ import annotations

import pytest
import torch
from small_models import CUTOFF, EVERY, OPTIONS

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.uncertainty import observe, set_uncertainty
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct


@pytest.mark.parametrize(("backbone", "rows"), [("lookahead", 3), ("painn", 3), ("edgemp", 1), ("pet", 1)])
def test_uncertainty_is_the_distance_of_what_the_last_layer_is_linear_in(
    data: Dataset, backbone: str, rows: int
) -> None:
    """σ² against α²·Σ_x f_xᵀ(Σffᵀ + ς1)⁻¹f_x with a general solver, and calibrated to the mean square error."""
    torch.manual_seed(1)
    shape = dict(stride_fs=2.0, cutoff_A=CUTOFF, legendre_orders=2, lookahead_timestep_fs=1.0)
    model = Direct(DirectConfig(backbone=backbone, options=OPTIONS[backbone], **shape))
    pairs = StridePairs(data, EVERY, 2.0, CUTOFF)
    ranks = set_uncertainty(model, pairs, pairs)
    assert set(ranks) == {"spearman_displacement", "spearman_momenta_out"}
    with torch.no_grad():
        every = torch.cat([model.predict(pairs.unaugmented(k).graph).last_features for k in range(6)]).double()
    assert every.shape[1] == rows
    error, spread, species = observe(model, pairs)
    for s in range(2):
        mask = species == s
        last = every[mask].flatten(0, 1)
        covariance = last.T @ last
        covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(len(covariance))
        squares = (last * torch.linalg.solve(covariance, last.T).T).sum(-1)
        distance = squares.unflatten(0, (-1, rows)).sum(-1).sqrt()
        assert torch.allclose(spread[mask].double() / distance[:, None], model.llpr_scale[s].double(), rtol=1e-2)
        assert torch.allclose(spread[mask].square().mean(0), error[mask].square().mean(0), rtol=1e-3)
