"""Backward passes written by hand against autograd on the plain formulas, in 64 bits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from flashmd_train.backbones.compact import attend, centered, gated, normalized, split_first, swish


def plain_attention(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    return torch.softmax(0.3 * queries.mT @ keys + bias, -1) @ values.mT


CASES: dict[str, tuple[Callable, Callable, list[tuple[int, ...]]]] = {
    "swish": (swish, torch.nn.functional.silu, [(4, 3, 5)]),
    "gated": (gated, lambda v, g: v * torch.sigmoid(g), [(4, 3, 5)] * 2),
    "centered": (centered, lambda x: x - x.mean(-1, keepdim=True), [(4, 3, 5)]),
    "normalized": (
        lambda x: normalized(x, 1e-3),
        lambda x: x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-3),
        [(4, 3, 5)],
    ),
    "split_first": (
        lambda x: (split_first(x)[0] ** 2)[:, None] * split_first(x)[1],
        lambda x: x[:, :1] ** 2 * x[:, 1:],
        [(4, 3, 5)],
    ),
    "attend": (
        lambda *x: attend(*x, 0.3),
        plain_attention,
        [(4, 2, 3, 5)] * 3 + [(4, 1, 1, 5)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_first_and_second_derivatives_are_those_of_autograd(name: str) -> None:
    compact, plain, shapes = CASES[name]
    generator = torch.Generator().manual_seed(0)
    random = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    if name == "attend":
        random[-1][:, ..., -1] = -1e9  # a masked edge
    inputs = [x.requires_grad_() for x in random]

    def derivatives(function: Callable) -> list[Tensor]:
        y = function(*inputs)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        first = torch.autograd.grad((y * weight).sum() + (y**3).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum((g * g * g).sum() + g.sum() for g in first), inputs)
        return [y, *first, *second]

    for got, wanted in zip(derivatives(compact), derivatives(plain)):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
