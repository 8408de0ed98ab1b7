"""Pairs of the stored data: reversible, refused between frames, with the forces of their positions."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import EVERY

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
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
