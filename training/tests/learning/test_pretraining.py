"""Pre-training on forces."""

from __future__ import annotations

import numpy as np

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.metrics import stride_errors
from flashmd_train.learning.pretrain_lookahead import fit_linear
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct


def test_pretraining_finds_the_forces(data: Dataset) -> None:
    model = Direct(DirectConfig(stride_fs=4.0, cutoff_A=6.0, lookahead_timestep_fs=1.0, options=dict(radial=10)))
    pairs = StridePairs(data, np.array([(0, s) for s in range(6)]), 4.0, 6.0)
    before = stride_errors(model, pairs, 3)["momentum_error"]
    fit_linear(model, pairs, 12, np.random.default_rng(0))
    after = stride_errors(model, pairs, 3)["momentum_error"]
    assert before > 0.2
    assert after < 0.1
