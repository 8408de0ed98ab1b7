"""Settings, losses, the trainer and what it publishes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from flashmd_rs.reference.water import Water
from flashmd_train import calibration
from flashmd_train.calibration import _departed, _one_stride_gain, calibrate
from flashmd_train.checkpoint import Run
from flashmd_train.config import (
    Data,
    DirectConfig,
    DirectTraining,
    EnergyConfig,
    EnergyTraining,
    Loss,
    Optimizer,
    read,
    template,
)
from flashmd_train.dataset import Dataset, Pairs
from flashmd_train.direct import POSITION_TIME, Direct, Prediction
from flashmd_train.energy import load_energy
from flashmd_train.export import DIRECT_INPUTS, run_onnx
from flashmd_train.graph import Graph, build_graph, moved
from flashmd_train.losses import KT, Objective, energy_change, mass_scaled, noise_likelihood, plain, variance
from flashmd_train.publish import publish
from flashmd_train.studies.ranking import ranking
from flashmd_train.train import train
from flashmd_train.train_energy import train_energy
from flashmd_train.uncertainty import observe, set_uncertainty

CUTOFF = 4.0
OPTIONS = {
    "staged": dict(nodes=(0.5, 1.0), radial=6, hidden=4, hop_vectors=6),
    "edgemp": dict(features=16),
    "painn": dict(features=16, radial=6),
}
EVERY = np.array([(0, s) for s in range(6)])


def settings(file: Path, backbone: str = "staged", steps: int = 4, model: dict | None = None, **more) -> DirectTraining:
    shape = dict(stride_fs=2.0, cutoff_A=CUTOFF, inner_fs=1.0, lookahead_fs=1.0, modes=2, options=OPTIONS[backbone])
    return DirectTraining(
        model=DirectConfig(backbone=backbone, **shape, **(model or {})),
        data=Data(files=(file,), boxes=1),
        optimizer=Optimizer(steps=steps, warmup=0),
        every=2,
        **more,
    )


@pytest.fixture(scope="module")
def energy_run(data_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("energy")
    model = EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4)
    train_energy(
        EnergyTraining(model=model, data=Data(files=(data_file,)), optimizer=Optimizer(steps=2), every=2), folder
    )
    return folder


class TestSettings:
    def test_what_is_printed_can_be_read(self, tmp_path: Path) -> None:
        for kind in (DirectTraining, EnergyTraining):
            (tmp_path / "c.yaml").write_text(template(kind))
            assert read(kind, tmp_path / "c.yaml") == kind()

    def test_yaml_and_toml_say_the_same_and_a_change_wins(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("model: {stride_fs: 8, options: {radial: 10}}\ndata: {files: [a.h5]}\n")
        (tmp_path / "c.toml").write_text('[model]\nstride_fs = 8\noptions = {radial = 10}\n[data]\nfiles = ["a.h5"]\n')
        a, b = (read(DirectTraining, tmp_path / name) for name in ("c.yaml", "c.toml"))
        assert a == b
        assert a.data.files == (tmp_path / "a.h5",)
        changed = read(DirectTraining, tmp_path / "c.yaml", ["optimizer.steps=7", "model.prior=free"])
        assert (changed.optimizer.steps, changed.model.prior, changed.model.stride_fs) == (7, "free", 8.0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model: {stride_fs: -1}", "model.stride_fs: Input should be greater than 0, got -1"),
            ("model: {strid_fs: 1}", "model.strid_fs: Extra inputs are not permitted"),
            ("loss: {kind: huber}", "loss.kind: Input should be 'mass_scaled' or 'plain', got 'huber'"),
            ("[1, 2]", "holds list"),
            ("a: [", "is not YAML"),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"c\.yaml") as caught:
            read(DirectTraining, tmp_path / "c.yaml")
        assert message in str(caught.value)

    def test_data_of_other_atoms_is_refused(self, data_file: Path, tmp_path: Path) -> None:
        other = settings(data_file, model=dict(species=("Al",), prior="free"))
        with pytest.raises(ValueError, match="the data holds"):
            train(other, tmp_path / "run")


def prediction(n: int = 200, seed: int = 0) -> tuple[Prediction, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    scale = torch.rand(n, 3) + torch.tensor([0.2, -0.5, 0.2])
    mean = Prediction(torch.randn(n, 3), torch.randn(n, 3), scale, torch.zeros(n, 1))
    return mean, torch.randn(n, 3), torch.randn(n, 3)


class TestLosses:
    def test_mass_scaled_is_the_thermal_energy_of_the_errors(self) -> None:
        stride, q, p = prediction()
        dq, dp = mass_scaled(stride, q, p)
        assert torch.isclose(dp, (stride.momenta - p).square().mean() / KT)
        assert torch.isclose(dq, (stride.displacement - q).square().mean() / (KT * POSITION_TIME**2))

    def test_plain_does_not_depend_on_units_and_counts_heavy_momenta_more(self) -> None:
        stride, q, p = prediction()
        masses = torch.tensor([16.0, 1.0] * 100)
        for factor in (1.0, 7.0):
            bigger = stride._replace(displacement=factor * stride.displacement, momenta=factor * stride.momenta)
            dq, dp = plain(bigger, factor * q, factor * p, masses)
            assert torch.isclose(dq, plain(stride, q, p, masses)[0])
            assert torch.isclose(dp, plain(stride, q, p, masses)[1])
        error = (stride.momenta - p).square()
        assert torch.isclose(
            dp, (16 * error[::2].sum() + error[1::2].sum()) / (16 * p[::2].square().sum() + p[1::2].square().sum())
        )

    def test_noise_likelihood_is_the_gaussians(self) -> None:
        stride, q, p = prediction()
        first, mixed, second = stride.residual_scale.unbind(-1)
        zero = torch.zeros_like(first)
        factor = torch.stack([torch.stack([first, zero], -1), torch.stack([mixed, second], -1)], -2)
        gaussian = torch.distributions.MultivariateNormal(torch.zeros(2), scale_tril=factor[:, None])
        residual = torch.stack([q - stride.displacement, p - stride.momenta], -1)
        shift = np.log(2 * np.pi) + np.log(KT * POSITION_TIME)
        assert torch.isclose(noise_likelihood(stride, q, p), -gaussian.log_prob(residual).mean() - shift, atol=1e-5)

    def test_noise_does_not_move_the_mean(self, data: Dataset) -> None:
        model = Direct(
            DirectConfig(
                stride_fs=2.0, cutoff_A=CUTOFF, modes=2, lookahead_fs=1.0, noise=True, options=OPTIONS["staged"]
            )
        )
        batch = Pairs(data, EVERY, 2.0, CUTOFF).held(0)
        stride = model.predict(batch.graph)
        noise_likelihood(stride, batch.displacement[0], batch.momenta[0]).backward()
        with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().any()}
        assert with_gradient == {"noise.weight", "noise.bias"}

    def test_variance_sees_each_species(self) -> None:
        stride, _, p = prediction()
        species = torch.tensor([0, 1] * 100)
        shrunk = torch.where(species[:, None] == 0, 0.9 * p, p)
        assert torch.isclose(variance(stride._replace(momenta=shrunk), p, species, 2), torch.tensor((0.81 - 1) ** 2))

    def test_energy_change_is_that_of_the_hamiltonian(self, data: Dataset, energy_run: Path) -> None:
        """Against energies of graphs that are built anew where the atoms went."""
        energy = load_energy(energy_run)
        file = data.files[0]
        graphs = []
        for frame in (0, 3):
            q, p = file.positions[0, frame].astype(float), file.momenta[0, frame]
            graphs.append(build_graph(q, p, file.masses, data.species[0], file.cell, CUTOFF))
        batch = Pairs(data, EVERY, 6.0, CUTOFF + 1.0).held(0)
        after = moved(batch.graph, batch.displacement[0], batch.momenta[0])

        def per_atom(graph):
            return energy(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)

        wanted = [float((per_atom(g) + 0.5 * g.momenta.square().sum(-1)).detach().sum()) for g in graphs]
        got = float(energy_change(per_atom, batch.graph, after, batch.box, 1).detach())
        assert abs(got - (wanted[1] - wanted[0]) ** 2 / (192 * KT**2)) < 1e-3 * got + 1e-6

    def test_unrolled_strides_start_where_the_last_one_ended(self, data: Dataset) -> None:
        """Two strides in the objective against two by hand, with the neighbours searched again."""
        config = DirectConfig(stride_fs=4.0, cutoff_A=CUTOFF, modes=2, inner_fs=1.0, options=OPTIONS["staged"])
        model = Direct(config).eval()
        file = data.files[0]
        batch = Pairs(data, EVERY, 4.0, CUTOFF + 1.0, strides=2).batch(EVERY[:1], [0], np.array([False]), None)
        _, terms = Objective(model, Loss(strides=2))(batch)
        root = np.sqrt(file.masses)[:, None]
        q, p = file.positions[0, 0].astype(float), file.momenta[0, 0].astype(float)
        total = 0.0
        for frame in (2, 4):
            graph = build_graph(q, p, file.masses, data.species[0], file.cell, CUTOFF)
            u, v = (x.detach().numpy() for x in model(*graph))
            q, p = q + u / root, v * root
            total += np.mean(((q - file.positions[0, frame]) * root) ** 2) / (KT * POSITION_TIME**2)
        assert abs(float(terms["position"]) - total / 2) < 1e-3 * total


class TestTraining:
    @pytest.mark.parametrize("backbone", ["staged", "edgemp", "painn"])
    @pytest.mark.parametrize("case", ["plain", "everything"])
    def test_resumes_to_the_same_bits(
        self, backbone: str, case: str, data_file: Path, energy_run: Path, tmp_path: Path
    ) -> None:
        given = settings(data_file, backbone)
        if case == "everything":
            loss = Loss(kind="plain", strides=2, energy_weight=0.1, energy_run=energy_run, variance_weight=0.1)
            given = settings(data_file, backbone, model=dict(noise=True), loss=loss)
            noisy = given.data.model_copy(update=dict(position_noise_A=0.01, momentum_noise=0.01))
            given = given.model_copy(update=dict(data=noisy))
        whole = train(given, tmp_path / "whole")
        train(given, tmp_path / "halves", stop_after=2)
        halves = train(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)
        lines = (tmp_path / "halves" / "log.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [2, 4]
        assert list((tmp_path / "halves").glob("events.out.tfevents.*"))

    def test_two_processes_average_their_gradients(self, data_file: Path, data: Dataset, tmp_path: Path) -> None:
        """Two steps of `torchrun` with two processes against two by hand on all of their boxes."""
        given = settings(data_file, "edgemp", steps=2)
        (tmp_path / "c.yaml").write_text(given.model_dump_json())
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        command += ["-m", "flashmd_train", "direct", str(tmp_path / "c.yaml"), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)

        torch.manual_seed(given.seed)
        model = Direct(given.model)
        training, _ = data.split(given.data.validation, seed=0)
        pairs = Pairs(data, training, 2.0, CUTOFF, augment=True)
        objective = Objective(model, given.loss)
        run = Run(tmp_path / "hand", {}, model, given.optimizer, given.seed)
        for step in range(2):
            draws = [pairs.draw(np.random.default_rng([given.seed, step, rank]), 1) for rank in range(2)]
            run.descend(0.5 * sum(objective(batch)[0] for batch in draws))
        for name, value in model.state_dict().items():
            assert torch.allclose(value, saved["model"][name], rtol=1e-4, atol=1e-6), name

    def test_mixed_precision_learns_the_same(self, data_file: Path, tmp_path: Path) -> None:
        losses = []
        for precision in ("float32", "bfloat16"):
            given = settings(data_file, "edgemp")
            optimizer = given.optimizer.model_copy(update=dict(precision=precision))
            train(given.model_copy(update=dict(optimizer=optimizer)), tmp_path / precision)
            line = json.loads((tmp_path / precision / "log.jsonl").read_text().splitlines()[-1])
            losses.append(line["loss_momentum"])
        assert losses[0] != losses[1]
        assert abs(losses[0] - losses[1]) < 0.05 * losses[0]

    def test_stops_when_nothing_gets_better_and_keeps_the_best(self, data_file: Path, tmp_path: Path) -> None:
        given = settings(data_file, "edgemp", steps=40)
        # Steps so long that only the first validations can be the best.
        optimizer = given.optimizer.model_copy(update=dict(learning_rate=0.3, patience=2))
        model = train(given.model_copy(update=dict(optimizer=optimizer, every=1)), tmp_path / "run")
        lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        scores = [line["momentum_error"] + line["displacement_error"] for line in lines]
        assert len(lines) == int(np.argmin(scores)) + 3 < 40
        saved = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)
        for name, value in model.state_dict().items():
            assert torch.equal(value, saved["best"][name])

    def test_energy_training_resumes_and_takes_several_boxes(self, data_file: Path, tmp_path: Path) -> None:
        model = EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4)
        data = Data(files=(data_file,), boxes=2)
        given = EnergyTraining(model=model, data=data, optimizer=Optimizer(steps=4), every=2)
        whole = train_energy(given, tmp_path / "whole")
        train_energy(given, tmp_path / "halves", stop_after=2)
        halves = train_energy(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)


@pytest.mark.parametrize(("backbone", "rows"), [("staged", 3), ("painn", 3), ("edgemp", 1)])
def test_uncertainty_is_the_distance_of_what_the_last_layer_is_linear_in(
    data: Dataset, backbone: str, rows: int
) -> None:
    """σ² against α²·Σ_x f_xᵀ(Σffᵀ + ς1)⁻¹f_x with a general solver, and calibrated to the mean square error."""
    torch.manual_seed(1)
    shape = dict(stride_fs=2.0, cutoff_A=CUTOFF, modes=2, lookahead_fs=1.0)
    model = Direct(DirectConfig(backbone=backbone, options=OPTIONS[backbone], **shape))
    pairs = Pairs(data, EVERY, 2.0, CUTOFF)
    ranks = set_uncertainty(model, pairs, pairs)
    assert set(ranks) == {"spearman_displacement", "spearman_momenta_out"}
    with torch.no_grad():
        every = torch.cat([model.predict(pairs.held(k).graph).last for k in range(6)]).double()
    assert every.shape[1] == rows
    error, spread, species = observe(model, pairs)
    for s in range(2):
        of = species == s
        last = every[of].flatten(0, 1)
        covariance = last.T @ last
        covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(len(covariance))
        squares = (last * torch.linalg.solve(covariance, last.T).T).sum(-1)
        distance = squares.unflatten(0, (-1, rows)).sum(-1).sqrt()
        assert torch.allclose(spread[of].double() / distance[:, None], model.doubt_scale[s].double(), rtol=1e-2)
        assert torch.allclose(spread[of].square().mean(0), error[of].square().mean(0), rtol=1e-3)


class Watched(Dataset):
    """Remembers where the atoms of its last graph are."""

    def graph(self, file: int, q: np.ndarray, p: np.ndarray, cutoff: float) -> Graph:
        self.last = q, p
        return super().graph(file, q, p, cutoff)


class Faulty:
    """The reference's own stride, but momenta shrink by species, more so after a stride than from a frame of the data,
    and atoms end a bit uphill of where they belong."""

    def __init__(
        self, data: Watched, shrunk: tuple[float, float], later: tuple[float, float], uphill_A2_per_eV: float
    ) -> None:
        self.config = DirectConfig(stride_fs=2.0, cutoff_A=CUTOFF)
        self.gain = torch.ones(2)
        self.data, self.uphill = data, uphill_A2_per_eV
        self.shrunk, self.later = torch.tensor(shrunk), torch.tensor(later)
        self.reference = Water(64, density_g_per_cm3=data.files[0].density_g_per_cm3)

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        graph, (q, p) = Graph(*inputs), self.data.last
        self.reference.context.setPositions(0.1 * q)
        self.reference.set_momenta(p)
        self.reference.nve(self.config.stride_fs)
        end, root = self.reference.get(), graph.masses.sqrt()[:, None]
        moved_A = end.positions - q - self.uphill * end.forces
        a_start = (self.data.files[0].positions == q.astype(np.float32)).all((2, 3)).any()
        factor = self.shrunk * self.gain * (1 if a_start else self.later)
        return torch.tensor(moved_A) * root, factor[graph.species.long(), None] * torch.tensor(end.momenta) / root


def test_gains_restore_what_strides_take(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one stride, of each species' Σ p²; over many, of energy and of equipartition too."""
    monkeypatch.setattr(calibration, "BALANCED_RUNS", 3)
    monkeypatch.setattr(calibration, "ANSWERING_RUNS", 2)
    data = Watched([data_file])
    held = Pairs(data, EVERY[:2], 2.0, CUTOFF)
    faulty = Faulty(data, (0.99, 0.98), (0.998, 1.0), 4e-5)
    assert torch.allclose(_one_stride_gain(faulty, held), 1 / faulty.shrunk, atol=1e-4)

    def departed(gain: torch.Tensor) -> np.ndarray:
        faulty.gain = gain
        return np.mean([_departed(faulty, held, k, [faulty.reference]) for k in range(3)], axis=0)

    before = departed(1 / faulty.shrunk)
    calibrate(faulty, held)
    after = departed(faulty.gain)
    assert before[1] < -0.05
    assert (np.abs(after) < 0.2 * np.abs(before)).all()
    with pytest.raises(ValueError, match="train the model further"):
        calibrate(Faulty(data, (1.0, 1.0), (1.0, 1.0), float("nan")), held)


def test_publishing_writes_the_contracts_metadata(
    data_file: Path, data: Dataset, energy_run: Path, tmp_path: Path
) -> None:
    publish(energy_run, tmp_path / "e.onnx", [data_file], None, {})
    train(settings(data_file, steps=2, model=dict(noise=True)), tmp_path / "direct")
    publish(tmp_path / "direct", tmp_path / "d.onnx", [data_file], tmp_path / "e.onnx", {"runs": 1})
    model = onnx.load(tmp_path / "d.onnx")
    entries = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert set(entries) == {"flashmd"}
    metadata = entries["flashmd"]
    assert metadata["kind"] == "direct"
    assert metadata["stride_fs"] == 2.0
    assert metadata["energy_model"]["name"] == "e"
    assert metadata["validation"]["onnx_parity"] < 1e-4  # of the uncertainty, a small difference of near equal features
    assert metadata["validation"]["runs"] == 1
    assert len(metadata["domain"]["largest_uncertainty"]) == 2
    assert 0.9 < metadata["domain"]["density_g_per_cm3"][0] < 1.1
    assert [i.name for i in model.graph.input] == list(DIRECT_INPUTS[:6])
    assert [o.name for o in model.graph.output] == ["displacement", "momenta_out", "residual_scale", "uncertainty"]
    table = ranking(tmp_path / "d.onnx", [data_file], 2)
    assert f"| {data_file.stem} | all |" in table
    assert "| all | all |" in table
    graph = Pairs(data, EVERY, 2.0, CUTOFF).held(0).graph
    assert [x.shape for x in run_onnx(model, graph, DIRECT_INPUTS)] == [(192, 3), (192, 3), (192, 3), (192, 2)]
