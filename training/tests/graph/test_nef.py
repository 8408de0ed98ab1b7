"""The graph of a structure: its edges, their reverse, joined and padded graphs."""

from __future__ import annotations

import numpy as np
import torch
from ase.neighborlist import primitive_neighbor_list
from small_models import EVERY

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.graph.nef import build_graph, padded


def test_graph_holds_the_pairs_that_ase_finds() -> None:
    """Triclinic, smaller than the cutoff, open along one axis; an edge and the edge back are opposite."""
    rng = np.random.default_rng(2)
    cell = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.3, -0.8, 30.0]])
    q, cutoff, periodic = rng.random((9, 3)) @ np.diag([4.0, 5.0, 9.0]), 6.0, (True, True, False)
    graph = build_graph(q, np.zeros((9, 3)), np.ones(9), np.zeros(9, int), cell, cutoff, periodic)
    i, j, shift, vector = primitive_neighbor_list("ijSD", periodic, cell, q, cutoff)
    wanted = sorted(zip(i, j, *np.round(vector.T, 4) + 0.0))
    rows, slots = (index.numpy() for index in torch.nonzero(graph.mask, as_tuple=True))
    found = graph.edge_vectors[rows, slots].double().numpy()
    got = sorted(zip(rows, graph.neighbors[rows, slots].numpy(), *np.round(found.T, 4) + 0.0))
    assert len(got) == len(wanted) == len(shift)
    assert np.abs(np.array(got) - np.array(wanted)).max() < 2e-4
    back = graph.edge_vectors.reshape(-1, 3)[graph.reverse]
    assert torch.allclose(back[graph.mask], -graph.edge_vectors[graph.mask])
    own = torch.arange(graph.mask.numel()).view_as(graph.mask)
    assert torch.equal(graph.reverse.reshape(-1)[graph.reverse.reshape(-1)].view_as(own), own)
    assert torch.equal(graph.reverse[~graph.mask], own[~graph.mask])


def test_joined_and_padded_graphs_are_the_same_graphs(data: Dataset) -> None:
    batch = StridePairs(data, EVERY, 2.0, 6.0).batch(EVERY[[0, 2]], [0, 1], np.array([False, False]), None)
    alone = StridePairs(data, EVERY, 2.0, 6.0).batch(EVERY[[2]], [1], np.array([False]), None).graph
    n, k = alone.mask.shape
    both = padded(batch.graph, 2, 3)
    assert torch.equal(batch.box, torch.arange(2).repeat_interleave(n))
    assert torch.equal(both.edge_vectors[n : 2 * n, :k][alone.mask], alone.edge_vectors[alone.mask])
    assert torch.equal(both.neighbors[n : 2 * n, :k][alone.mask] - n, alone.neighbors[alone.mask])
    back = both.edge_vectors.reshape(-1, 3)[both.reverse]
    assert torch.allclose(back, -both.edge_vectors)
