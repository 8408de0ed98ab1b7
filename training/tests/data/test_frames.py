"""Frames for metatrain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flashmd_train.data.frames import frames
from flashmd_train.data.segments import Segments


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
