"""Pairs and graphs of the stored data: reversible pairs, neighbours, frames for metatrain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list

from flashmd_rs.reference.water import Water
from flashmd_train.data.frames import frames
from flashmd_train.dataset import Dataset, Pairs, Segments
from flashmd_train.graph import build_graph, padded


@pytest.fixture(scope="module")
def water(segments: Segments) -> tuple[Water, np.ndarray, np.ndarray]:
    reference = Water(64)
    return reference, segments.positions[0, 0].astype(float), segments.momenta[0, 0].astype(float)


EVERY = np.array([(0, s) for s in range(6)])


def test_time_reversed_pairs_are_real(data: Dataset, water) -> None:
    reference, _, _ = water
    pairs = Pairs(data, EVERY, 4.0, 6.0)
    batch = pairs.batch(EVERY[1:2], [1], np.array([True]), None)
    root = batch.graph.masses.sqrt()[:, None]
    q = data.files[0].positions[1, 1 + pairs.jumps[0]].astype(float)
    reference.set(q, (batch.graph.momenta * root).numpy().astype(float))
    reference.nve(4.0)
    q2, p2, _, _ = reference.get()
    assert np.abs((batch.displacement[0] / root).numpy() - (q2 - q)).max() < 2e-4
    assert np.abs((batch.momenta[0] * root).numpy() - p2).max() < 2e-3


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
    batch = Pairs(data, EVERY, 2.0, 6.0).batch(EVERY[[0, 2]], [0, 1], np.array([False, False]), None)
    alone = Pairs(data, EVERY, 2.0, 6.0).batch(EVERY[[2]], [1], np.array([False]), None).graph
    n, k = alone.mask.shape
    both = padded(batch.graph, 2, 3)
    assert torch.equal(batch.box, torch.arange(2).repeat_interleave(n))
    assert torch.equal(both.edge_vectors[n : 2 * n, :k][alone.mask], alone.edge_vectors[alone.mask])
    assert torch.equal(both.neighbors[n : 2 * n, :k][alone.mask] - n, alone.neighbors[alone.mask])
    back = both.edge_vectors.reshape(-1, 3)[both.reverse]
    assert torch.allclose(back, -both.edge_vectors)


def test_a_stride_between_frames_is_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Pairs(data, EVERY, 3.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 1 strides"):
        Pairs(data, EVERY, 16.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 5 strides"):
        Pairs(data, EVERY, 2.0, 6.0, strides=5)


def test_stored_forces_and_energies_belong_to_the_stored_positions(segments: Segments, water) -> None:
    reference, _, _ = water
    reference.set(segments.positions[3, 2].astype(float), segments.momenta[3, 2].astype(float))
    _, _, forces, energy = reference.get()
    assert np.abs(forces - segments.forces[3, 2]).max() < 5e-3
    assert abs(energy - segments.energy[3, 2]) < 5e-3


def test_frames_for_metatrain_follow_one_another(data_file: Path, segments: Segments) -> None:
    """Segments of 8 fs hold two strides of 4 fs; the end of one is the start of the next, told either way."""
    told, middles = list(frames(data_file, 4.0)), list(frames(data_file, 4.0, midpoint=True))
    assert len(told) == len(middles) == 2 * len(segments.positions)
    for k, (frame, middle) in enumerate(zip(told, middles)):
        for name, stored, at in (
            ("positions", segments.positions, middle.positions),
            ("momenta", segments.momenta, middle.get_momenta()),
        ):
            start, end = (stored[k // 2, 2 * (k % 2 + ahead)] for ahead in (0, 1))
            assert np.array_equal(frame.arrays[name], start)
            assert np.array_equal(frame.arrays[f"future_{name}"], end)
            half = 0.5 * middle.arrays[f"delta_{name}"]
            assert np.allclose(at - half, start, atol=1e-5)
            assert np.allclose(at + half, end, atol=1e-5)
    with pytest.raises(ValueError, match="got a stride of 3 fs"):
        next(frames(data_file, 3.0))
