"""Exported gradients: the same every time, and no scatter that adds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from small_models import CUTOFF, MASSES

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.graph.structures import water_graph
from flashmd_train.model_files.contract import ENERGY_INPUTS
from flashmd_train.model_files.exports import export_energy
from flashmd_train.model_files.parity import check_no_scatter_reduction, run_onnx
from flashmd_train.models.config import EnergyConfig
from flashmd_train.models.energies import energy_and_forces
from flashmd_train.models.energy import Energy


@pytest.mark.parametrize("angular", [1, 2])
def test_gradient_graph_is_the_same_every_time_and_gives_the_forces(data: Dataset, angular: int) -> None:
    model = Energy(EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4, angular=angular))
    with torch.no_grad():
        model.pair.normal_(0, 0.05)
        model.out.weight.normal_(0, 0.05)
    graph, error = export_energy(model, MASSES)
    assert error < 1e-5
    check_no_scatter_reduction(graph)
    box = water_graph(4, CUTOFF, 6, MASSES)
    by_threads = [[run_onnx(graph, box, ENERGY_INPUTS, threads) for _ in range(20)] for threads in (1, 2)]
    for runs in by_threads:
        assert all(np.array_equal(a, b) for run in runs for a, b in zip(runs[0], run))
    for a, b in zip(by_threads[0][0], by_threads[1][0]):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(a).max()

    water, q, _, _ = force_sample(data, np.array([0, 0]), 0, CUTOFF)
    energies, forces = energy_and_forces(model, water, q, train=False)
    onnx_energies, gradient = (torch.from_numpy(x) for x in run_onnx(graph, water, ENERGY_INPUTS))
    # What the runtime does: an edge's gradient pulls its two ends apart.
    from_edges = gradient.sum(1).index_add(0, water.neighbors.flatten(), -gradient.flatten(0, 1))
    assert float((from_edges - forces).abs().max()) < 1e-5 * float(forces.abs().max())
    assert float((onnx_energies - energies.detach()).abs().max()) < 1e-5 * float(energies.detach().abs().max())


def test_scatter_with_a_reduction_is_refused() -> None:
    node = onnx.helper.make_node("ScatterND", ["a", "b", "c"], ["d"], reduction="add")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "bad", [], []))
    with pytest.raises(ValueError, match="ScatterND"):
        check_no_scatter_reduction(model)
