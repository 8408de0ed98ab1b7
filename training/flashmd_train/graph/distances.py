"""Lengths of vectors, and the two smooth cutoffs."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(vectors: Tensor, axis: int = -1) -> Tensor:
    """Length with a finite gradient at zero, the axis kept: √max(v², 1e-15).

    A maximum rather than the usual sum: the exporter's optimiser takes an addition of 1e-15 for one of 0.
    """
    return torch.sqrt((vectors * vectors).sum(axis, keepdim=True).clamp(min=1e-15))


def cosine_cutoff(distances: Tensor, cutoff: Tensor | float, width: float) -> Tensor:
    """1 below cutoff − width, 0 beyond the cutoff, half a cosine between."""
    x = ((distances - (cutoff - width)) / width).clamp(0.0, 1.0)
    return 0.5 * (1.0 + torch.cos(torch.pi * x))


def bump_cutoff(distances: Tensor, cutoff: Tensor | float, width: float) -> Tensor:
    """1 below cutoff − width, 0 beyond the cutoff, all derivatives continuous between."""
    x = ((distances - (cutoff - width)) / width).clamp(1e-6, 1 - 1e-6) * torch.pi
    return 0.5 * (1.0 + torch.tanh(torch.cos(x) / torch.sin(x)))
