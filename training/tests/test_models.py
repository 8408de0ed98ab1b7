"""Backbones, losses, training and export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from flashmd_train.backbones.staged import BySpecies
from flashmd_train.dataset import Pairs, Segments, random_orthogonal
from flashmd_train.direct import Direct, DirectConfig
from flashmd_train.energy import Energy, EnergyConfig, energy_and_forces
from flashmd_train.export import (
    DIRECT_INPUTS,
    ENERGY_INPUTS,
    check_no_scatter_reduction,
    equivariance,
    export_direct,
    export_energy,
    padded,
    run_onnx,
    water_graph,
)
from flashmd_train.graph import Graph, build_graph, gather_rows
from flashmd_train.pretrain import fit_linear
from flashmd_train.publish import publish
from flashmd_train.train import train, validate
from flashmd_train.train_energy import sample, train_energy

MASSES = (15.99943, 1.007947)
CUTOFF = 4.0


def tiny(backbone: str, prior: str) -> Direct:
    config = DirectConfig(
        stride_fs=4.0, cutoff_A=CUTOFF, backbone=backbone, prior=prior, inner_fs=1.0, lookahead_fs=2.0, modes=3
    )
    if backbone == "staged":
        config.options = dict(nodes=(0.5, 1.0), radial=6, hidden=4, hop_vectors=6)
    else:
        config.options = dict(features=16)
    model = Direct(config).eval()
    with torch.no_grad():  # forces of a few eV/Å, and every path in use
        for part in model.modules():
            if isinstance(part, BySpecies):
                part.weight.normal_(0, 0.02)
        for name, parameter in model.named_parameters():
            if "gates" in name:
                parameter.normal_(0, 0.02)
    return model.requires_grad_(False)


KINDS = [(b, p) for b in ("staged", "edgemp") for p in ("bonded", "free")]


@pytest.mark.parametrize(("backbone", "prior"), KINDS)
class TestDirect:
    def test_padding_and_far_edges_change_nothing(self, backbone: str, prior: str) -> None:
        model, graph = tiny(backbone, prior), water_graph(3, CUTOFF, 1, MASSES)
        wanted = model(*graph[:6])
        wide = padded(graph, 3, 5)
        wide.edge_vectors[0, -1] = torch.tensor([CUTOFF, 1.0, 0.0])
        wide.mask[0, -1] = True
        wide.neighbors[0, -1] = 5
        for want, got in zip(wanted, model(*wide[:6])):
            assert torch.allclose(got[: len(want)], want, atol=2e-6)

    def test_translation_changes_nothing(self, backbone: str, prior: str, segments: Segments) -> None:
        model = tiny(backbone, prior)
        q, p = (torch.tensor(x[0, 0])[None] for x in (segments.positions, segments.momenta))
        box = (p, segments.masses, segments.species, segments.lengths, CUTOFF)
        # A shift that is exact in f32 moves atoms across the faces and reorders nothing but round-off.
        wanted, got = (model(*build_graph(x, *box)[:6]) for x in (q, q + torch.tensor([4.0, -8.0, 16.0])))
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
        )
        for want, got in zip(model(*graph[:6]), model(*shuffled[:6])):
            assert torch.allclose(got, want[atoms], atol=2e-6)

    def test_onnx_runtime_equals_pytorch(self, backbone: str, prior: str) -> None:
        model = tiny(backbone, prior)
        graph, error = export_direct(model, CUTOFF, MASSES)
        assert error < 1e-5
        off = equivariance(graph, water_graph(4, CUTOFF, 4, MASSES))
        assert (off < 1e-5) == (backbone == "staged"), off


@pytest.mark.parametrize("prior", ["bonded", "free"])
def test_staged_is_equivariant_under_rotation_and_inversion(prior: str) -> None:
    model, graph = tiny("staged", prior), water_graph(3, CUTOFF, 3, MASSES)
    for seed in range(4):
        turn = random_orthogonal(np.random.default_rng(seed)) * (-1) ** seed
        turned = graph._replace(edge_vectors=graph.edge_vectors @ turn.T, momenta=graph.momenta @ turn.T)
        for want, got in zip(model(*graph[:6]), model(*turned[:6])):
            assert torch.allclose(want @ turn.T, got, atol=1e-5)


def test_pretraining_finds_the_forces(segments: Segments) -> None:
    model = Direct(DirectConfig(stride_fs=4.0, cutoff_A=6.0, lookahead_fs=1.0, options=dict(radial=10)))
    pairs = Pairs(segments, np.arange(6), 4.0, 6.0, augment=False)
    before = validate(model, pairs, 3)["momentum_error"]
    fit_linear(model, pairs, 12, np.random.default_rng(0))
    after = validate(model, pairs, 3)["momentum_error"]
    assert before > 0.2
    assert after < 0.1


@pytest.mark.parametrize("backbone", ["staged", "edgemp"])
def test_training_resumes_to_the_same_weights(backbone: str, data_file: Path, tmp_path: Path) -> None:
    config = DirectConfig(stride_fs=2.0, cutoff_A=CUTOFF, backbone=backbone, inner_fs=1.0, lookahead_fs=1.0, modes=2)
    if backbone == "staged":
        config.options = dict(nodes=(0.5, 1.0), radial=6, hidden=4, hop_vectors=6)
    whole = train(config, [data_file], tmp_path / "whole", 4, every=2)
    train(config, [data_file], tmp_path / "halves", 4, every=2, stop_after=2)
    halves = train(config, [data_file], tmp_path / "halves", 4, every=2)
    for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
        assert torch.equal(a, b)
    lines = (tmp_path / "halves" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_energy_models_forces_are_its_gradient(segments: Segments) -> None:
    model = Energy(EnergyConfig(cutoff_A=6.0, radial=8)).double()
    with torch.no_grad():
        model.pair.normal_(0, 0.05)
        model.out.weight.normal_(0, 0.05)
    graph, q, _, _ = sample(segments, 0, 0, 6.0)
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


def test_gradient_graph_is_the_same_every_time_and_gives_the_forces(segments: Segments) -> None:
    model = Energy(EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4))
    with torch.no_grad():
        model.pair.normal_(0, 0.05)
        model.out.weight.normal_(0, 0.05)
    graph, error = export_energy(model, CUTOFF, MASSES)
    assert error < 1e-5
    check_no_scatter_reduction(graph)
    box = water_graph(4, CUTOFF, 6, MASSES)
    by_threads = [[run_onnx(graph, box, ENERGY_INPUTS, threads) for _ in range(20)] for threads in (1, 2)]
    for runs in by_threads:
        assert all(np.array_equal(a, b) for run in runs for a, b in zip(runs[0], run))
    for a, b in zip(by_threads[0][0], by_threads[1][0]):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(a).max()

    water, q, _, _ = sample(segments, 0, 0, CUTOFF)
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


def test_publishing_writes_the_contracts_metadata(data_file: Path, tmp_path: Path) -> None:
    train_energy(EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4), [data_file], tmp_path / "energy", 2, every=2)
    publish(tmp_path / "energy", tmp_path / "e.onnx", [data_file], None, {})
    config = DirectConfig(stride_fs=2.0, cutoff_A=CUTOFF, inner_fs=1.0, lookahead_fs=1.0, modes=2)
    config.options = dict(nodes=(0.5, 1.0), radial=6, hidden=4, hop_vectors=6)
    train(config, [data_file], tmp_path / "direct", 2, every=2)
    publish(tmp_path / "direct", tmp_path / "d.onnx", [data_file], tmp_path / "e.onnx", {"runs": 1})
    entries = {p.key: json.loads(p.value) for p in onnx.load(tmp_path / "d.onnx").metadata_props}
    assert set(entries) == {"flashmd"}
    metadata = entries["flashmd"]
    assert metadata["kind"] == "direct"
    assert metadata["stride_fs"] == 2.0
    assert metadata["energy_model"]["name"] == "e"
    assert metadata["validation"]["onnx_parity"] < 1e-5
    assert metadata["validation"]["runs"] == 1
    assert 0.9 < metadata["domain"]["density_g_per_cm3"][0] < 1.1
    assert [i.name for i in onnx.load(tmp_path / "d.onnx").graph.input] == list(DIRECT_INPUTS)
