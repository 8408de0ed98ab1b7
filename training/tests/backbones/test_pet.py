"""The Point-Edge Transformer on the contract's graph: its rules, its export and its gradients."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from small_models import published_pet

from flashmd_train.convert.proof import forces
from flashmd_train.graph.nef import Graph, padded
from flashmd_train.graph.reverse import gather_neighbors, swap_edges
from flashmd_train.graph.structures import graph_of, random_structure
from flashmd_train.model_files.contract import (
    ACTION_OUTPUTS,
    DIRECT_INPUTS,
    ENERGY_OUTPUTS,
    PAIR_INPUTS,
    contract_inputs,
)
from flashmd_train.model_files.onnx_graph import WithGradients, export_forward, export_gradients
from flashmd_train.model_files.parity import open_onnx, run_onnx, run_session
from flashmd_train.models.config import ActionConfig, EnergyConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy

SYMBOLS, MASSES, CUTOFF = ["H", "O"], [1.008, 15.999], 4.0
BRANCHES: dict[str, dict] = {
    "own node track": dict(),
    "no node track": dict(node_features=8),
    "PostLN": dict(pre_norm=False, norm="LayerNorm", activation="SiLU"),
    "residual": dict(residual=True, pre_norm=False, node_features=8),
    "bump": dict(cutoff_function="bump", cutoff_width_A=0.5, temperature=2.0, blocks=2),
    "solver": dict(cutoff_function="bump", adaptive_neighbors=9.0),
    "grid": dict(cutoff_function="bump", adaptive_neighbors=9.0, adaptive_method="grid"),
}


SMALL = dict(features=8, node_features=12, head_features=8, hidden=8, heads=2, blocks=1, layers=2)


def stride(**options: object) -> Direct:
    return published_pet(tuple(SYMBOLS), CUTOFF, **(SMALL | options))


def energy_model(**options: object) -> PETEnergy:
    given = {"cutoff_function": "cosine"} | SMALL | options
    config = EnergyConfig(species=tuple(SYMBOLS), backbone="pet", prior="free", cutoff_A=CUTOFF, options=given)
    return PETEnergy(config).eval().requires_grad_(False)


def graph(atoms: int = 27, seed: int = 0, spacing: float = 2.2) -> Graph:
    return graph_of(random_structure(SYMBOLS, MASSES, atoms, spacing, seed), SYMBOLS, CUTOFF)


@pytest.fixture(params=BRANCHES.values(), ids=BRANCHES)
def branch(request: pytest.FixtureRequest) -> dict:
    return request.param


def test_edges_beyond_the_cutoff_act_exactly_as_padded_ones(branch: dict) -> None:
    model, wide = stride(**branch), padded(graph(), 3, 5)
    wanted = model(*contract_inputs(wide, DIRECT_INPUTS))
    k = wide.mask.shape[1]
    for i, j in ((0, 5), (3, 3)):  # to another atom, and to its own image
        for at, to, sign in ((i, j, 1), (j, i, -1)):
            slot = k - 1 if sign == 1 else k - 2
            wide.edge_vectors[at, slot] = sign * torch.tensor([CUTOFF, 1e-3, 0.0])
            wide.mask[at, slot] = True
            wide.neighbors[at, slot] = to
        wide.reverse[i, k - 1], wide.reverse[j, k - 2] = j * k + k - 2, i * k + k - 1
    for want, got in zip(wanted, model(*contract_inputs(wide, DIRECT_INPUTS))):
        assert torch.equal(want, got)


def test_padding_changes_nothing(branch: dict) -> None:
    model, tight = stride(**branch), graph()
    for want, got in zip(
        model(*contract_inputs(tight, DIRECT_INPUTS)), model(*contract_inputs(padded(tight, 3, 5), DIRECT_INPUTS))
    ):
        assert torch.allclose(got[: len(want)], want, atol=1e-6)


def test_order_of_atoms_and_slots_changes_nothing(branch: dict) -> None:
    model, atoms = stride(**branch), random_structure(SYMBOLS, MASSES, 27, 2.2, 1)
    order = np.random.default_rng(0).permutation(len(atoms))
    wanted, got = (model(*contract_inputs(graph_of(a, SYMBOLS, CUTOFF), DIRECT_INPUTS)) for a in (atoms, atoms[order]))
    for a, b in zip(wanted, got):
        assert torch.allclose(a[order], b, atol=2e-6)


def test_isolated_atoms_have_one_masked_slot_and_see_nothing(branch: dict) -> None:
    model, pair = stride(**branch), ase.Atoms("OH", positions=10.0 * np.eye(3)[:2], momenta=np.ones((2, 3)))
    both, one = (graph_of(atoms, SYMBOLS, CUTOFF) for atoms in (pair, pair[:1]))
    assert both.mask.shape == (2, 1)
    assert not both.mask.any()
    for of_both, of_one in zip(*(model(*contract_inputs(g, DIRECT_INPUTS)) for g in (both, one))):
        assert torch.isfinite(of_both).all()
        assert torch.allclose(of_both[:1], of_one, atol=1e-6)


def test_zero_edges_are_finite_with_their_gradients(branch: dict) -> None:
    model = energy_model(**branch)
    box = graph()
    box.edge_vectors[0] = 0.0
    box.edge_vectors.view(-1, 3)[box.reverse[0]] = 0.0
    energy, gradient = WithGradients(model, PAIR_INPUTS, ("edge_vectors",))(*(getattr(box, n) for n in PAIR_INPUTS))
    assert torch.isfinite(energy).all()
    assert torch.isfinite(gradient).all()
    assert torch.equal(gradient[~box.mask], torch.zeros_like(gradient[~box.mask]))


@pytest.mark.parametrize("options", [BRANCHES[n] for n in ("own node track", "residual", "grid")])
def test_onnx_runtime_equals_pytorch_at_every_size(options: dict) -> None:
    lonely = graph_of(ase.Atoms("HO", positions=10.0 * np.eye(3)[:2]), SYMBOLS, CUTOFF)
    boxes = [lonely, graph(8, 1), graph(64, 2, 2.5), graph()]
    model = stride(**options)
    exported, error = export_forward(model, DIRECT_INPUTS, model.outputs, boxes)
    assert error < 1e-5
    assert {o.version for o in exported.opset_import if o.domain in ("", "ai.onnx")} == {20}


def test_gathers_through_reverse_have_the_plain_gradients() -> None:
    box = graph_of(random_structure(SYMBOLS, MASSES, 8, 2.2, 0), SYMBOLS, CUTOFF, torch.float64)
    atoms = torch.randn(len(box.mask), 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(*box.mask.shape, 2, dtype=torch.float64)
    ours = swap_edges(gather_neighbors(atoms, box.neighbors, box.reverse) ** 2, box.reverse)
    plain = (atoms[box.neighbors] ** 2).flatten(0, 1)[box.reverse]
    assert torch.equal(ours, plain)
    (a,), (b,) = (torch.autograd.grad((x * weight).sum(), atoms) for x in (ours, plain))
    assert torch.allclose(a, b, atol=1e-12)
    torch.autograd.gradcheck(lambda x: gather_neighbors(x, box.neighbors, box.reverse), atoms)


def test_forces_are_the_derivative_of_the_energy(branch: dict) -> None:
    model = energy_model(**branch).double()
    atoms = random_structure(SYMBOLS, MASSES, 27, 2.2, 3)

    def evaluate(q: np.ndarray) -> tuple[Graph, torch.Tensor, torch.Tensor]:
        moved = atoms.copy()
        moved.positions = q
        box = graph_of(moved, SYMBOLS, CUTOFF, torch.float64)
        return box, *WithGradients(model, PAIR_INPUTS, ("edge_vectors",))(*(getattr(box, n) for n in PAIR_INPUTS))

    box, _, gradient = evaluate(atoms.positions)
    pull = forces(box, gradient)
    for atom, axis in ((0, 0), (7, 1), (20, 2)):
        step = np.zeros_like(atoms.positions)
        step[atom, axis] = 1e-4
        up, down = (float(evaluate(atoms.positions + s)[1].sum()) for s in (step, -step))
        slope = (up - down) / 2e-4
        assert abs(slope + float(pull[atom, axis])) < 1e-5 * max(1.0, abs(slope))


def test_gradient_graphs_repeat_to_the_bit_on_one_and_two_threads() -> None:
    torch.manual_seed(1)
    model = energy_model(cutoff_function="bump")
    onnx_model, error = export_gradients(
        model, PAIR_INPUTS, ("edge_vectors",), ENERGY_OUTPUTS, [graph(8), graph(64, 1), graph()]
    )
    assert error < 1e-4
    box = graph(64, 5)
    sessions = [open_onnx(onnx_model, threads) for threads in (1, 2)]
    by_threads = [[run_session(session, box, PAIR_INPUTS) for _ in range(200)] for session in sessions]
    for runs in by_threads:
        assert all(np.array_equal(a, b) for run in runs for a, b in zip(runs[0], run))
    for a, b in zip(by_threads[0][0], by_threads[1][0]):
        assert np.abs(a - b).max() <= 1e-6 * np.abs(a).max()


def test_action_gives_both_gradients() -> None:
    options = SMALL | dict(layers=1)
    model = PETAction(ActionConfig(species=tuple(SYMBOLS), cutoff_A=CUTOFF, options=options)).eval()
    by = ("edge_vectors", "momenta")
    onnx_model, error = export_gradients(model, DIRECT_INPUTS, by, ACTION_OUTPUTS, [graph(8), graph()])
    assert error < 1e-4
    box = graph(8, 7)
    leaves = {n: getattr(box, n).clone().requires_grad_(True) for n in by}
    total = model(*contract_inputs(box._replace(**leaves), DIRECT_INPUTS)).sum()
    wanted = torch.autograd.grad(total, list(leaves.values()))
    for got, want in zip(run_onnx(onnx_model, box, DIRECT_INPUTS)[1:], wanted):
        assert np.abs(got - want.numpy()).max() <= 1e-4 * float(want.abs().max())


def test_a_crystal_without_padding(branch: dict) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.symbols = ["O"] * len(atoms)
    full = graph_of(atoms, SYMBOLS, CUTOFF)
    assert full.mask.all()
    one = stride(**branch)(*contract_inputs(full, DIRECT_INPUTS))[0]
    assert torch.allclose(one, one[:1].expand_as(one), atol=1e-6)
