"""Layers whose traced derivatives can be exported and run at any N and K.

PyTorch's own linear layer and SiLU keep the shapes they were traced with, or differentiate into operators without an
ONNX counterpart, and its RMS norm has none at opset 20. In training mode they are taken all the same: nothing is traced
there, and a fused operator passes over the numbers once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flashmd_train.backbones.compact import centered, gated, normalized, swish


class Linear(nn.Linear):
    """x Wᵀ + b as a product and a sum."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., fan_in] to [..., fan_out]."""
        if self.training:
            return super().forward(x)
        y = nn.functional.linear(x, self.weight)
        return y if self.bias is None else y + self.bias


class Swish(nn.Module):
    """x·σ(x) (SiLU); the derivative of PyTorch's fused operator has no ONNX counterpart."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return nn.functional.silu(x) if self.training else swish(x)


class RMSNorm(nn.Module):
    """x / √(mean x² + ε) times a weight; ε is that of 32-bit numbers, as in PyTorch's RMS norm."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        epsilon = torch.finfo(torch.float32).eps
        if self.training:
            return nn.functional.rms_norm(x, x.shape[-1:], self.weight, epsilon)
        return normalized(x, epsilon) * self.weight


class LayerNorm(nn.LayerNorm):
    """(x − mean) / √(variance + ε) times a weight plus a bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        if self.training:
            return super().forward(x)
        return normalized(centered(x), self.eps) * self.weight + self.bias


class Gated(Linear):
    """First half of x Wᵀ + b times the sigmoid of the second (PET's "SwiGLU"), with one matrix product for each."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(features, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[..., features] to [..., hidden]."""
        if self.training:
            value, gate = nn.functional.linear(x, self.weight, self.bias).chunk(2, -1)
            return value * torch.sigmoid(gate)
        halves = slice(None, self.out_features // 2), slice(self.out_features // 2, None)
        return gated(*(nn.functional.linear(x, self.weight[half]) + self.bias[half] for half in halves))


NORMS: dict[str, type[nn.Module]] = {"RMSNorm": RMSNorm, "LayerNorm": LayerNorm}


def feed_forward(features: int, hidden: int, activation: str) -> nn.Sequential:
    """features → hidden → features with one activation, ``"SwiGLU"`` or ``"SiLU"``."""
    if activation == "SwiGLU":  # nn.Identity keeps the names of the weights
        return nn.Sequential(Gated(features, hidden), nn.Identity(), Linear(hidden, features))
    return nn.Sequential(Linear(features, hidden), Swish(), Linear(hidden, features))
