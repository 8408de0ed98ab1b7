"""The direct model: backbone and prior assembled into the map of one stride."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from flashmd_train.backbones import BACKBONES
from flashmd_train.data.water import TIP3P_ANGLE, TIP3P_BOND
from flashmd_train.graph import Graph
from flashmd_train.prior import BondedFlow, FreeFlight

SPECIES = ("O", "H")


@dataclass
class DirectConfig:
    """Everything that fixes a direct model's shape; stored in checkpoints and in the provenance.

    ``inner_fs`` and ``lookahead_fs`` are the inner time steps of the prior's last flight and of the
    flights by which a staged backbone looks ahead.
    """

    stride_fs: float = 16.0
    cutoff_A: float = 6.0
    backbone: str = "staged"
    prior: str = "bonded"
    inner_fs: float = 0.8
    lookahead_fs: float = 2.0
    modes: int = 5
    options: dict = field(default_factory=dict)

    def dict(self) -> dict:
        """As plain JSON types."""
        return asdict(self)


class Direct(nn.Module):
    """(q, p) at t to (√m Δq, p'/√m) at t + stride."""

    def __init__(self, config: DirectConfig) -> None:
        super().__init__()
        self.config = config
        if config.prior == "bonded":
            self.prior: nn.Module = BondedFlow(config.stride_fs, config.inner_fs, TIP3P_BOND, TIP3P_ANGLE)
            self.lookahead: nn.Module = BondedFlow(config.stride_fs, config.lookahead_fs, TIP3P_BOND, TIP3P_ANGLE)
        elif config.prior == "free":
            self.lookahead = self.prior = FreeFlight(config.stride_fs, config.modes)
        else:
            raise ValueError(f"prior {config.prior!r} is not one of 'bonded', 'free'")
        if config.backbone not in BACKBONES:
            raise ValueError(f"backbone {config.backbone!r} is not one of {sorted(BACKBONES)}")
        self.backbone = BACKBONES[config.backbone](len(SPECIES), config.cutoff_A, modes=config.modes, **config.options)
        # Set after training: per species, what the mean of squares lost by regression to the mean.
        self.register_buffer("gain", torch.ones(len(SPECIES)))

    def forward(
        self,
        species: Tensor,
        momenta: Tensor,
        masses: Tensor,
        edge_vectors: Tensor,
        mask: Tensor,
        neighbors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``displacement`` [N,3] (Å·√u) and ``momenta_out`` [N,3] (√eV), as the contract has them."""
        distance2 = (edge_vectors * edge_vectors).sum(-1)
        mask = mask & (distance2 < self.config.cutoff_A**2)
        graph = Graph(species, momenta, masses, edge_vectors, mask, neighbors)
        bound = self.prior.bind(graph)
        modes = self.backbone(graph, self.lookahead, bound)
        u, v = self.prior.flow(graph, bound, modes, (1.0,))
        root = masses.sqrt()[:, None]
        gain = self.gain[species.long()][:, None]
        return root * u[:, 0], root * v[:, 0] * gain
