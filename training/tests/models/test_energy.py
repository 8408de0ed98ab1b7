"""Energy models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.graph.gather import gather_rows
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energies import energy_and_forces
from flashmd_train.models.energy import Energy, quadrupole


@pytest.mark.parametrize(("spacing", "angular"), [(1.0, 1), (2.0, 1), (1.0, 2)])
def test_energy_models_forces_are_its_gradient(data: Dataset, spacing: float, angular: int) -> None:
    model = Energy(EnergyConfig(cutoff_A=6.0, radial=8, spacing=spacing, angular=angular)).double()
    with torch.no_grad():
        model.pair.normal_(0, 0.05)
        model.out.weight.normal_(0, 0.05)
    graph, q, _, _ = force_sample(data, np.array([0, 0]), 0, 6.0)
    graph = graph._replace(edge_vectors=graph.edge_vectors.double())
    q = q.double()
    _, forces = energy_and_forces(model, graph, q, train=False)

    def energy(positions: torch.Tensor) -> float:
        moved = positions - q
        edges = graph.edge_vectors + gather_rows(moved, graph.neighbors) - moved[:, None]
        return float(model(graph.species, edges, graph.mask, graph.neighbors).sum().detach())

    for atom, axis in ((0, 0), (1, 2), (17, 1), (100, 0)):
        step = torch.zeros_like(q)
        step[atom, axis] = 1e-4
        slope = (energy(q + step) - energy(q - step)) / 2e-4
        assert abs(-slope - float(forces[atom, axis])) < 1e-5 * max(1.0, abs(slope))


@pytest.mark.parametrize("angular", [1, 2])
def test_energies_do_not_change_under_rotations_and_reflections(data: Dataset, angular: int) -> None:
    model = Energy(EnergyConfig(cutoff_A=6.0, radial=8, angular=angular)).double()
    with torch.no_grad():
        model.out.weight.normal_(0, 0.05)
    graph, _, _, _ = force_sample(data, np.array([0, 0]), 0, 6.0)
    edges = graph.edge_vectors.double()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    energies = model(graph.species, edges, graph.mask, graph.neighbors)
    for matrix in (turn, -turn):
        torch.testing.assert_close(model(graph.species, edges @ matrix, graph.mask, graph.neighbors), energies)


def test_quadrupoles_obey_the_addition_theorem() -> None:
    """Their scalar product is the Legendre polynomial P₂ of the angle: 1 for a unit vector with itself."""
    a, b = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).unbind()
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    cosine = (a * b).sum(1)
    torch.testing.assert_close((quadrupole(a) * quadrupole(b)).sum(1), (3 * cosine**2 - 1) / 2)


def test_quadrupoles_tell_bond_angles_apart() -> None:
    """Four neighbours in a square and in a tetrahedron have the same distances, and vectors that cancel."""
    square = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    tetrahedron = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    species, mask, neighbors = torch.zeros(1, dtype=torch.int32), torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4)
    found = {}
    for angular in (1, 2):
        torch.manual_seed(0)
        model = Energy(EnergyConfig(species=("C",), prior="free", cutoff_A=4.0, radial=8, angular=angular))
        torch.nn.init.normal_(model.out.weight)
        found[angular] = [
            float(model(species, 2 * v[None], mask, neighbors.int()).detach()) for v in (square, tetrahedron)
        ]
    assert abs(found[1][0] - found[1][1]) < 1e-5
    assert abs(found[2][0] - found[2][1]) > 1e-3
