"""The stride of a model that moves atoms, and what such a model offers to training, export and calibration."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ase import units
from torch import Tensor

from flashmd_train.graph.nef import Graph

# Units of errors and scales: √(k_B · 300 K) of p/√m, √eV; and the time over which such a momentum makes a displacement
# of one unit, between a libration and a translation.
THERMAL_MOMENTUM = (300 * units.kB) ** 0.5
POSITION_TIME = 8.0 * units.fs


class Prediction(NamedTuple):
    """One stride of every atom.

    Attributes:
        displacement: mean of √m (q' − q) [N, 3], Å·√u.
        momenta: mean of p'/√m [N, 3], √eV.
        residual_scale: Cholesky factors L₁₁ (Å·√u), L₂₁, L₂₂ (√eV) of the stochastic noise of (displacement, momenta),
            the same along x, y, z [N, 3]; None of a deterministic model.
        last_features: what the last layer is linear in [N, M, V], which the uncertainty is made of; None where a model
            has no such layer.
    """

    displacement: Tensor
    momenta: Tensor
    residual_scale: Tensor | None = None
    last_features: Tensor | None = None


class StrideConfig(Protocol):
    """Settings that every such model has."""

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols, in the order of the data."""

    @property
    def stride_fs(self) -> float:
        """Stride, fs."""

    @property
    def cutoff_A(self) -> float:
        """Cutoff of the neighbours, Å."""


class Stride(Protocol):
    """A model that moves atoms by one stride: what it offers to training, export and calibration."""

    @property
    def config(self) -> StrideConfig:
        """Its settings."""

    def predict(self, graph: Graph) -> Prediction:
        """One stride from a graph whose edges reach the cutoff or further."""


class ScaledStride(Stride, Protocol):
    """A stride whose momenta are multiplied by one factor per species, ``momentum_scale`` [S]."""

    momentum_scale: Tensor
