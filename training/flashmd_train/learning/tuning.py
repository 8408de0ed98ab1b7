"""Which weights of a model a training changes: all, its readouts alone, or low-rank adapters beside its products.

An adapter (LoRA, arXiv 2106.09685, eq. 3) adds B A to the matrix of a product, with B [out, r] zero at the start and
A [r, in] random. What is kept and exported is the sum, so a tuned model is as large and as fast as any other.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from flashmd_train.backbones.pet import PET

Tune = Literal["all", "heads", "adapters"]
_ORIGINAL, _ADAPTER = "parametrizations.weight.original", "parametrizations.weight.0."


class Adapter(nn.Module):
    """W + B A.

    Args:
        fan_out: rows of W.
        fan_in: columns of W.
        rank: r.
    """

    def __init__(self, fan_out: int, fan_in: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, fan_in) / fan_in**0.5)
        self.up = nn.Parameter(torch.zeros(fan_out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The sum, in the shape of the matrix [out, in]."""
        return weight + self.up @ self.down


def restrict(model: nn.Module, tune: Tune, rank: int) -> None:
    """Leave only those weights to training that ``tune`` names; adapters are added to all products of the trunk.

    Raises:
        ValueError: the model's network is not PET, whose readouts these are.
    """
    if tune == "all":
        return
    pets = [part for part in model.modules() if isinstance(part, PET)]
    if not pets:
        raise ValueError(f"tune: {tune} is for PET, whose readouts and trunk are apart; wanted tune: all")
    learning = [p for pet in pets for p in pet.outputs.parameters() if p.requires_grad]
    noise = getattr(model, "noise", None)
    learning += [] if noise is None else list(noise.parameters())
    model.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    for pet in pets:
        if tune == "adapters":
            for product in [part for part in _trunk(pet) if isinstance(part, nn.Linear)]:
                parametrize.register_parametrization(product, "weight", Adapter(*product.weight.shape, rank))


def merged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state in which adapters are added to their matrices."""
    found = {}
    for name, value in weights.items():
        owner, original, _ = name.partition(_ORIGINAL)
        if original:
            up, down = (weights[f"{owner}{_ADAPTER}{part}"] for part in ("up", "down"))
            found[f"{owner}weight"] = value + up @ down
        elif _ADAPTER not in name:
            found[name] = value
    return found


def _trunk(pet: PET) -> list[nn.Module]:
    """All parts of a PET but its readouts."""
    heads = set(pet.outputs.modules())
    return [part for part in pet.modules() if part not in heads]
