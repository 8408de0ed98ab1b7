"""Force pre-training: the linear part of a staged backbone by least squares on reference forces.

Reference forces, less what the prior knows, at the frames of a stride give the slow force's polynomial
coefficients; the pair fields are linear in their weights, so a ridge regression per species finds
them at once, and gradient descent starts a few per cent from the answer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flashmd_train.backbones.staged import BySpecies, Staged
from flashmd_train.dataset import Pairs
from flashmd_train.direct import Direct
from flashmd_train.graph import Graph
from flashmd_train.prior import legendre

RIDGE = 1e-6


class _Ridge:
    """Normal equations of rows [N, 3, C] against targets [N, P, 3], one set per species."""

    def __init__(self, kinds: int, fan_in: int, fan_out: int) -> None:
        self.xx = torch.zeros(kinds, fan_in, fan_in, dtype=torch.float64)
        self.xy = torch.zeros(kinds, fan_in, fan_out, dtype=torch.float64)
        self.rows = torch.zeros(kinds, dtype=torch.float64)

    def add(self, field: Tensor, target: Tensor, species: Tensor) -> None:
        for s in range(len(self.rows)):
            x = field[species == s].flatten(0, 1).double()
            y = target[species == s].transpose(1, 2).flatten(0, 1).double()
            self.xx[s] += x.T @ x
            self.xy[s] += x.T @ y
            self.rows[s] += len(x)

    def solve_into(self, layer: BySpecies, *siblings: BySpecies) -> None:
        """Set ``layer`` to the solution and the input whitening of it and of ``siblings``."""
        eye = torch.eye(self.xx.shape[1], dtype=torch.float64)
        mean = self.xx.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        # XXᵀ + ridge = L Lᵀ, whitened inputs x L⁻ᵀ √rows have unit variance.
        root = torch.linalg.cholesky(self.xx + RIDGE * mean * eye)
        scale = self.rows.sqrt()[:, None, None]
        whiten = torch.linalg.solve_triangular(root.transpose(1, 2), eye * scale, upper=True)
        weight = torch.linalg.solve_triangular(root, self.xy, upper=False) / scale
        layer.weight.copy_(weight)
        for each in (layer, *siblings):
            each.whiten.copy_(whiten)


def slow_modes(model: Direct, graph: Graph, displacement: Tensor, forces: Tensor) -> Tensor:
    """Legendre coefficients [N, T, 3] of the slow force through the T frames of a stride (T ≤ modes kept)."""
    prior = model.prior
    bound = prior.bind(graph)
    frames = displacement.shape[1]
    slow = [forces[:, k] - prior.fast_forces(bound, displacement[:, k]) for k in range(frames)]
    table = legendre(np.linspace(0, 1, frames), frames)
    return torch.einsum("tnx,tp->npx", torch.stack(slow), torch.linalg.inv(table.T).T)


def _fit(value: Tensor, modes: int) -> Tensor:
    return torch.nn.functional.pad(value[:, :modes], (0, 0, 0, max(0, modes - value.shape[1])))


@torch.no_grad()
def fit_linear(model: Direct, pairs: Pairs, boxes: int, rng: np.random.Generator) -> None:
    """Set the linear weights of both stages of ``model.backbone`` from ``boxes`` boxes."""
    net: Staged = model.backbone
    kinds = len(model.config.species)
    picks = rng.integers(len(pairs.index), size=boxes)
    draws = [(int(k), int(rng.integers(pairs.starts[pairs.index[k, 0]]))) for k in picks]
    for stage, mixer in enumerate((net.first, net.last)):
        layer = mixer.linear
        ridge = _Ridge(kinds, layer.weight.shape[1], layer.fan_out)
        for k, start in draws:
            graph = pairs.batch(pairs.index[k : k + 1], [start], np.array([False]), None).graph
            graph = graph._replace(mask=model.inside(graph.edge_vectors, graph.mask))
            bound = model.prior.bind(graph)
            target = slow_modes(model, graph, *pairs.forces(k, start))
            one_hot, extra, field, ahead = net.observe(graph, model.lookahead, bound)
            if stage == 1:
                modes, *_ = net.first(field, extra, one_hot)
                field = ahead(modes)
                target = _fit(target, net.modes) - _fit(modes, net.modes)
            ridge.add(field, _fit(target, layer.fan_out), graph.species)
        ridge.solve_into(layer, mixer.down)
        if stage == 0:
            _start_hop(net, kinds)


def _start_hop(net: Staged, kinds: int) -> None:
    """Begin the hop with what surely matters at a neighbour: its slow force and rate, its bonds, its charges.

    The field on an atom comes in whitened channels, the partner vectors as they are.
    """
    first, vectors = net.first.linear, net.hop.vectors
    if vectors.fan_out < 4 + kinds:
        raise ValueError(f"got hop_vectors={vectors.fan_out}, pre-training wants at least {4 + kinds}")
    fan_in, radial = first.weight.shape[1], net.field.radial
    raw = torch.zeros(kinds, vectors.weight.shape[1], vectors.fan_out)
    raw[:, :fan_in, :2] = first.whiten @ first.weight[..., :2]
    raw[:, fan_in, 2] = raw[:, fan_in + 1, 3] = 1.0
    for s in range(kinds):
        raw[:, 3 * s * radial : (3 * s + 1) * radial, 4 + s] = 0.1
    vectors.whiten[:, :fan_in, :fan_in] = first.whiten
    vectors.weight.copy_(torch.linalg.solve(vectors.whiten, raw))
