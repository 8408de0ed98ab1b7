"""Gathers along edges: the neighbours' rows, and one slot per atom."""

from __future__ import annotations

import torch
from torch import Tensor


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """``rows[index]`` along the first axis: [N, ...] and an index of any shape to [*index, ...]."""
    picked = rows.index_select(0, index.reshape(-1))
    return picked if index.ndim == 1 else picked.reshape(*index.shape, *rows.shape[1:])


def gather_edges(rows: Tensor, neighbors: Tensor) -> Tensor:
    """Neighbours' rows with the slots last: [N, C] and [N, K] to [N, C, K]."""
    return gather_rows(rows, neighbors).transpose(1, 2)


def slots_last(edges: Tensor) -> Tensor:
    """[N, K, 3] to [N, 3, K], by components: ONNX Runtime would push a transpose into what follows."""
    return torch.stack(edges.unbind(-1), 1)


def gather_slot(values: Tensor, slot: Tensor) -> Tensor:
    """One slot per atom: values [N, K, C] and slot [N] to [N, C]."""
    index = slot[:, None, None].expand(-1, 1, values.shape[-1])
    return torch.gather(values, 1, index).squeeze(1)
