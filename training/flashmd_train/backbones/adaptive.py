"""PET's adaptive cutoff: every atom has its own, within which it counts a given number of neighbours.

The smoothed count within r, Σ_j f(d_ij, r), plus a baseline N·(r/r_max)³ grows with r. The cutoff is where this
reaches N (``"solver"``), or a mean of trial radii weighted by how near to N they come (``"grid"``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd_train.graph.distances import bump_cutoff

NEWTON_STEPS = 10
SMALLEST_SLOPE = 1e-6
# Shortest cutoff that the solver returns, as a share of the largest.
SMALLEST_SHARE = 1 / 16
# First trial radius of the grid, Å.
FIRST_RADIUS = 0.5


def _count(distances: Tensor, inside: Tensor, radius: Tensor, width: float) -> Tensor:
    """Smoothed number of neighbours, summed over the last axis; the rest broadcasts."""
    return torch.where(inside, bump_cutoff(distances, radius, width), 0.0).sum(-1)


def _count_and_slope(distances: Tensor, inside: Tensor, radius: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """The count and its derivative by the radius, [N, 1] each."""
    x = (distances - (radius - width)) / width
    angle = torch.pi * x.clamp(1e-6, 1 - 1e-6)
    step = torch.tanh(torch.cos(angle) / torch.sin(angle))
    slope = 0.5 * torch.pi / width * (1 - step * step) / torch.sin(angle) ** 2
    rising = inside & (x > 0) & (x < 1)
    count = torch.where(inside, torch.where(rising, 0.5 * (1 + step), torch.where(x > 0, 0.0, 1.0)), 0.0)
    return count.sum(-1, keepdim=True), torch.where(rising, slope, 0.0).sum(-1, keepdim=True)


def solve_cutoffs(distances: Tensor, inside: Tensor, wanted: float, largest: float, width: float) -> Tensor:
    """Cutoff of each atom [N, 1], Å, by Newton steps kept inside a bracket.

    The steps carry no gradient; one last step from the root does (implicit function theorem).

    Args:
        distances: [N, K] Å.
        inside: [N, K], true for edges shorter than ``largest``.
        wanted: number of neighbours.
        largest: largest cutoff, Å.
        width: of the smoothed count, Å.
    """

    def evaluate(radius: Tensor) -> tuple[Tensor, Tensor]:
        count, slope = _count_and_slope(distances.detach(), inside, radius, width)
        x = radius / largest
        return count + wanted * x**3 - wanted, slope + 3 * wanted * x**2 / largest

    low = torch.zeros_like(distances[:, :1])
    high = low + largest
    radius = 0.5 * high
    for _ in range(NEWTON_STEPS):
        excess, slope = evaluate(radius)
        below = excess <= 0
        low, high = torch.where(below, radius, low), torch.where(below, high, radius)
        newton = radius - excess / slope.clamp(min=SMALLEST_SLOPE)
        radius = torch.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
    radius = radius.detach()
    slope = evaluate(radius)[1].clamp(min=SMALLEST_SLOPE)
    excess = _count(distances, inside, radius, width)[:, None] + wanted * (radius / largest) ** 3 - wanted
    return (radius - excess / slope).clamp(largest * SMALLEST_SHARE, largest)


def grid_cutoffs(distances: Tensor, inside: Tensor, wanted: float, largest: float, width: float) -> Tensor:
    """Cutoff of each atom [N, 1], Å, as a mean over trial radii a quarter of ``width`` apart; see `solve_cutoffs`."""
    radii = torch.arange(FIRST_RADIUS, largest, width / 4, dtype=distances.dtype)
    counts = _count(distances[:, None], inside[:, None], radii[:, None], width)
    misses = counts - wanted + wanted * torch.linspace(0, 1, len(radii), dtype=distances.dtype) ** 3
    ends = misses[:, 1:2] - misses[:, :1], misses[:, -1:] - misses[:, -2:-1]
    slopes = torch.cat([ends[0], 0.5 * (misses[:, 2:] - misses[:, :-2]), ends[1]], -1)
    exponents = -0.5 * (misses / slopes.abs().clamp(min=1e-12)) ** 2
    return (torch.softmax(exponents, -1) * radii).sum(-1, keepdim=True)


ADAPTIVE = {"solver": solve_cutoffs, "grid": grid_cutoffs}
