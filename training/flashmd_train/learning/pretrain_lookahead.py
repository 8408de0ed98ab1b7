"""Force pre-training: the linear part of a LookaheadNet by least squares on reference forces.

Reference forces less the known ones, at the frames of a stride, give the Legendre coefficients of the slow force. The
pair fields are linear in their weights, so a ridge regression per species finds them at once, and gradient descent
starts a few per cent from the answer.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from flashmd_train.backbones.lookahead import LookaheadNet
from flashmd_train.data.dataset import stratified
from flashmd_train.data.pairs import Batch, StridePairs
from flashmd_train.graph.nef import Graph
from flashmd_train.learning.ridge import SpeciesRidge
from flashmd_train.models.direct import Direct
from flashmd_train.models.prior import legendre


def slow_coefficients(model: Direct, graph: Graph, displacement: Tensor, forces: Tensor) -> Tensor:
    """Legendre coefficients [N, T, 3] (eV/Å) of the slow force through the T frames of a stride.

    Args:
        model: whose prior says which forces are known.
        graph: at the start.
        displacement: since the start [N, T, 3], Å.
        forces: of the reference [N, T, 3], eV/Å.
    """
    prior = model.prior
    bound = prior.bind(graph)
    frames = displacement.shape[1]
    slow = [forces[:, k] - prior.known_forces(bound, displacement[:, k]) for k in range(frames)]
    table = legendre(np.linspace(0, 1, frames), frames)
    return torch.einsum("tnx,tp->npx", torch.stack(slow), torch.linalg.inv(table.T).T)


def implied_coefficients(model: Direct, graph: Graph, batch: Batch) -> Tensor:
    """The first two coefficients [N, 2, 3] (eV/Å), from both ends of a stride where no forces are known.

    A force F₀ + F₁ (2s/t − 1) through a stride changes the velocity by F₀ t/m and the position by (F₀/2 − F₁/6) t²/m,
    beyond what the prior does without a slow force. Exact for free atoms.
    """
    mass, t = graph.masses[:, None], model.prior.stride
    zeros = graph.momenta.new_zeros(len(mass), 2, 3)
    u, v = model.prior.flow(graph, model.prior.bind(graph), zeros, (1.0,))
    mean = mass * (batch.momenta[0] / mass.sqrt() - v[:, 0]) / t
    moved = mass * (batch.displacement[0] / mass.sqrt() - u[:, 0]) / t**2
    return torch.stack([mean, 3 * mean - 6 * moved], 1)


def _with_orders(coefficients: Tensor, orders: int) -> Tensor:
    """The first ``orders`` coefficients, padded with zeros: [N, T, 3] to [N, orders, 3]."""
    missing = max(0, orders - coefficients.shape[1])
    return torch.nn.functional.pad(coefficients[:, :orders], (0, 0, 0, missing))


@torch.no_grad()
def fit_linear(model: Direct, pairs: StridePairs, boxes: int, rng: np.random.Generator) -> None:
    """Set the linear weights of both stages of ``model.backbone``, a LookaheadNet, from about ``boxes`` boxes.

    Each file gives its share of them; one without forces, those that its momenta and positions imply.
    """
    net: LookaheadNet = model.backbone
    kinds = len(model.config.species)
    picks = stratified(pairs.index, boxes, rng)
    draws = [(int(k), int(rng.integers(pairs.starts[pairs.index[k, 0]]))) for k in picks]
    for stage, readout in enumerate((net.first, net.last)):
        layer = readout.linear
        ridge = SpeciesRidge(kinds, layer.weight.shape[1], layer.fan_out)
        for k, start in draws:
            batch = pairs.batch(pairs.index[k : k + 1], [start], np.array([False]), None)
            graph = batch.graph._replace(mask=model.inside(batch.graph.edge_vectors, batch.graph.mask))
            bound = model.prior.bind(graph)
            displacement, forces = pairs.forces(k, start)
            if forces is None:
                target = implied_coefficients(model, graph, batch)
            else:
                target = slow_coefficients(model, graph, displacement, forces)
            one_hot, extra, field, second_stage = net.stages(graph, model.lookahead, bound)
            if stage == 1:
                proposed, *_ = net.first(field, extra, one_hot)
                field = second_stage(proposed)
                target = _with_orders(target, net.orders) - _with_orders(proposed, net.orders)
            ridge.add(field, _with_orders(target, layer.fan_out), graph.species)
        ridge.solve_into(layer, readout.down)
        if stage == 0:
            _start_messages(net, kinds)


def _start_messages(net: LookaheadNet, kinds: int) -> None:
    """Begin message passing with the vectors that matter at a neighbour.

    They are its slow force and that force's rate, its two bonds, and for each species the sum of the unit vectors to
    the neighbours of that species. The field of an atom comes in whitened channels, its partner vectors as they are.
    """
    first, vectors = net.first.linear, net.messages.vectors
    if vectors.fan_out < 4 + kinds:
        raise ValueError(f"got message_vectors={vectors.fan_out}, pre-training wants at least {4 + kinds}")
    fan_in, radial = first.weight.shape[1], net.field.radial
    raw = torch.zeros(kinds, vectors.weight.shape[1], vectors.fan_out)
    raw[:, :fan_in, :2] = first.whiten @ first.weight[..., :2]
    raw[:, fan_in, 2] = raw[:, fan_in + 1, 3] = 1.0
    for s in range(kinds):
        raw[:, 3 * s * radial : (3 * s + 1) * radial, 4 + s] = 0.1
    vectors.whiten[:, :fan_in, :fan_in] = first.whiten
    vectors.weight.copy_(torch.linalg.solve(vectors.whiten, raw))
