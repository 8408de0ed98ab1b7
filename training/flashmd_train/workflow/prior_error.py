"""What a stride is worth before anything is learned: the errors of free flight, q' = q + p Δ/m and p' = p."""

from __future__ import annotations

import math

from ase import units

from flashmd_train.data.pairs import StridePairs

BOXES = 24


def free_flight_errors(pairs: StridePairs, stride_fs: float) -> dict[str, float]:
    """Relative errors of free flight, as :func:`~flashmd_train.learning.metrics.stride_errors` measures a model's.

    Returns:
        ``free_flight_momentum_error``: rms error of p'/√m over its rms. ``free_flight_displacement_error``: likewise of
        √m Δq.
    """
    sums = dict.fromkeys(("error_p", "p", "error_q", "q"), 0.0)
    for k in range(min(BOXES, len(pairs.index))):
        batch = pairs.unaugmented(k)
        flown = batch.graph.momenta * stride_fs * units.fs
        values = {
            "error_p": batch.graph.momenta - batch.momenta[0],
            "p": batch.momenta[0],
            "error_q": flown - batch.displacement[0],
            "q": batch.displacement[0],
        }
        for name, value in values.items():
            sums[name] += float(value.double().square().sum())
    return {
        "free_flight_momentum_error": math.sqrt(sums["error_p"] / sums["p"]),
        "free_flight_displacement_error": math.sqrt(sums["error_q"] / sums["q"]),
    }
