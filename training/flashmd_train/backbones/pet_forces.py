"""PET as the network of direct models that are trained here.

FlashMD's PET gives q' − q and p' (arXiv 2505.19350), as it does here with the prior ``none``. With another prior it
gives Legendre coefficients of the slow force: two leave both as free, and what is learned is their difference from free
flight, or from what bonds alone would do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.backbones.backbone import Prior
from flashmd_train.backbones.pet import PET
from flashmd_train.backbones.pet_sizes import pet_config
from flashmd_train.graph.nef import Graph


class PETForces(nn.Module):
    """Vectors from a PET, one readout each. Rotational symmetry is learned from augmented data.

    Args:
        species: number of species.
        cutoff: Å.
        orders: vectors per atom: Legendre coefficients of the slow force, or what the prior takes in their place.
        options: of :func:`~flashmd_train.backbones.pet_sizes.pet_config`.

    Raises:
        ValueError: no such preset or setting, or a value that it cannot have.
    """

    equivariant = False
    looks_ahead = False

    def __init__(self, species: int, cutoff: float, orders: int = 5, **options: Any) -> None:
        super().__init__()
        config = pet_config(species, cutoff, options)
        self.pet = PET(config, [3] * orders)
        self.reach = config.reach
        readouts = sum(len(heads) for heads in self.pet.outputs)
        self.features = self.last_features = readouts * (2 * config.head_features + 1)

    def begin_at_zero(self) -> None:
        """Make all vectors zero, as those of the other backbones are: a random slow force would be many eV/Å."""
        for head in (head for heads in self.pet.outputs for head in heads):
            for last in (head.node[-1], head.edge[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Coefficients [N, P, 3] in eV/Å, features [N, F], and these as the last layer takes them [N, 1, F]."""
        momenta = graph.momenta * graph.masses.sqrt()[:, None]
        last = self.pet.last_features(graph._replace(momenta=momenta))
        features = torch.cat([part for of in last for part in of], -1)
        return torch.stack(self.pet.read(last), 1), features, features[:, None]
