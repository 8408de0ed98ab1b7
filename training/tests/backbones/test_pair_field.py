"""Radial functions of pair fields."""

from __future__ import annotations

import pytest
import torch
from small_models import CUTOFF

from flashmd_train.backbones.pair_field import PairField, radial_functions


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.0])
def test_radial_functions_are_as_wide_as_the_gap_to_the_next(spacing: float) -> None:
    centers = PairField(1, CUTOFF, 9, 1.0, spacing).centers
    gaps = torch.diff(centers**spacing)
    assert torch.allclose(gaps, gaps.mean())
    functions = radial_functions(centers[None, None], centers, CUTOFF)[0]
    assert torch.allclose(functions.diagonal(), torch.ones(9))
    assert torch.allclose(functions.diagonal(1), torch.full((8,), 0.5).neg().exp())
