"""The prior: the map of a stride under given slow forces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.units import fs

from flashmd_train.graph.nef import build_graph
from flashmd_train.graph.structures import water_graph
from flashmd_train.models.bonded import TIP3P_ANGLE, TIP3P_BOND
from flashmd_train.models.prior import BondedFlow, FreeFlight, legendre

MASSES = (15.99943, 1.007947)


def bonded_energy(q: np.ndarray) -> float:
    """Bonds and angles of waters [W, 3, 3], straight from the force field's formula."""
    a, b = q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]
    la, lb = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    angle = np.arccos((a * b).sum(1) / (la * lb))
    (k, r0), (ka, t0) = TIP3P_BOND, TIP3P_ANGLE
    return float(0.5 * k * ((la - r0) ** 2 + (lb - r0) ** 2).sum() + 0.5 * ka * ((angle - t0) ** 2).sum())


def numerical_forces(q: np.ndarray, h: float = 1e-5) -> np.ndarray:
    forces = np.zeros_like(q)
    for at in np.ndindex(q.shape[1:]):
        for w in range(len(q)):
            ends = []
            for sign in (1, -1):
                moved = q[w : w + 1].copy()
                moved[(0, *at)] += sign * h
                ends.append(bonded_energy(moved))
            forces[(w, *at)] = -(ends[0] - ends[1]) / (2 * h)
    return forces


def test_bonded_flow_is_velocity_verlet_of_the_force_fields_bonds() -> None:
    graph = water_graph(2, 3.0, 1, MASSES)
    m = graph.masses.double().numpy().reshape(-1, 3, 1)
    v = (graph.momenta / graph.masses.sqrt()[:, None]).double().numpy().reshape(-1, 3, 3)
    flow = BondedFlow(4.0, 0.25)
    bound = flow.bind(graph)
    assert bool((bound.bonded == 1).all())
    u, velocity = flow.flow(graph, bound, torch.zeros(len(graph.species), 1, 3), (0.5, 1.0))
    o_to_h = bound.bonds.reshape(-1, 3, 2, 3)[:, 1:, 0].double().numpy()  # each hydrogen's own bond
    q = np.concatenate([np.zeros((len(o_to_h), 1, 3)), o_to_h], 1)
    start, h = q.copy(), 0.25 * fs
    f = numerical_forces(q)
    for step in range(1, 17):
        v = v + 0.5 * h * f / m
        q = q + h * v
        f = numerical_forces(q)
        v = v + 0.5 * h * f / m
        if step in (8, 16):
            at = {8: 0, 16: 1}[step]
            assert np.abs(u[:, at].detach().numpy().reshape(q.shape) - (q - start)).max() < 2e-4
            assert np.abs(velocity[:, at].detach().numpy().reshape(q.shape) - v).max() < 2e-3


def test_bonded_flow_conserves_the_momentum_of_each_molecule_up_to_the_slow_force() -> None:
    graph = water_graph(2, 3.0, 2, MASSES)
    flow = BondedFlow(8.0, 0.5)
    coefficients = 0.3 * torch.randn(len(graph.species), 4, 3)
    _, velocity = flow.flow(graph, flow.bind(graph), coefficients, (1.0,))
    mass = graph.masses[:, None]
    before = (graph.momenta * mass.sqrt()).reshape(-1, 3, 3).sum(1)
    after = (velocity[:, 0] * mass).reshape(-1, 3, 3).sum(1)
    weights = legendre(np.arange(17) / 16, 4)
    weights[:, [0, -1]] *= 0.5
    impulse = torch.einsum("p,npx->nx", weights.sum(1) * 0.5 * fs, coefficients).reshape(-1, 3, 3).sum(1)
    assert torch.allclose(after, before + impulse, atol=1e-4)


def test_free_flight_integrates_polynomial_forces_exactly() -> None:
    graph = water_graph(2, 3.0, 3, MASSES)
    flow = FreeFlight(6.0, 3)
    coefficients = torch.randn(len(graph.species), 3, 3)
    u, v = flow.flow(graph, graph, coefficients, (0.5, 1.0))
    steps = 20000
    h = 6.0 * fs / steps
    force = torch.einsum("pt,npx->tnx", legendre((np.arange(steps) + 0.5) / steps, 3).double(), coefficients.double())
    a = force / graph.masses[:, None].double()
    v0 = (graph.momenta / graph.masses.sqrt()[:, None]).double()
    speed = v0 + torch.cumsum(a, 0) * h
    path = torch.cumsum(speed, 0) * h
    for k, at in enumerate((steps // 2 - 1, steps - 1)):
        assert torch.allclose(v[:, k].double(), speed[at], atol=1e-4)
        assert torch.allclose(u[:, k].double(), path[at], atol=1e-4)


@pytest.mark.parametrize("keep", [[0], [1], [0, 1]])
def test_atoms_without_a_molecule_fly_under_their_slow_force_alone(keep: list[int]) -> None:
    whole = water_graph(2, 3.0, 4, MASSES)
    n = len(keep)
    graph = whole._replace(
        species=whole.species[keep],
        momenta=whole.momenta[keep],
        masses=whole.masses[keep],
        edge_vectors=torch.zeros(n, 1, 3),
        mask=torch.zeros(n, 1, dtype=torch.bool),
        neighbors=torch.arange(n)[:, None],
    )
    coefficients = torch.randn(n, 1, 3)
    bonded = BondedFlow(4.0, 0.25)
    free = FreeFlight(4.0, 1)
    wanted = free.flow(graph, graph, coefficients, (1.0,))
    for got, want in zip(bonded.flow(graph, bonded.bind(graph), coefficients, (1.0,)), wanted):
        assert torch.allclose(got, want, atol=1e-5)


def test_bonded_flow_conserves_energy_with_an_error_of_second_order() -> None:
    graph = water_graph(2, 3.0, 5, MASSES)
    m = graph.masses.double().numpy().reshape(-1, 3, 1)
    fractions = tuple(np.arange(1, 17) / 16)
    worst = []
    for inner_fs in (0.5, 0.25):
        flow = BondedFlow(8.0, inner_fs)
        # The true constants: the prior softens them for the frequency error of a large inner step.
        flow.reference.copy_(torch.tensor([*TIP3P_BOND, *TIP3P_ANGLE]))
        bound = flow.bind(graph)
        u, v = flow.flow(graph, bound, torch.zeros(len(graph.species), 1, 3), fractions)
        bonds = bound.bonds.reshape(-1, 3, 2, 3)[:, 1:, 0].double().numpy()
        q0 = np.concatenate([np.zeros((len(bonds), 1, 3)), bonds], 1)
        totals = []
        for k in range(len(fractions)):
            velocity = v[:, k].detach().double().numpy().reshape(q0.shape)
            q = q0 + u[:, k].detach().double().numpy().reshape(q0.shape)
            totals.append(bonded_energy(q) + 0.5 * float((m * velocity**2).sum()))
        worst.append(np.std(totals))
    assert 3.0 < worst[0] / worst[1] < 5.0


@pytest.mark.parametrize("symbols", [[1, 1], [0, 0], [0, 1, 1, 1], [1, 0, 0]])
def test_odd_groups_of_atoms_stay_finite(symbols: list[int]) -> None:
    n = len(symbols)
    rng = np.random.default_rng(n)
    q, p = 0.5 * rng.normal(size=(n, 3)), 0.1 * rng.normal(size=(n, 3))
    graph = build_graph(q, p, np.array(MASSES)[symbols], np.array(symbols), np.eye(3) * 12.0, 6.0)
    flow = BondedFlow(4.0, 0.5)
    for out in flow.flow(graph, flow.bind(graph), torch.randn(n, 2, 3), (0.5, 1.0)):
        assert torch.isfinite(out).all()
