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


class _PETVectors(nn.Module):
    """Vectors of each atom from a PET. Rotational symmetry is learned from augmented data.

    Args:
        species: number of species.
        cutoff: Å.
        orders: vectors per atom.
        readouts: among which they are divided.
        options: of :func:`~flashmd_train.backbones.pet_sizes.pet_config`.

    Raises:
        ValueError: no such preset or setting, or a value that it cannot have.
    """

    equivariant = False
    looks_ahead = False

    def __init__(self, species: int, cutoff: float, orders: int, readouts: int, options: dict[str, Any]) -> None:
        super().__init__()
        config = pet_config(species, cutoff, options)
        self.orders = orders
        self.pet = PET(config, readouts * [3 * orders // readouts])
        self.reach = config.reach
        heads = sum(len(heads) for heads in self.pet.outputs)
        self.features = self.last_features = heads * (2 * config.head_features + 1)

    def forward(self, graph: Graph, prior: Prior, bound: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors [N, P, 3], features [N, F], and these as the last layer takes them [N, 1, F]."""
        momenta = graph.momenta * graph.masses.sqrt()[:, None]
        last = self.pet.last_features(graph._replace(momenta=momenta))
        features = torch.cat([part for of in last for part in of], -1)
        return torch.cat(self.pet.read(last), -1).unflatten(-1, (self.orders, 3)), features, features[:, None]


class PETForces(_PETVectors):
    """Legendre coefficients of the slow force in eV/Å, from one readout."""

    def __init__(self, species: int, cutoff: float, orders: int = 5, **options: Any) -> None:
        super().__init__(species, cutoff, orders, 1, options)
        # The slow force starts at zero: a random one would be many eV/Å.
        for head in self.pet.outputs[0]:
            for last in (head.node[-1], head.edge[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)


class PETEnds(_PETVectors):
    """Published FlashMD's two vectors, q' − q and p' or p' − p, from readouts of their own."""

    def __init__(self, species: int, cutoff: float, orders: int = 2, **options: Any) -> None:
        super().__init__(species, cutoff, orders, orders, options)
