"""Ranking of a model's uncertainty against its errors."""

from __future__ import annotations

import numpy as np

from flashmd_train.studies.ranking import _row


def test_an_uncertainty_that_is_the_error_ranks_it_perfectly() -> None:
    rng = np.random.default_rng(4)
    found = [np.repeat(rng.random((1, 2, 30)) * scale, 2, 0) for scale in (1.0, 2.0, 3.0)]
    assert _row("x", "300", found).endswith("| 1.00 | 1.00 | 1.00 |")
