"""Energy models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.graph.gather import gather_rows
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energy import Energy, energy_and_forces


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_energy_models_forces_are_its_gradient(data: Dataset, spacing: float) -> None:
    model = Energy(EnergyConfig(cutoff_A=6.0, radial=8, spacing=spacing)).double()
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
