"""Backbones, losses, training and export."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from flashmd_train.backbones.staged import BySpecies, PairField, radial_functions
from flashmd_train.config import DirectConfig, EnergyConfig
from flashmd_train.dataset import Dataset, Pairs, random_orthogonal
from flashmd_train.direct import Direct
from flashmd_train.energy import Energy, energy_and_forces
from flashmd_train.export import (
    ENERGY_INPUTS,
    check_no_scatter_reduction,
    equivariance,
    export_direct,
    export_energy,
    run_onnx,
    water_graph,
)
from flashmd_train.graph import Graph, build_graph, gather_rows, padded
from flashmd_train.pretrain import fit_linear
from flashmd_train.train import validate
from flashmd_train.train_energy import sample

MASSES = (15.99943, 1.007947)
CUTOFF = 4.0


OPTIONS = {
    "staged": dict(nodes=(0.5, 1.0), radial=6, hidden=4, hop_vectors=6),
    "edgemp": dict(features=16),
    "painn": dict(features=16, radial=6),
}


def tiny(backbone: str, prior: str, **more: object) -> Direct:
    config = DirectConfig(
        stride_fs=4.0,
        cutoff_A=CUTOFF,
        backbone=backbone,
        prior=prior,
        inner_fs=1.0,
        lookahead_fs=2.0,
        modes=3,
        options=OPTIONS[backbone],
        **more,
    )
    model = Direct(config).eval()
    with torch.no_grad():  # forces of a few eV/Å, and every path in use
        for part in model.modules():
            if isinstance(part, BySpecies):
                part.weight.normal_(0, 0.02)
        for name, parameter in model.named_parameters():
            if "gates" in name or "head" in name:
                parameter.normal_(0, 0.02)
    return model.requires_grad_(False)


KINDS = [(b, p) for b in ("staged", "edgemp", "painn") for p in ("bonded", "free")]


@pytest.mark.parametrize(("backbone", "prior"), KINDS)
class TestDirect:
    def test_padding_and_far_edges_change_nothing(self, backbone: str, prior: str) -> None:
        model, graph = tiny(backbone, prior), water_graph(3, CUTOFF, 1, MASSES)
        wanted = model(*graph)
        wide = padded(graph, 3, 5)
        wide.edge_vectors[0, -1] = torch.tensor([CUTOFF, 1.0, 0.0])
        wide.mask[0, -1] = True
        wide.neighbors[0, -1] = 5
        for want, got in zip(wanted, model(*wide)):
            assert torch.allclose(got[: len(want)], want, atol=2e-6)

    def test_translation_changes_nothing(self, backbone: str, prior: str, data: Dataset) -> None:
        model = tiny(backbone, prior)
        file = data.files[0]
        box = (file.momenta[0, 0], file.masses, data.species[0], file.cell, CUTOFF)
        q = file.positions[0, 0].astype(float)
        wanted, got = (model(*build_graph(x, *box)) for x in (q, q + np.array([4.0, -8.0, 16.0])))
        for a, b in zip(wanted, got):
            assert torch.allclose(a, b, atol=2e-5)

    def test_order_of_atoms_and_slots_changes_nothing(self, backbone: str, prior: str) -> None:
        model, graph = tiny(backbone, prior), water_graph(3, CUTOFF, 2, MASSES)
        n, k = graph.mask.shape
        atoms, slots = torch.randperm(n), torch.randperm(k)
        place = torch.empty(n, dtype=torch.long)
        place[atoms] = torch.arange(n)
        shuffled = Graph(
            *(x[atoms] for x in graph[:3]),
            *(x[atoms][:, slots] for x in graph[3:5]),
            place[graph.neighbors[atoms][:, slots]],
            graph.reverse,  # not read by these backbones
        )
        for want, got in zip(model(*graph), model(*shuffled)):
            assert torch.allclose(got, want[atoms], atol=2e-6)

    def test_onnx_runtime_equals_pytorch(self, backbone: str, prior: str) -> None:
        model = tiny(backbone, prior)
        graph, error = export_direct(model, MASSES)
        assert error < 1e-5
        off = equivariance(graph, water_graph(4, CUTOFF, 4, MASSES))
        assert (off < 1e-5) == model.backbone.equivariant, off


@pytest.mark.parametrize(("backbone", "prior"), [kind for kind in KINDS if kind[0] != "edgemp"])
def test_equivariant_under_rotation_and_inversion(backbone: str, prior: str) -> None:
    model, graph = tiny(backbone, prior), water_graph(3, CUTOFF, 3, MASSES)
    for seed in range(4):
        turn = random_orthogonal(np.random.default_rng(seed)) * (-1) ** seed
        turned = graph._replace(edge_vectors=graph.edge_vectors @ turn.T, momenta=graph.momenta @ turn.T)
        for want, got in zip(model(*graph), model(*turned)):
            assert torch.allclose(want @ turn.T, got, atol=1e-5)


@pytest.mark.parametrize("backbone", ["staged", "edgemp", "painn"])
def test_which_hydrogen_is_nearer_is_nothing(backbone: str, data: Dataset) -> None:
    """A molecule whose bonds pass through equal lengths is the same molecule: no jump, in 64 bits."""
    model, file = tiny(backbone, "bonded").double(), data.files[0]
    q = file.positions[0, 0].astype(float)
    bonds = q[1:3] - q[0]
    unit = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
    predictions = []
    for nearer in (-1e-8, 1e-8):
        q[1:3] = q[0] + unit * (0.96 + np.array([[nearer], [-nearer]]))
        graph = build_graph(q, file.momenta[0, 0], file.masses, data.species[0], file.cell, CUTOFF, dtype=torch.float64)
        predictions.append(model.predict(graph))
    for a, b in zip(predictions[0][:2], predictions[1][:2]):
        assert torch.allclose(a, b, atol=1e-6)


def test_pretraining_finds_the_forces(data: Dataset) -> None:
    model = Direct(DirectConfig(stride_fs=4.0, cutoff_A=6.0, lookahead_fs=1.0, options=dict(radial=10)))
    pairs = Pairs(data, np.array([(0, s) for s in range(6)]), 4.0, 6.0)
    before = validate(model, pairs, 3)["momentum_error"]
    fit_linear(model, pairs, 12, np.random.default_rng(0))
    after = validate(model, pairs, 3)["momentum_error"]
    assert before > 0.2
    assert after < 0.1


@pytest.mark.parametrize("spacing", [1.0, 2.0, 3.0])
def test_radial_functions_are_as_wide_as_the_gap_to_the_next(spacing: float) -> None:
    centers = PairField(1, CUTOFF, 9, 1.0, spacing).centers
    gaps = torch.diff(centers**spacing)
    assert torch.allclose(gaps, gaps.mean())
    functions = radial_functions(centers[None, None], centers, CUTOFF)[0]
    assert torch.allclose(functions.diagonal(), torch.ones(9))
    assert torch.allclose(functions.diagonal(1), torch.full((8,), 0.5).neg().exp())


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_energy_models_forces_are_its_gradient(data: Dataset, spacing: float) -> None:
    model = Energy(EnergyConfig(cutoff_A=6.0, radial=8, spacing=spacing)).double()
    with torch.no_grad():
        model.pair.normal_(0, 0.05)
        model.out.weight.normal_(0, 0.05)
    graph, q, _, _ = sample(data, np.array([0, 0]), 0, 6.0)
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


def test_gradient_graph_is_the_same_every_time_and_gives_the_forces(data: Dataset) -> None:
    model = Energy(EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4))
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

    water, q, _, _ = sample(data, np.array([0, 0]), 0, CUTOFF)
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
