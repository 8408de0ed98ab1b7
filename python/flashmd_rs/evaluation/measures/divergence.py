"""How far two distributions are apart that are each known by blocks: the Jensen–Shannon divergence.

D = S((p + q)/2) − (S(p) + S(q))/2 with the entropy S in bits (Lin, IEEE Trans. Inf. Theory 37, 145 (1991)): 0 of equal
distributions, 1 of those that have nothing in common. Two samples of one distribution are never equal, so D is told
from chance by a permutation test.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import jensenshannon

from flashmd_rs._structure import F64


def divergence(ours: F64, theirs: F64, splits: int) -> tuple[float, float, float]:
    """Divergence of the means of blocks.

    Args:
        ours: shares in R bins of B blocks [B, R].
        theirs: likewise, of another number of blocks.
        splits: random splits of all blocks in two that it is compared with.

    Returns:
        D, bits; its standard error by jackknife over the blocks; and the probability that a split is as far apart.
    """
    value = float(between(ours.mean(0), theirs.mean(0)))
    variance = sum(
        (len(blocks) - 1) * float(np.var(between((blocks.sum(0) - blocks) / (len(blocks) - 1), other.mean(0))))
        for blocks, other in ((ours, theirs), (theirs, ours))
    )
    together, count, random = np.concatenate([ours, theirs]), len(ours), np.random.default_rng(0)
    as_far = 0
    for _ in range(splits):
        order = random.permutation(len(together))
        split = between(together[order[:count]].mean(0), together[order[count:]].mean(0))
        as_far += int(split >= value - 1e-12)
    return value, float(variance) ** 0.5, (1 + as_far) / (1 + splits)


def between(one: F64, other: F64) -> F64:
    """D of distributions in R bins [..., R], normalised here, bits."""
    # Rounding below zero has no root.
    distance: F64 = np.nan_to_num(jensenshannon(one, other, base=2, axis=-1)) ** 2
    return distance
