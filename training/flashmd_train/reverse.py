"""Gathers along edges whose backward passes are gathers too.

The plain backward of a gather adds scattered rows, on which ONNX Runtime's CPU kernel races. Every edge
i→j has its reverse j→i, whose flat index is an input of the contract, so the same sums can be read
instead of written.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashmd_train.graph import gather_rows


class _Swap(torch.autograd.Function):
    """Reversing edges twice gives them back, so the operation is its own transpose."""

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
    """What arrives at atom j from all edges that point at it, read from j's own slots."""

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
    """The reverse edges' rows: edges [N, K, C] and flat indices [N, K] to [N, K, C].

    ``reverse`` must be its own inverse, as the contract has it (padded slots point at themselves).
    """
    return _Swap.apply(edges, reverse)


def gather_neighbors(atoms: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
    """``atoms[neighbors]``: [N, C] and [N, K] to [N, K, C].

    Exact in the backward pass for padded slots too: they point at their own atom and are their own reverse.
    """
    return _Gather.apply(atoms, neighbors, reverse)
