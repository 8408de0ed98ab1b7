"""The direct model: backbone, prior and heads assembled into the map of one stride."""

from __future__ import annotations

from typing import NamedTuple

import torch
from ase import units
from torch import Tensor, nn

from flashmd_rs.reference.water import TIP3P_ANGLE, TIP3P_BOND
from flashmd_train.backbones import BACKBONES
from flashmd_train.config import DirectConfig
from flashmd_train.graph import Graph
from flashmd_train.prior import BondedFlow, FreeFlight

WATER = ("O", "H")
# Momenta in thermal units of 300 K, and positions as momenta that act for this long: between a libration and a
# translation.
THERMAL_MOMENTUM = (300 * units.kB) ** 0.5
POSITION_TIME = 8.0 * units.fs
# exp of it is where the noise starts, in these units.
LOG_NOISE = -3.0


class Prediction(NamedTuple):
    """A stride: mean of √m Δq [N,3] (Å·√u) and of p'/√m [N,3] (√eV), the noise's factor [N,3].

    ``last`` [N, M, F] is what the last layer is linear in, by component.
    """

    displacement: Tensor
    momenta: Tensor
    residual_scale: Tensor | None
    last: Tensor


class Direct(nn.Module):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride."""

    def __init__(self, config: DirectConfig) -> None:
        super().__init__()
        self.config = config
        kinds, backbone = len(config.species), BACKBONES[config.backbone]
        if config.prior == "bonded":
            if config.species != WATER:
                raise ValueError(f"prior 'bonded' knows {WATER}, got {config.species}; use prior 'free'")
            self.prior: nn.Module = BondedFlow(config.stride_fs, config.inner_fs, TIP3P_BOND, TIP3P_ANGLE)
            self.lookahead = self.prior
            if backbone.looks_ahead:
                self.lookahead = BondedFlow(config.stride_fs, config.lookahead_fs, TIP3P_BOND, TIP3P_ANGLE)
        else:
            self.lookahead = self.prior = FreeFlight(config.stride_fs, config.modes)
        self.backbone = backbone(kinds, config.cutoff_A, modes=config.modes, **config.options)
        self.noise = nn.Linear(self.backbone.features + kinds, 3) if config.noise else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)
            with torch.no_grad():
                self.noise.bias.copy_(torch.tensor([LOG_NOISE, 0.0, LOG_NOISE]))
        # Set after training: per species, what the mean of squares lost by regression to the mean.
        self.register_buffer("gain", torch.ones(kinds))
        # Set after training: last-layer uncertainty, |R f| by species, times a factor per output.
        last = self.backbone.last_features
        self.register_buffer("doubt", torch.zeros(kinds, last, last))
        self.register_buffer("doubt_scale", torch.zeros(kinds, 2))

    def inside(self, edge_vectors: Tensor, mask: Tensor) -> Tensor:
        """Edges that count [N, K]: an edge at the cutoff is as good as none."""
        return mask & ((edge_vectors * edge_vectors).sum(-1) < self.config.cutoff_A**2)

    def predict(self, graph: Graph) -> Prediction:
        """One stride; edges beyond the cutoff are left out."""
        graph = graph._replace(mask=self.inside(graph.edge_vectors, graph.mask))
        bound = self.prior.bind(graph)
        modes, features, last = self.backbone(graph, self.lookahead, bound)
        u, v = self.prior.flow(graph, bound, modes, (1.0,))
        root = graph.masses.sqrt()[:, None]
        gain = self.gain[graph.species.long()][:, None]
        return Prediction(root * u[:, 0], root * v[:, 0] * gain, self._residual_scale(graph, features), last)

    def _residual_scale(self, graph: Graph, features: Tensor) -> Tensor | None:
        """Cholesky factors L₁₁ (Å·√u), L₂₁, L₂₂ (√eV) of the noise of (displacement, momenta), the same along x, y, z.

        It is read from features that it does not shape: what is not resolved is judged, not traded for the mean.
        """
        if self.noise is None:
            return None
        one_hot = nn.functional.one_hot(graph.species.long(), len(self.config.species)).to(features.dtype)
        a, b, c = self.noise(torch.cat([features.detach(), one_hot], -1)).unbind(-1)
        scales = (torch.exp(a) * POSITION_TIME, b, torch.exp(c))
        return THERMAL_MOMENTUM * torch.stack(scales, -1)

    def uncertainty(self, species: Tensor, last: Tensor) -> Tensor:
        """Standard deviations [N, 2] of a displacement and a momentum component, Å·√u and √eV."""
        doubts = self.doubt.unbind()
        squares = torch.stack([(last @ doubt).square().sum((1, 2)) for doubt in doubts], -1)
        one_hot = nn.functional.one_hot(species.long(), len(doubts)).to(squares.dtype)
        return torch.sqrt((squares * one_hot).sum(-1, keepdim=True)) * self.doubt_scale[species.long()]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what :meth:`forward` returns, as the contract has them."""
        names = ["displacement", "momenta_out"]
        if self.noise is not None:
            names.append("residual_scale")
        if bool(self.doubt_scale.any()):
            names.append("uncertainty")
        return tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The contract's inputs, in the order of :class:`Graph`, to its outputs, in that of :attr:`outputs`."""
        graph = Graph(*inputs)
        stride = self.predict(graph)
        every = {"displacement": stride.displacement, "momenta_out": stride.momenta}
        if self.noise is not None:
            every["residual_scale"] = stride.residual_scale
        if "uncertainty" in self.outputs:
            every["uncertainty"] = self.uncertainty(graph.species, stride.last)
        return tuple(every[name] for name in self.outputs)
