"""Driven models: bonds and angles under slow forces, in PyTorch and in the runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from methanols import METHANOL, bonded_data, methanol

import flashmd_rs
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.graph.nef import Graph
from flashmd_train.learning.config import Data, DirectTraining, Loss, Optimizer
from flashmd_train.learning.direct import train_direct
from flashmd_train.models.build import build
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.driven import Driven

STRIDE_FS = 4.0
# Small networks.
OPTIONS = {"painn": {"features": 8}, "edgemp": {"features": 8}, "pet": {"preset": "tiny"}}


def config(**changes: object) -> DirectConfig:
    given = dict(
        species=("C", "O", "H"),
        stride_fs=STRIDE_FS,
        cutoff_A=4.0,
        backbone="painn",
        prior="free",
        legendre_orders=3,
        inner_timestep_fs=0.5,
        bonded=METHANOL,
        options={"features": 8},
    )
    return DirectConfig.model_validate(given | changes)


def pushed(order: int, force: np.ndarray) -> Driven:
    """A model in 64 bits whose slow force is one polynomial of time, the same vector for every atom."""
    model = build(config()).double().eval()

    def backbone(seen: Graph, *_: object) -> tuple[torch.Tensor, None, None]:
        coefficients = torch.zeros(len(seen.species), 3, 3, dtype=torch.float64)
        # Of an odd order it changes its sign with the momenta.
        sign = torch.sign(seen.momenta[0, 0]) if order % 2 else 1.0
        coefficients[:, order] = sign * torch.tensor(force)
        return coefficients, None, None

    model.backbone = torch.nn.Module()
    model.backbone.forward = backbone
    return model


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_centre_of_mass_moves_as_under_the_polynomial(methanol_file: Path, order: int) -> None:
    """Bonds say nothing of it: its momentum changes by the integral of L_p over the stride, 0 but for the mean."""
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 5.0)
    graph = graph._replace(**{k: getattr(graph, k).double() for k in ("momenta", "masses", "edge_vectors")})
    force = np.array([0.1, -0.2, 0.3])
    model, root = pushed(order, force), graph.masses.sqrt()[:, None]
    with torch.no_grad():
        after = model.predict(graph)
    gained = ((after.momenta - graph.momenta) * root).sum(0).numpy()
    wanted = (order == 0) * len(graph.species) * force * STRIDE_FS * units.fs
    # The trapezoidal rule of eight steps on the parabola.
    assert np.abs(gained - wanted).max() < (1e-9 if order < 2 else 0.02 * len(graph.species) * STRIDE_FS * units.fs)


def test_without_slow_forces_bonds_alone_move_the_atoms(methanol_file: Path) -> None:
    """The reference is these bonds: what is left of the stride is the coarser inner time step's error, here none."""
    data = bonded_data(methanol_file)
    pairs = StridePairs(data, np.array([(0, s) for s in range(4)]), STRIDE_FS, 5.0)
    model = build(config()).eval()
    with torch.no_grad():
        model.backbone.coefficients.weight.zero_()
        model.backbone.coefficients.bias.zero_()
        for k in range(4):
            batch = pairs.unaugmented(k)
            stride = model.predict(batch.graph)
            assert float((stride.displacement - batch.displacement[0]).abs().max()) < 1e-4
            assert float((stride.momenta - batch.momenta[0]).abs().max()) < 5e-4


@pytest.mark.parametrize("backbone", OPTIONS)
def test_forces_backwards_in_time_are_the_same(methanol_file: Path, backbone: str) -> None:
    """F_p of reversed momenta is (−1)^p F_p, so that no friction can be learned."""
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 5.0)
    torch.manual_seed(1)
    model = build(config(backbone=backbone, options=OPTIONS[backbone])).eval()
    with torch.no_grad():
        for weight in model.backbone.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        there, _ = model.slow_forces(graph)
        back, _ = model.slow_forces(graph._replace(momenta=-graph.momenta))
    assert float(there[:, 1].abs().max()) > 1e-3
    assert torch.allclose(back, there * torch.tensor([1.0, -1.0, 1.0])[:, None], atol=1e-5 * float(there.abs().max()))


def test_gains_heat_and_cool(methanol_file: Path) -> None:
    """The calibration's factors act through the slow force: a larger one leaves larger momenta."""
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 5.0)
    model = build(config()).eval()
    sizes = []
    for gain in (0.95, 1.0, 1.05):
        model.momentum_scale.fill_(gain)
        with torch.no_grad():
            sizes.append(float(model.predict(graph).momenta.square().sum()))
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.fixture(scope="module", params=["painn", "edgemp", "pet"])
def trained(request: pytest.FixtureRequest, methanol_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A driven model of methanol after a few steps of training, beside its run."""
    folder = tmp_path_factory.mktemp("driven")
    settings = DirectTraining(
        model=config(backbone=request.param, options=OPTIONS[request.param]),
        data=Data(files=(methanol_file,)),
        optimizer=Optimizer(steps=3, warmup=1),
        loss=Loss(),
        every=3,
        threads=1,
    )
    train_direct(settings, folder / "run")
    path = folder / "methanol.onnx"
    publish(folder / "run", path, [methanol_file], None, {})
    return path


def frame(path: Path) -> tuple[Atoms, np.ndarray]:
    file = bonded_data(path).files[0]
    atoms = Atoms(file.numbers, file.positions[0, 0].astype(float), masses=file.masses)
    p = file.momenta[0, 0].astype(float)
    # At rest as a whole, as the runtime keeps it.
    atoms.set_momenta(p - file.masses[:, None] * p.sum(0) / file.masses.sum())
    return atoms, np.sqrt(file.masses)[:, None]


def test_the_runtime_makes_the_same_stride(methanol_file: Path, trained: Path) -> None:
    """PyTorch's stride after its centre of mass is put back, which the runtime never lets go."""
    loaded = flashmd_rs.Model(trained)
    assert (loaded.metadata["contract"], loaded.kind, loaded.metadata["legendre_orders"]) == (4, "driven", 3)
    saved = torch.load(trained.parent / "run" / "checkpoint.pt", weights_only=False)
    model = build(saved["config"])
    model.load_state_dict(saved["best"])
    model.eval()
    gains = loaded.metadata["gain"]
    model.momentum_scale.copy_(torch.tensor([gains[symbol] for symbol in ("C", "O", "H")]))
    atoms, root = frame(methanol_file)
    graph = bonded_data(methanol_file).graph(0, atoms.positions, atoms.get_momenta(), 5.0)
    with torch.no_grad():
        stride = model.predict(graph)
    moved, momenta = stride.displacement.numpy() / root, stride.momenta.numpy() * root
    share = root**2 / (root**2).sum()
    moved -= (share * moved).sum(0)
    momenta -= share * momenta.sum(0)
    after = loaded.stride(atoms)
    assert np.abs(momenta - atoms.get_momenta()).max() > 0.1
    assert np.abs(after.positions - atoms.positions - moved).max() < 1e-5
    assert np.abs(after.get_momenta() - momenta).max() < 1e-4
    assert np.abs(after.get_momenta().sum(0)).max() < 1e-12


def test_restart_is_exact(trained: Path, tmp_path: Path) -> None:
    """Frame turned at random or not: a run goes on to the last bit."""
    given = dict(model=trained, temperature_K=300, seed=3, guard="off", interval=1)
    whole = flashmd_rs.rollout(methanol(), steps=20, **given)
    checkpoint = tmp_path / "run.ckpt"
    flashmd_rs.rollout(methanol(), steps=9, checkpoint=checkpoint, **given)
    resumed = flashmd_rs.rollout(methanol(), steps=20, checkpoint=checkpoint, resume=True, **given)
    assert np.array_equal(resumed.frames[-1].positions, whole.frames[-1].positions)
    assert np.array_equal(resumed.frames[-1].get_momenta(), whole.frames[-1].get_momenta())


def test_replicas_are_single_runs(trained: Path) -> None:
    """Two molecules in one batch, each with bonds of its own, move as each would alone but for rounding."""
    given = dict(model=trained, temperature_K=300, steps=5, guard="off", seed=1)
    for replica, run in enumerate(flashmd_rs.rollout([methanol(), methanol()], **given)):
        alone = flashmd_rs.rollout(methanol(), replica=replica, **given)
        assert np.abs(run.frames[-1].positions - alone.frames[-1].positions).max() < 1e-4


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="bonded wants prior free"):
        config(backbone="lookahead")
    with pytest.raises(ValueError, match="bonded wants prior free"):
        config(prior="bonded")


def test_metropolis_is_refused(trained: Path) -> None:
    with pytest.raises(flashmd_rs.ModelError, match="of kind 'driven', whose are not"):
        flashmd_rs.rollout(methanol(), model=trained, steps=1, temperature_K=300, metropolis=True)
