"""The NEF graph (node, edge, feature) every backbone sees: the inputs of the model contract.

N atoms, K slots per atom. Names, shapes and units are those of the contract:
``species`` [N], scaled ``momenta`` [N,3] (√eV), ``masses`` [N] (u), ``edge_vectors`` [N,K,3] (Å),
``mask`` [N,K], ``neighbors`` [N,K], ``reverse`` [N,K] (flat index of the edge back);
``head`` [H] weighs the scalars of a model that has several.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from vesin import NeighborList


class Graph(NamedTuple):
    """Inputs of one network call; see the module docstring for shapes and units."""

    species: Tensor
    momenta: Tensor
    masses: Tensor
    edge_vectors: Tensor
    mask: Tensor
    neighbors: Tensor
    reverse: Tensor | None = None
    head: Tensor | None = None

    def to(self, device: torch.device) -> Graph:
        """The graph on ``device``."""
        return Graph(*(None if x is None else x.to(device, non_blocking=True) for x in self))


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
    positions: np.ndarray,
    momenta: np.ndarray,
    masses: np.ndarray,
    species: np.ndarray,
    cell: np.ndarray,
    cutoff: float,
    periodic: np.ndarray | tuple[bool, bool, bool] = (True, True, True),
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """Graph of one system, slots sorted by neighbour and shift.

    Args:
        positions: [A, 3] Å. momenta: [A, 3] √(eV·u). masses: [A] u. species: [A].
        cell: [3, 3] Å, rows are the vectors; self-images within the cutoff are edges too.
        cutoff: Å.
        periodic: along which vectors.
        dtype: of the graph's numbers.
    """
    atoms = len(positions)
    i, j, shift, vector = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=np.asarray(positions, float), box=np.asarray(cell, float), periodic=list(periodic), quantities="ijSD"
    )
    order = np.lexsort((*shift.T[::-1], j, i))
    i, j, shift, vector = i[order].astype(int), j[order].astype(int), shift[order], vector[order]
    counts = np.bincount(i, minlength=atoms)
    k = max(1, int(counts.max(initial=0)))
    slot = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The edge back is the one that comes in the same place when both ends and the shift are exchanged.
    back = np.empty(len(i), int)
    back[np.lexsort((*-shift.T[::-1], i, j))] = np.arange(len(i))
    own = np.repeat(np.arange(atoms)[:, None], k, 1)
    vectors, mask, neighbors = np.zeros((atoms, k, 3)), np.zeros((atoms, k), bool), own.copy()
    reverse = np.arange(atoms * k).reshape(atoms, k)
    vectors[i, slot], mask[i, slot], neighbors[i, slot] = vector, True, j
    reverse[i, slot] = j * k + slot[back]
    root = np.sqrt(masses)[:, None]
    return Graph(
        species=torch.tensor(species),
        momenta=torch.tensor(momenta / root, dtype=dtype),
        masses=torch.tensor(masses, dtype=dtype),
        edge_vectors=torch.tensor(vectors, dtype=dtype),
        mask=torch.tensor(mask),
        neighbors=torch.tensor(neighbors),
        reverse=torch.tensor(reverse),
    )


def padded(graph: Graph, rows: int, slots: int) -> Graph:
    """The same graph with extra masked rows and slots."""
    n, k = graph.mask.shape
    own = torch.arange(n + rows)[:, None].expand(-1, k + slots).clone()
    own[:n, :k] = graph.neighbors
    reverse = torch.arange((n + rows) * (k + slots)).view(n + rows, k + slots)
    reverse[:n, :k] = torch.where(graph.mask, graph.reverse // k * (k + slots) + graph.reverse % k, reverse[:n, :k])
    pad = nn.functional.pad
    return Graph(
        pad(graph.species, (0, rows)),
        pad(graph.momenta, (0, 0, 0, rows)),
        pad(graph.masses, (0, rows), value=1.0),
        pad(graph.edge_vectors, (0, 0, 0, slots, 0, rows)),
        pad(graph.mask, (0, slots, 0, rows)),
        own,
        reverse,
        graph.head,
    )


def join(graphs: list[Graph]) -> Graph:
    """Graphs stacked along N, each as wide as the widest."""
    width = max(graph.mask.shape[1] for graph in graphs)
    parts, first = [], 0
    for graph in graphs:
        wide = padded(graph, 0, width - graph.mask.shape[1])
        parts.append(wide._replace(neighbors=wide.neighbors + first, reverse=wide.reverse + first * width))
        first += len(graph.species)
    return Graph(*(torch.cat(tensors) for tensors in zip(*(part[:7] for part in parts))))


def moved(graph: Graph, displacement: Tensor, momenta: Tensor) -> Graph:
    """The graph with the same edges after mass-scaled ``displacement`` [N, 3] (Å·√u), with mass-scaled ``momenta``."""
    u = displacement / graph.masses.sqrt()[:, None]
    change = gather_rows(u, graph.neighbors) - u[:, None]
    edges = torch.where(graph.mask[..., None], graph.edge_vectors + change, graph.edge_vectors)
    return graph._replace(edge_vectors=edges, momenta=momenta)
