"""Gathers along edges whose backward passes are gathers too.

The backward pass of a plain gather is a scatter that adds, and ONNX Runtime's CPU kernel for it has a data race.
Every edge i→j has its reverse j→i, whose flat index is an input of the contract, so the same sums are read through
the reverse edges instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd_train.graph.gather import gather_rows


class _Swap(torch.autograd.Function):
    """The rows of the reverse edges; a permutation that is its own inverse, so its own transpose too."""

    @staticmethod
    def forward(edges: Tensor, reverse: Tensor) -> Tensor:
        return gather_rows(edges.flatten(0, 1), reverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Swap.apply(gradient, ctx.saved_tensors[0]), None


class _Gather(torch.autograd.Function):
    """Rows of the neighbours. Backward, atom j sums the gradients of the edges i→j over its own slots j→i."""

    @staticmethod
    def forward(atoms: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
        return gather_rows(atoms, neighbors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Swap.apply(gradient, ctx.saved_tensors[0]).sum(1), None, None


def swap_edges(edges: Tensor, reverse: Tensor) -> Tensor:
    """Rows of the reverse edges: edges [N, K, C] and flat indices [N, K] to [N, K, C].

    ``reverse`` must be its own inverse, as in the contract (padded slots point at themselves).
    """
    return _Swap.apply(edges, reverse)


def gather_neighbors(atoms: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
    """Rows of the neighbours, ``atoms[neighbors]``: [N, C] and [N, K] to [N, K, C].

    The backward pass is exact for padded slots too: they point at their own atom and are their own reverse.
    """
    return _Gather.apply(atoms, neighbors, reverse)
