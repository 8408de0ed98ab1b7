"""The calibration of a direct model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import CUTOFF, EVERY

from flashmd_rs.reference.water import Water
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export import calibration
from flashmd_train.export.calibration import calibrate, free_run, one_stride_scale
from flashmd_train.graph.nef import Graph
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.stride import Prediction


class Watched(Dataset):
    """Remembers where the atoms of its last graph are."""

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        self.last = q, p
        return super().graph(file, q, p, cutoff)


class Faulty:
    """The reference's own stride, but momenta shrink by species, more so after a stride than from a frame of the data,
    and atoms end a bit uphill of where they belong."""

    def __init__(
        self, data: Watched, shrunk: tuple[float, float], later: tuple[float, float], uphill_A2_per_eV: float
    ) -> None:
        self.config = DirectConfig(stride_fs=2.0, cutoff_A=CUTOFF)
        self.momentum_scale = torch.ones(2)
        self.data, self.uphill = data, uphill_A2_per_eV
        self.shrunk, self.later = torch.tensor(shrunk), torch.tensor(later)
        self.reference = Water(64, density_g_per_cm3=data.files[0].density_g_per_cm3)

    def predict(self, graph: Graph) -> Prediction:
        q, p = self.data.last
        self.reference.context.setPositions(0.1 * q)
        self.reference.set_momenta(p)
        self.reference.nve(self.config.stride_fs)
        end, root = self.reference.get(), graph.masses.sqrt()[:, None]
        moved_A = end.positions - q - self.uphill * end.forces
        a_start = (self.data.files[0].positions == q.astype(np.float32)).all((2, 3)).any()
        factor = self.shrunk * self.momentum_scale * (1 if a_start else self.later)
        momenta = factor[graph.species.long(), None] * torch.tensor(end.momenta) / root
        return Prediction(torch.tensor(moved_A) * root, momenta)


def test_momentum_scales_restore_what_strides_lose(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one stride, of each species' Σ p²; over many, of energy and of equipartition too."""
    monkeypatch.setattr(calibration, "BALANCED_RUNS", 3)
    monkeypatch.setattr(calibration, "JACOBIAN_RUNS", 2)
    data = Watched([data_file])
    validation = StridePairs(data, EVERY[:2], 2.0, CUTOFF)
    faulty = Faulty(data, (0.99, 0.98), (0.998, 1.0), 4e-5)
    assert torch.allclose(one_stride_scale(faulty, validation), 1 / faulty.shrunk, atol=1e-4)

    def drifts(scale: torch.Tensor) -> np.ndarray:
        faulty.momentum_scale = scale
        return np.mean([free_run(faulty, validation, k, [faulty.reference]) for k in range(3)], axis=0)

    before = drifts(1 / faulty.shrunk)
    calibrate(faulty, validation, balance=True)
    after = drifts(faulty.momentum_scale)
    assert before[1] < -0.05
    assert (np.abs(after) < 0.2 * np.abs(before)).all()
    with pytest.raises(ValueError, match="train the model further"):
        calibrate(Faulty(data, (1.0, 1.0), (1.0, 1.0), float("nan")), validation, balance=True)
