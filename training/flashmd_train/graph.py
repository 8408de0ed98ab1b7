"""The NEF graph (node, edge, feature) every backbone sees: the inputs of the model contract.

N atoms, K slots per atom. Names, shapes and units are those of the contract:
``species`` [N], scaled ``momenta`` [N,3] (√eV), ``masses`` [N] (u), ``edge_vectors`` [N,K,3] (Å),
``mask`` [N,K], ``neighbors`` [N,K], ``reverse`` [N,K].
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """Inputs of one network call; see the module docstring for shapes and units."""

    species: Tensor
    momenta: Tensor
    masses: Tensor
    edge_vectors: Tensor
    mask: Tensor
    neighbors: Tensor
    reverse: Tensor | None = None


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


def build_graph(
    positions: Tensor, momenta: Tensor, masses: Tensor, species: Tensor, lengths: Tensor, cutoff: float
) -> Graph:
    """Graph of B orthorhombic boxes with the same atoms, stacked along N.

    Args:
        positions: [B, A, 3] Å. momenta: [B, A, 3] √(eV·u). masses: [A] u. species: [A].
        lengths: [3] Å, at least twice the cutoff.
        cutoff: Å.
    """
    boxes, atoms, _ = positions.shape
    vectors, mask, neighbors = [], [], []
    for b in range(boxes):
        delta = positions[b][None] - positions[b][:, None]
        delta = delta - lengths * torch.round(delta / lengths)
        d2 = (delta * delta).sum(-1)
        d2.fill_diagonal_(torch.inf)
        k = int((d2 < cutoff**2).sum(1).max().clamp(min=1))
        nearest, j = torch.topk(d2, k, dim=1, largest=False, sorted=False)
        real = nearest < cutoff**2
        vector = torch.gather(delta, 1, j[..., None].expand(-1, -1, 3))
        vectors.append(torch.where(real[..., None], vector, 0.0))
        own = torch.arange(atoms)[:, None]
        neighbors.append(torch.where(real, j, own) + b * atoms)
        mask.append(real)
    width = max(m.shape[1] for m in mask)
    pad = [width - m.shape[1] for m in mask]
    own = torch.arange(boxes * atoms).view(boxes, atoms, 1)
    return Graph(
        species=species.repeat(boxes),
        momenta=(momenta / masses[:, None].sqrt()).reshape(-1, 3),
        masses=masses.repeat(boxes),
        edge_vectors=torch.cat([torch.nn.functional.pad(v, (0, 0, 0, p)) for v, p in zip(vectors, pad)]),
        mask=torch.cat([torch.nn.functional.pad(m, (0, p)) for m, p in zip(mask, pad)]),
        neighbors=torch.cat([torch.cat([n, own[b].expand(-1, p)], 1) for b, (n, p) in enumerate(zip(neighbors, pad))]),
    )
