"""Pairs of the stored data: reversible, refused between frames, with the forces of their positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import CUTOFF, EVERY

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import draw_force_batch
from flashmd_train.data.pairs import StridePairs, random_rotations
from flashmd_train.data.sampler import Sampler
from flashmd_train.data.segments import Segments


@pytest.fixture(scope="module")
def water(water64: System, segments: Segments) -> tuple[Reference, np.ndarray, np.ndarray]:
    reference = water64.reference()
    return reference, segments.positions[0, 0].astype(float), segments.momenta[0, 0].astype(float)


def test_time_reversed_pairs_are_real(data: Dataset, water) -> None:
    reference, _, _ = water
    pairs = StridePairs(data, EVERY, 4.0, 6.0)
    batch = pairs.batch(EVERY[1:2], [1], np.array([True]), None)
    root = batch.graph.masses.sqrt()[:, None]
    q = data.files[0].positions[1, 1 + pairs.jumps[0]].astype(float)
    reference.set(q, (batch.graph.momenta * root).numpy().astype(float))
    reference.nve(4.0)
    q2, p2, _, _ = reference.get()
    assert np.abs((batch.displacement[0] / root).numpy() - (q2 - q)).max() < 2e-4
    assert np.abs((batch.momenta[0] * root).numpy() - p2).max() < 2e-3


def test_a_stride_between_frames_is_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        StridePairs(data, EVERY, 3.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 1 strides"):
        StridePairs(data, EVERY, 16.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 5 strides"):
        StridePairs(data, EVERY, 2.0, 6.0, strides=5)


def test_stored_forces_and_energies_belong_to_the_stored_positions(segments: Segments, water) -> None:
    reference, _, _ = water
    reference.set(segments.positions[3, 2].astype(float), segments.momenta[3, 2].astype(float))
    _, _, forces, energy = reference.get()
    assert np.abs(forces - segments.forces[3, 2]).max() < 5e-3
    assert abs(energy - segments.energy[3, 2]) < 5e-3


def test_each_box_is_turned_on_its_own(data: Dataset) -> None:
    """By an orthogonal matrix of its own; what a batch holds of a box turns with it."""
    plain, turned = (StridePairs(data, EVERY, 2.0, CUTOFF, augment=augment) for augment in (False, True))
    picks, starts, reverse = EVERY[:3], [0, 1, 0], np.array([False, True, False])
    before, after = (pairs.batch(picks, starts, reverse, np.random.default_rng(3)) for pairs in (plain, turned))
    matrices = []
    for box in range(3):
        rows = before.box == box
        mask = before.graph.mask[rows]
        a, b = (batch.graph.edge_vectors[rows][mask].double() for batch in (before, after))
        matrix = torch.linalg.lstsq(a, b).solution.T.float()
        assert torch.allclose(matrix @ matrix.T, torch.eye(3), atol=1e-5)
        vectors = [(x.graph.momenta[rows], x.displacement[0, rows], x.momenta[0, rows]) for x in (before, after)]
        for x, y in zip(*vectors):
            assert torch.allclose(x @ matrix.T, y, atol=1e-5)
        matrices.append(matrix)
    assert not torch.allclose(matrices[0], matrices[1], atol=0.1)


def test_forces_turn_with_their_box(data: Dataset) -> None:
    batch = draw_force_batch(Sampler(data, EVERY, CUTOFF), np.random.default_rng(0), 2)
    turns = random_rotations(np.random.default_rng(1), 2)
    after = batch.rotated(turns)
    for box in range(2):
        rows = batch.box == box
        for name in ("positions", "forces"):
            x, y = (getattr(b, name)[rows] for b in (batch, after))
            assert torch.allclose(x @ turns[box].T, y, atol=1e-4)
        assert torch.allclose(batch.graph.edge_vectors[rows] @ turns[box].T, after.graph.edge_vectors[rows], atol=1e-5)
