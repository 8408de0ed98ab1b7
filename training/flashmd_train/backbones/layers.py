"""Layers that trace and export with their derivatives at any N and K.

PyTorch's own linear layer and SiLU fix the shapes they were traced with, or differentiate into
operators without an ONNX counterpart, and its RMS norm has none at opset 20.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """x Wᵀ + b, the product and the sum apart."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., fan_in] to [..., fan_out]."""
        y = nn.functional.linear(x, self.weight)
        return y if self.bias is None else y + self.bias


class Swish(nn.Module):
    """x·σ(x) spelled out: the fused operator's derivative has no ONNX counterpart."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(x)


class RMSNorm(nn.Module):
    """x / √(mean x² + ε), scaled; ε is f32's own, as in PyTorch's."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        mean = (x * x).mean(-1, keepdim=True)
        return x / torch.sqrt(mean + torch.finfo(torch.float32).eps) * self.weight


class LayerNorm(nn.LayerNorm):
    """(x − mean) / √(variance + ε), scaled and shifted."""

    def forward(self, x: Tensor) -> Tensor:
        """Along the last axis."""
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


class Gated(nn.Module):
    """The halves of x, one times the sigmoid of the other (PET's "SwiGLU")."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2 F] to [..., F]."""
        value, gate = x.chunk(2, -1)
        return value * torch.sigmoid(gate)


NORMS: dict[str, type[nn.Module]] = {"RMSNorm": RMSNorm, "LayerNorm": LayerNorm}


def feed_forward(features: int, hidden: int, activation: str) -> nn.Sequential:
    """features → hidden → features with one activation, ``"SwiGLU"`` or ``"SiLU"``."""
    if activation == "SwiGLU":
        return nn.Sequential(Linear(features, 2 * hidden), Gated(), Linear(hidden, features))
    return nn.Sequential(Linear(features, hidden), Swish(), Linear(hidden, features))
