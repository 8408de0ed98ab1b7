"""The NEF graph (node, edge, feature): the inputs of the model contract as tensors.

N atoms, K slots for edges per atom; names, shapes and units are those of the contract.

================  ============  ======  ==================================================================
``species``       [N]                   index into the model's species
``momenta``       [N, 3]        √eV     p/√m, mass-scaled
``masses``        [N]           u
``edge_vectors``  [N, K, 3]     Å       from the atom to its neighbour
``mask``          [N, K]                True where a slot holds an edge
``neighbors``     [N, K]                the atom at the other end; a padded slot points at its own atom
``reverse``       [N, K]                flat index n·K + k of the edge back; a padded slot is its own reverse
``head``          [H]                   weights of the scalars of a model that has several
================  ============  ======  ==================================================================

Beside them a graph may know the bonds of its atoms (:mod:`.bonded`), which no network is given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from vesin import NeighborList

from flashmd_train.graph.bonded import BondedAtoms, join_bonded
from flashmd_train.graph.gather import gather_rows


class Graph(NamedTuple):
    """Inputs of one network run; the table above has shapes and units."""

    species: Tensor
    momenta: Tensor
    masses: Tensor
    edge_vectors: Tensor
    mask: Tensor
    neighbors: Tensor
    reverse: Tensor | None = None
    head: Tensor | None = None
    bonded: BondedAtoms | None = None

    def to(self, device: torch.device) -> Graph:
        """The graph on ``device``."""
        inputs = (None if x is None else x.to(device, non_blocking=True) for x in self[:8])
        bonded = None if self.bonded is None else BondedAtoms(*(x.to(device) for x in self.bonded))
        return Graph(*inputs, bonded)


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
    """Graph of one system; the slots of an atom are sorted by neighbour and shift.

    Args:
        positions: [A, 3] Å.
        momenta: [A, 3] √(eV·u).
        masses: [A] u.
        species: [A].
        cell: [3, 3] Å, rows are the vectors; an atom's own images within the cutoff are edges too.
        cutoff: Å.
        periodic: along which cell vectors.
        dtype: of the floating-point tensors.
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
    # Sorted by (j, i, −shift), edges come in the order of their reverse edges sorted by (i, j, shift).
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
    """The same graph with ``rows`` more atoms and ``slots`` more slots, all masked."""
    n, k = graph.mask.shape
    own = torch.arange(n + rows)[:, None].expand(-1, k + slots).clone()
    own[:n, :k] = graph.neighbors
    reverse = torch.arange((n + rows) * (k + slots)).view(n + rows, k + slots)
    reverse[:n, :k] = torch.where(graph.mask, graph.reverse // k * (k + slots) + graph.reverse % k, reverse[:n, :k])
    pad = nn.functional.pad
    bonded = graph.bonded
    if bonded is not None:
        bonded = bonded._replace(joined=pad(bonded.joined, (0, slots, 0, rows)))
    return Graph(
        pad(graph.species, (0, rows)),
        pad(graph.momenta, (0, 0, 0, rows)),
        pad(graph.masses, (0, rows), value=1.0),
        pad(graph.edge_vectors, (0, 0, 0, slots, 0, rows)),
        pad(graph.mask, (0, slots, 0, rows)),
        own,
        reverse,
        graph.head,
        bonded,
    )


def join(graphs: list[Graph]) -> Graph:
    """Graphs stacked along N, each as wide as the widest."""
    width = max(graph.mask.shape[1] for graph in graphs)
    parts, bonded, first = [], [], 0
    for graph in graphs:
        wide = padded(graph, 0, width - graph.mask.shape[1])
        parts.append(wide._replace(neighbors=wide.neighbors + first, reverse=wide.reverse + first * width))
        bonded += [] if wide.bonded is None else [wide.bonded]
        first += len(graph.species)
    joined = Graph(*(torch.cat(tensors) for tensors in zip(*(part[:7] for part in parts))))
    return joined._replace(bonded=join_bonded(bonded) if bonded else None)


def displaced(graph: Graph, displacement: Tensor, momenta: Tensor) -> Graph:
    """The graph after the atoms moved; which edges there are stays as it is.

    Args:
        graph: before.
        displacement: √m Δq [N, 3], Å·√u.
        momenta: p/√m after the move [N, 3], √eV.
    """
    u = displacement / graph.masses.sqrt()[:, None]
    change = gather_rows(u, graph.neighbors) - u[:, None]
    edges = torch.where(graph.mask[..., None], graph.edge_vectors + change, graph.edge_vectors)
    bonded = graph.bonded and graph.bonded._replace(vectors=graph.bonded.moved(u))
    return graph._replace(edge_vectors=edges, momenta=momenta, bonded=bonded)
