"""PET as energy, action and published FlashMD: it learns, resumes, and does in the runtime what it does here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from alloys import CUTOFF_A, SPECIES, alloy
from small_models import OPTIONS
from torch import nn

import flashmd_rs
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.graph.nef import Graph, build_graph, displaced
from flashmd_train.graph.structures import graph_of, random_structure
from flashmd_train.learning.action import MidpointPairs, train_action
from flashmd_train.learning.checkpoint import TrainingRun
from flashmd_train.learning.config import (
    ActionTraining,
    Data,
    DirectTraining,
    EnergyTraining,
    Loss,
    Optimizer,
    Training,
)
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.energy import train_energy
from flashmd_train.learning.loop import MARGIN_A
from flashmd_train.learning.losses import StrideObjective
from flashmd_train.learning.units import measure_action
from flashmd_train.models.build import build, kind_of
from flashmd_train.models.config import ActionConfig, DirectConfig, EnergyConfig, SplittingConfig
from flashmd_train.models.energies import energy_and_forces
from flashmd_train.models.pet import PETAction, Solved

TINY = OPTIONS["pet"]
COMMON = dict(species=SPECIES, cutoff_A=CUTOFF_A, options=TINY)
STRIDE_FS = 16.0
MODELS = {
    "published": DirectConfig(**COMMON, stride_fs=STRIDE_FS, backbone="pet", prior="none"),
    "difference": DirectConfig(**COMMON, stride_fs=STRIDE_FS, backbone="pet", prior="none", momenta_as_difference=True),
    "energy": EnergyConfig(**COMMON, backbone="pet", prior="free"),
    "action": ActionConfig(**COMMON, stride_fs=STRIDE_FS),
}
TRAININGS: dict[str, tuple[type[Training], Callable]] = {
    "direct": (DirectTraining, train_direct),
    "energy": (EnergyTraining, train_energy),
    "action": (ActionTraining, train_action),
}


def train(name: str, file: Path, folder: Path, steps: int, stop_after: int | None = None, **more: object) -> nn.Module:
    """One of the models above after some steps."""
    model = MODELS[name]
    kind, run = TRAININGS[kind_of(model.model_dump())]
    given = dict(
        model=model,
        data=Data(files=(file,), boxes=1),
        optimizer=Optimizer(steps=steps, warmup=0, learning_rate=3e-3),
        every=max(1, steps // 2),
    )
    return run(kind(**(given | more)), folder, stop_after)


def figures(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", MODELS)
def test_resumes_to_the_same_bits(name: str, alloy_file: Path, tmp_path: Path) -> None:
    whole = train(name, alloy_file, tmp_path / "whole", 4)
    train(name, alloy_file, tmp_path / "halves", 4, stop_after=2)
    halves = train(name, alloy_file, tmp_path / "halves", 4)
    for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
        assert torch.equal(a, b)
    assert [line["step"] for line in figures(tmp_path / "halves")] == [2, 4]


@pytest.mark.parametrize(
    ("name", "steps", "figures_of", "share"),
    [
        ("published", 120, ("momentum_error", "displacement_error"), 0.5),
        ("action", 120, ("momentum_error", "displacement_error"), 0.5),
        ("energy", 300, ("force_error",), 0.8),
    ],
)
def test_learns(
    name: str, steps: int, figures_of: tuple[str, ...], share: float, alloy_file: Path, tmp_path: Path
) -> None:
    """On segments it has not seen, from what it is after one step."""
    train(name, alloy_file, tmp_path / "one", 1)
    train(name, alloy_file, tmp_path / "many", steps)
    first, last = (sum(figures(tmp_path / run)[-1][x] for x in figures_of) for run in ("one", "many"))
    assert last < share * first


def graph_of_alloy(atoms: object, dtype: torch.dtype = torch.float32) -> Graph:
    species = np.array([SPECIES.index(s) for s in atoms.get_chemical_symbols()])
    box = (atoms.get_momenta(), atoms.get_masses(), species, atoms.cell.array, CUTOFF_A + 1.0)
    return build_graph(atoms.positions, *box, dtype=dtype)


@pytest.fixture
def moving() -> object:
    atoms = alloy()
    rng = np.random.default_rng(4)
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    atoms.set_momenta(rng.normal(size=atoms.positions.shape) * np.sqrt(0.05 * atoms.get_masses())[:, None])
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(0))
    return atoms


@pytest.mark.parametrize("name", ["published", "difference", "action"])
def test_a_stride_of_the_runtime_is_that_of_pytorch(
    name: str, alloy_file: Path, moving: object, tmp_path: Path
) -> None:
    model = train(name, alloy_file, tmp_path / "run", 20).eval()
    metadata = publish(tmp_path / "run", tmp_path / "m.onnx", [alloy_file], None, {}, calibration=[])
    assert metadata["kind"] == kind_of(MODELS[name].model_dump())
    assert metadata["receptive_field_A"] == 3 * CUTOFF_A
    opened = flashmd_rs.Model(tmp_path / "m.onnx", device="cpu", threads=1)
    after = opened.stride(moving)
    map_of = Solved(model) if name == "action" else model
    graph, root = graph_of_alloy(moving), np.sqrt(moving.get_masses())[:, None]
    with torch.no_grad():
        stride = map_of.predict(graph)
    moved, momenta = stride.displacement.numpy() / root, stride.momenta.numpy() * root
    # Of direct strides the runtime takes away the motion of the centre of mass.
    for got, wanted in (
        (after.positions - moving.positions, moved),
        (after.get_momenta() / root**2, momenta / root**2),
    ):
        error = got - wanted
        error -= (root**2 * error).sum(0) / (root**2).sum()
        assert np.abs(error).max() < 1e-4 * np.abs(wanted).max()


def test_forces_of_the_runtime_are_those_of_pytorch(alloy_file: Path, moving: object, tmp_path: Path) -> None:
    model = train("energy", alloy_file, tmp_path / "run", 20)
    metadata = publish(tmp_path / "run", tmp_path / "e.onnx", [alloy_file], None, {})
    assert (metadata["kind"], metadata["equivariant"]) == ("energy", False)
    opened = flashmd_rs.Model(tmp_path / "e.onnx", device="cpu", threads=1)
    _, forces = energy_and_forces(model, graph_of_alloy(moving), torch.tensor(moving.positions).float(), train=False)
    assert np.abs(opened.forces(moving) - forces.numpy()).max() < 1e-4 * float(forces.abs().max())


def test_every_weight_of_an_action_that_learns_gets_a_gradient(alloy_file: Path) -> None:
    """Processes that train together wait for the others' gradients of each."""
    model = PETAction(MODELS["action"])
    pairs = MidpointPairs(Dataset([alloy_file]), np.array([(0, 0)]), STRIDE_FS, CUTOFF_A)
    loss, _ = StrideObjective(model, Loss())(pairs.unaugmented(0))
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_a_midpoint_is_half_way(alloy_file: Path) -> None:
    data = Dataset([alloy_file])
    index = np.array([(0, 0), (0, 3)])
    plain, middle = (kind(data, index, STRIDE_FS, CUTOFF_A) for kind in (StridePairs, MidpointPairs))
    whole, half = plain.unaugmented(1), middle.unaugmented(1)
    assert torch.equal(half.displacement, whole.displacement)
    assert torch.allclose(2 * half.graph.momenta, whole.graph.momenta + whole.momenta[0])
    file, frames = data.files[0], plain.frames(0, 1, False)
    q = file.positions[3, frames].astype(float)
    wanted = data.graph(0, q.mean(0), file.momenta[3, frames].mean(0), CUTOFF_A)
    found = half.graph.edge_vectors.norm(dim=-1)[half.graph.mask].sort().values
    near = found[found < CUTOFF_A - 0.1]
    exact = wanted.edge_vectors.norm(dim=-1)[wanted.mask].sort().values
    assert torch.allclose(near, exact[: len(near)], atol=1e-4)


def test_the_action_of_a_stride_is_symplectic() -> None:
    """Its map from both ends keeps dq ∧ dp to rounding, whatever the weights (arXiv 2508.01068, eq. 4)."""
    config = ActionConfig(species=("Al",), cutoff_A=4.0, stride_fs=4.0, options=TINY)
    torch.manual_seed(3)
    model = PETAction(config).double().eval()
    atoms = random_structure(["Al"], [27.0], 8, 2.5, 2)
    graph = graph_of(atoms, ["Al"], 4.0, torch.float64)
    model.scale.fill_(0.05)
    root = graph.masses.sqrt()[:, None]

    def moved(u: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        stride = Solved(model).predict(displaced(graph, u * root, p / root))
        return torch.cat([(u + stride.displacement / root).flatten(), (stride.momenta * root).flatten()])

    n, step = 3 * len(atoms), 1e-4
    start = torch.cat([torch.zeros(n, dtype=torch.float64), (graph.momenta * root).flatten()])
    columns = []
    for k in range(2 * n):
        shift = torch.zeros(2 * n, dtype=torch.float64)
        shift[k] = step
        ends = [moved(*(start + s).view(2, -1, 3).unbind()) for s in (shift, -shift)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    jacobian = torch.stack(columns, 1)
    form = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    form[:n, n:], form[n:, :n] = torch.eye(n), -torch.eye(n)
    assert float((jacobian - torch.eye(2 * n)).abs().max()) > 1e-3
    assert float((jacobian.T @ form @ jacobian - form).abs().max()) < 1e-5


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="backbone pet learns bonds itself: give prior: free"):
        EnergyConfig(backbone="pet")
    with pytest.raises(ValueError, match="options are of backbone pet"):
        EnergyConfig(options=dict(preset="tiny"))
    with pytest.raises(ValueError, match="momenta_as_difference is for prior none"):
        DirectConfig(momenta_as_difference=True)
    with pytest.raises(ValueError, match="prior none is for backbone pet; painn gives forces: take prior free"):
        DirectConfig(backbone="painn", prior="none")
    with pytest.raises(ValueError, match="the scalars of a splitting are of backbone moments"):
        SplittingConfig(scalar=EnergyConfig(backbone="pet", prior="free"))
    with pytest.raises(ValueError, match="name a start to have them from"):
        DirectTraining(tune="heads")
    with pytest.raises(ValueError, match=r"model.options: features: .* got 0"):
        build(ActionConfig(options=dict(features=0)))


def test_two_processes_average_the_gradients_of_an_action(alloy_file: Path, tmp_path: Path) -> None:
    """Its constants take no gradient. Two steps of `torchrun` against two by hand on the boxes of both."""
    given = ActionTraining(
        model=MODELS["action"],
        data=Data(files=(alloy_file,), boxes=1),
        optimizer=Optimizer(steps=2, warmup=0),
        every=2,
    )
    (tmp_path / "c.yaml").write_text(given.model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "flashmd_train", "action", str(tmp_path / "c.yaml"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)

    torch.manual_seed(given.seed)
    model, data = PETAction(given.model), Dataset([alloy_file])
    training, _ = data.split(given.data.validation, seed=0)
    cutoff = given.model.cutoff_A + MARGIN_A
    measure_action(model, StridePairs(data, training, STRIDE_FS, cutoff))
    pairs = MidpointPairs(data, training, STRIDE_FS, cutoff, augment=True)
    objective = StrideObjective(model, Loss(**given.loss.model_dump()))
    run = TrainingRun(tmp_path / "hand", given.model, model, given.optimizer, given.seed)
    for step in range(2):
        draws = [pairs.draw(np.random.default_rng([given.seed, step, rank]), 1) for rank in range(2)]
        run.optimizer_step(0.5 * sum(objective(batch)[0] for batch in draws))
    for name, value in model.state_dict().items():
        assert torch.allclose(value, saved["model"][name], rtol=1e-4, atol=1e-5), name
