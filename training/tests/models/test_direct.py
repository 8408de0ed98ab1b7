"""Direct models with every backbone and prior: invariances, equivariance, export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import CUTOFF, MASSES, OPTIONS

from flashmd_train.backbones.pair_field import BySpecies
from flashmd_train.backbones.pet_sizes import PRESETS
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import random_orthogonal
from flashmd_train.graph.nef import Graph, build_graph, padded
from flashmd_train.graph.structures import water_graph
from flashmd_train.model_files.exports import export_direct
from flashmd_train.model_files.parity import equivariance
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct


def tiny(backbone: str, prior: str, **more: object) -> Direct:
    config = DirectConfig(
        stride_fs=4.0,
        cutoff_A=CUTOFF,
        backbone=backbone,
        prior=prior,
        inner_timestep_fs=1.0,
        lookahead_timestep_fs=2.0,
        legendre_orders=3,
        options=OPTIONS[backbone],
        **more,
    )
    model = Direct(config).eval()
    with torch.no_grad():  # forces of a few eV/Å, and every path in use
        for part in model.modules():
            if isinstance(part, BySpecies):
                part.weight.normal_(0, 0.02)
        for name, parameter in model.named_parameters():
            if "gates" in name or "head" in name or "outputs" in name:
                parameter.normal_(0, 0.02)
    return model.requires_grad_(False)


KINDS = [*((b, p) for b in OPTIONS for p in ("bonded", "free")), ("pet", "none")]


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
        edge = torch.empty(n, k, dtype=torch.long)
        edge[atoms[:, None], slots] = torch.arange(n * k).view(n, k)
        shuffled = Graph(
            *(x[atoms] for x in graph[:3]),
            *(x[atoms][:, slots] for x in graph[3:5]),
            place[graph.neighbors[atoms][:, slots]],
            edge.flatten()[graph.reverse[atoms][:, slots]],
        )
        for want, got in zip(model(*graph), model(*shuffled)):
            assert torch.allclose(got, want[atoms], atol=2e-6)

    def test_onnx_runtime_equals_pytorch(self, backbone: str, prior: str) -> None:
        model = tiny(backbone, prior)
        graph, error = export_direct(model, MASSES)
        assert error < 1e-5
        off = equivariance(graph, water_graph(4, CUTOFF, 4, MASSES))
        assert (off < 1e-5) == model.backbone.equivariant, off


@pytest.mark.parametrize(("backbone", "prior"), [kind for kind in KINDS if kind[0] in ("lookahead", "painn")])
def test_equivariant_under_rotation_and_inversion(backbone: str, prior: str) -> None:
    model, graph = tiny(backbone, prior), water_graph(3, CUTOFF, 3, MASSES)
    for seed in range(4):
        turn = random_orthogonal(np.random.default_rng(seed)) * (-1) ** seed
        turned = graph._replace(edge_vectors=graph.edge_vectors @ turn.T, momenta=graph.momenta @ turn.T)
        for want, got in zip(model(*graph), model(*turned)):
            assert torch.allclose(want @ turn.T, got, atol=1e-5)


@pytest.mark.parametrize("backbone", OPTIONS)
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


@pytest.mark.parametrize(
    ("backbone", "options", "word"),
    [
        ("painn", dict(width_A=3), "width_A for painn, wanted some of features"),
        ("pet", dict(width=3), "width"),
        ("pet", dict(preset="huge"), "published, small, tiny"),
        ("pet", dict(preset=["tiny"]), "published, small, tiny"),
        ("pet", dict(heads=3), "divide"),
        ("pet", dict(heads=0), "heads"),
        ("pet", dict(features="many"), "features"),
        ("pet", dict(norm="BatchNorm"), "RMSNorm"),
        ("pet", dict(activation="ReLU"), "SwiGLU"),
        ("pet", dict(cutoff_function="step"), "cosine"),
        ("pet", dict(adaptive_neighbors=8.0, adaptive_method="guess"), "solver"),
        ("pet", dict(adaptive_neighbors=-1.0), "adaptive_neighbors"),
        ("pet", dict(layers=0), "layers"),
        ("pet", dict(cutoff_A=5.0), "follow from model and data"),
    ],
)
def test_options_that_a_backbone_does_not_have(backbone: str, options: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word) as refusal:
        Direct(DirectConfig(backbone=backbone, options=options))
    assert "model.options" in str(refusal.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_of_pet(preset: str) -> None:
    assert Direct(DirectConfig(backbone="pet", options=dict(preset=preset))).backbone.pet.config.species == 2


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        *OPTIONS.items(),
        ("painn", OPTIONS["painn"] | dict(layers=3)),
        ("edgemp", OPTIONS["edgemp"] | dict(layers=3)),
        ("pet", OPTIONS["pet"] | dict(residual=True)),
        ("pet", OPTIONS["pet"] | dict(layers=1)),
        ("pet", OPTIONS["pet"] | dict(adaptive_neighbors=1.5, adaptive_method="grid")),
    ],
)
def test_nothing_beyond_the_reach_of_a_backbone_matters(backbone: str, options: dict) -> None:
    """In a row of atoms 3 Å apart the first feels the one at the end of its reach, and not the next."""
    config = DirectConfig(
        species=("Al",), stride_fs=4.0, cutoff_A=CUTOFF, backbone=backbone, prior="free", options=options
    )
    torch.manual_seed(0)
    model = Direct(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    reach = model.backbone.reach
    count = reach + 2

    def first(moved: int | None) -> torch.Tensor:
        q, p = np.zeros((count, 3)), np.zeros((count, 3))
        q[:, 0], p[:, 1] = 3.0 * np.arange(count), 1.0
        if moved is not None:
            q[moved, 1], p[moved, 2] = 0.5, 1.0
        box = (np.full(count, 27.0), np.zeros(count, int), np.diag([90.0] * 3), CUTOFF)
        return model(*build_graph(q, p, *box, dtype=torch.float64))[1][0]

    assert torch.equal(first(reach + 1), first(None))
    if "adaptive_neighbors" not in options:  # whose cutoff is as far as it may be here
        assert not torch.equal(first(reach), first(None))
