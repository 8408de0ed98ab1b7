"""Activations, norms and attention with backward passes written by hand.

ONNX Runtime executes a traced backward pass operator by operator, each with one read and one write of memory, so the
cost is the number of operators. Each backward pass here starts from the inputs alone and repeats the forward pass
where it needs it: the runtime merges equal operators, and second derivatives, which training on forces needs, follow
by autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FromInputs(torch.autograd.Function):
    """A function whose backward pass needs only its inputs: tensors first, then settings that are not tensors."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))
        ctx.settings = tuple(x for x in inputs if not isinstance(x, Tensor))


class _Swish(_FromInputs):
    """y = x·s with s = σ(x), and y' = s (1 + x − y)."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(x)
        return gradient * (sigmoid * (x - x * sigmoid + 1))


class _Gate(_FromInputs):
    """y = v·s with s = σ(g); ∂y/∂v = s and ∂y/∂g = s (v − y)."""

    @staticmethod
    def forward(value: Tensor, gate: Tensor) -> Tensor:
        return value * torch.sigmoid(gate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        value, gate = ctx.saved_tensors
        sigmoid = torch.sigmoid(gate)
        passed = gradient * sigmoid
        return passed, passed * (value - value * sigmoid)


class _Center(torch.autograd.Function):
    """x − mean x; a symmetric linear map, so its own transpose."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Center.apply(gradient)


class _Normalize(_FromInputs):
    """y = x / r with r = √(mean x² + ε); the gradient g becomes (g − y mean(g y)) / r."""

    @staticmethod
    def forward(x: Tensor, epsilon: float) -> Tensor:
        return x / _root(x, epsilon)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,), (epsilon,) = ctx.saved_tensors, ctx.settings
        root = _root(x, epsilon)
        y = x / root
        return (gradient - y * (gradient * y).mean(-1, keepdim=True)) / root, None


def _root(x: Tensor, epsilon: float) -> Tensor:
    """√(mean x² + ε), [..., 1]; the last axis is added at the end, since sums of short rows are slow."""
    return torch.sqrt((x * x).mean(-1) + epsilon)[..., None]


class _SplitFirst(torch.autograd.Function):
    """Two slices, whose backward pass concatenates; that of plain slices pads both with zeros and adds."""

    @staticmethod
    def forward(rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows[:, 0], rows[:, 1:]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, first: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([first[:, None], rest], 1)


class _Attend(_FromInputs):
    """Softmax attention. With weights P, result Y and gradient G, the gradient of the scores is P (G V − Σ G·Y)."""

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> Tensor:
        return torch.bmm(_weights(queries, keys, bias, scale), values.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        (queries, keys, values, bias), (scale,) = ctx.saved_tensors, ctx.settings
        weights = _weights(queries, keys, bias, scale)
        attended = torch.bmm(weights, values.transpose(1, 2))
        scores = weights * (torch.bmm(gradient, values) - (gradient * attended).sum(-1, keepdim=True))
        return (
            torch.bmm(keys, scores.transpose(1, 2)) * scale,
            torch.bmm(queries, scores) * scale,
            torch.bmm(gradient.transpose(1, 2), weights),
            scores.sum(1, keepdim=True),
            None,
        )


def _weights(queries: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
    scores = torch.bmm(queries.transpose(1, 2), keys) * scale
    return torch.softmax(scores + bias, -1)


def swish(x: Tensor) -> Tensor:
    """x·σ(x), elementwise."""
    return _Swish.apply(x)


def gated(value: Tensor, gate: Tensor) -> Tensor:
    """value·σ(gate), elementwise."""
    return _Gate.apply(value, gate)


def centered(x: Tensor) -> Tensor:
    """x − mean x along the last axis."""
    return _Center.apply(x)


def normalized(x: Tensor, epsilon: float) -> Tensor:
    """x / √(mean x² + ε) along the last axis."""
    return _Normalize.apply(x, epsilon)


def split_first(rows: Tensor) -> tuple[Tensor, Tensor]:
    """First row of every atom, and the rest: [N, T, C] to [N, C] and [N, T − 1, C]."""
    return _SplitFirst.apply(rows)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, scale: float) -> Tensor:
    """softmax(scale · queriesᵀ keys + bias) valuesᵀ, all [N, H, D, T] with bias [N, 1, 1, T], to [N, H, T, D]."""
    heads = queries.shape[1]
    batch = [x.flatten(0, 1) for x in (queries, keys, values, bias.expand(-1, heads, -1, -1))]
    return _Attend.apply(*batch, scale).unflatten(0, (-1, heads))
