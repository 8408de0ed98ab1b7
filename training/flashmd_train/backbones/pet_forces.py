"""PET as the network of direct models that are trained here.

FlashMD's PET gives q' − q and p' (arXiv 2505.19350). With two or more Legendre coefficients of the slow force and a
prior of free flight both are free as well; what is learned is their difference from free flight, or, with the other
prior, from what bonds alone would do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.backbone import Prior
from flashmd_train.backbones.pet import PET, PETConfig
from flashmd_train.graph.nef import Graph

PRESETS: dict[str, dict[str, int]] = {
    "published": {},
    "small": dict(features=64, node_features=256, head_features=64, hidden=128, heads=4),
    "tiny": dict(features=32, node_features=64, head_features=32, hidden=64, heads=4, blocks=1, layers=2),
}
"""Sizes by name; "published" is metatrain's FlashMD."""

GIVEN = {"species", "cutoff_A", "sees_momenta"}
"""Settings of a PET that a direct model's own say."""


class PETForces(nn.Module):
    """Legendre coefficients of the slow force from a PET. Rotational symmetry is learned from augmented data.

    Args:
        species: number of species.
        cutoff: Å.
        orders: Legendre coefficients.
        preset: of :data:`PRESETS`.
        settings: of :class:`PETConfig`, where they are not the preset's.

    Raises:
        ValueError: no such preset or setting, or a value that it cannot have.
    """

    equivariant = False
    looks_ahead = False

    def __init__(
        self, species: int, cutoff: float, orders: int = 5, preset: str = "published", **settings: Any
    ) -> None:
        super().__init__()
        if str(preset) not in PRESETS:
            raise ValueError(f"got model.options.preset: {preset!r}, wanted one of {', '.join(PRESETS)}")
        if given := GIVEN & settings.keys():
            raise ValueError(f"got model.options {', '.join(sorted(given))}, which follow from model and data")
        config = PETConfig(species=species, cutoff_A=cutoff, **(PRESETS[preset] | settings))
        self.orders = orders
        self.pet = PET(config, [3 * orders])
        self.reach = config.reach
        heads = self.pet.outputs[0]
        self.features = self.last_features = len(heads) * (2 * config.head_features + 1)
        # The slow force starts at zero: a random one would be many eV/Å.
        for head in heads:
            for last in (head.node[-1], head.edge[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3] in eV/Å, features [N, F], and these as the last layer takes them [N, 1, F]."""
        momenta = graph.momenta * graph.masses.sqrt()[:, None]
        last = self.pet.last_features(graph._replace(momenta=momenta))
        (coefficients,) = self.pet.read(last)
        features = torch.cat(last[0], -1)
        return coefficients.unflatten(-1, (self.orders, 3)), features, features[:, None]
