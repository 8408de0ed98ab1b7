"""Many compositions in one training, and files without forces or energies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.cluster import Octahedron
from segment_files import ATOMIC_EV, emt

import flashmd_rs
from flashmd_rs.model import read_metadata
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.graph.structures import solid_graph
from flashmd_train.learning.baselines import fit_baselines, follow_energies
from flashmd_train.learning.config import Data, DirectTraining, EnergyTraining, Optimizer, SplittingTraining
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.energy import train_energy
from flashmd_train.learning.metrics import stride_errors
from flashmd_train.learning.pretrain_lookahead import fit_linear, implied_coefficients
from flashmd_train.learning.splitting import train_splitting
from flashmd_train.model_files.contract import ENERGY_INPUTS
from flashmd_train.model_files.exports import export_energy
from flashmd_train.model_files.parity import run_onnx
from flashmd_train.models.config import DirectConfig, EnergyConfig, SplittingConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.energy import Energy

SHAPE = dict(nodes=(0.5, 1.0), radial=6, hidden=4, message_vectors=6)
METALS = ("Cu", "Au", "Al")
SMALL = EnergyConfig(species=METALS, prior="free", cutoff_A=5.0, radial=8, hidden=4)


def alloy(gold: int) -> object:
    """32 sites of copper, of which ``gold`` are gold, at a volume between the elements'."""
    atoms = bulk("Cu", a=3.61 + 0.47 * gold / 32, cubic=True) * 2
    atoms.numbers[np.random.default_rng(gold).permutation(32)[:gold]] = 79
    return atoms


@pytest.fixture(scope="module")
def metals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("metals")
    systems = {"Cu": alloy(0), "Au": alloy(32), "CuAu": alloy(16), "Al": bulk("Al", cubic=True) * 2, "Cu3Au": alloy(8)}
    return {name: emt(folder / f"{name}.h5", atoms) for name, atoms in systems.items()}


def training(files: list[Path], steps: int, **data: object) -> EnergyTraining:
    return EnergyTraining(
        model=SMALL,
        data=Data(files=tuple(files), **data),
        optimizer=Optimizer(steps=steps, learning_rate=3e-3, warmup=5),
        every=max(2, steps // 2),
    )


def biases(model: Energy, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean energy error of each file, eV per atom, and the shares of its species."""
    errors, shares = [], []
    for f, file in enumerate(data.files):
        graph, _, _, _ = force_sample(data, np.array([f, 0]), 0, model.config.cutoff_A)
        each = []
        for s in range(len(file.temperature_K)):
            graph, _, _, energy = force_sample(data, np.array([f, s]), 0, model.config.cutoff_A)
            predicted = model(graph.species, graph.edge_vectors, graph.mask, graph.neighbors).double().sum()
            each.append((float(predicted.detach()) - energy) / len(graph.species))
        errors.append(np.mean(each))
        shares.append(np.bincount(data.species[f], minlength=len(data.symbols)) / len(data.species[f]))
    return np.array(errors), np.array(shares)


class TestEnergies:
    def test_of_every_composition(self, metals: dict[str, Path], tmp_path: Path) -> None:
        """Copper, gold, their alloy and aluminium in one model, and an alloy that it never saw."""
        names = ["Cu", "Au", "CuAu", "Al"]
        model = train_energy(training([metals[n] for n in names], 120, edges=4000), tmp_path / "run")
        trained, _ = biases(model, Dataset([metals[n] for n in names]))
        every, shares = biases(model, Dataset([metals[n] for n in [*names, "Cu3Au"]]))
        # What one zero for all atoms would leave of this network, which was not trained with it.
        alone = every - shares @ model.baseline[0].double().numpy()
        single = alone - alone[:4].mean()
        assert np.abs(trained).max() < 0.02
        assert abs(every[4]) < 0.05
        assert np.abs(single).max() > 1.0

    def test_one_composition_gets_the_smallest_baselines(self, metals: dict[str, Path]) -> None:
        """Cu3Au: shares ¾ and ¼ of one number, in their proportion; aluminium, which is not there, gets none."""
        data, model = Dataset([metals["Cu3Au"], metals["Al"]]), Energy(SMALL)
        fit_baselines(model, data, np.array([(0, s) for s in range(8)]))
        copper, gold, aluminium = model.baseline[0].tolist()
        mean = float(data.files[0].energy[:, 0].mean()) / 32
        assert (copper, gold, aluminium) == pytest.approx((mean * 0.75 / 0.625, mean * 0.25 / 0.625, 0.0), rel=1e-5)

    def test_are_followed_in_training(self) -> None:
        """Steps alone find the elements' energies from two boxes of other compositions."""
        model = Energy(SMALL)
        species, box = torch.tensor([0, 0, 0, 1, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
        wanted = torch.tensor([[0.75, 0.25, 0.0], [0.2, 0.6, 0.2]]) @ torch.tensor([-3.0, -5.0, 2.0])
        for _ in range(1500):
            found = torch.zeros(2).index_add(0, box, model.baseline[0, species]) / torch.tensor([4.0, 5.0])
            follow_energies(model, species, box, (found - wanted).double())
        assert torch.allclose(found, wanted, atol=1e-4)

    def test_a_run_with_equal_edges_resumes_to_the_same_bits(self, metals: dict[str, Path], tmp_path: Path) -> None:
        given = training([metals[n] for n in ("Cu", "Au", "Al")], 4, edges=3000)
        whole = train_energy(given, tmp_path / "whole")
        train_energy(given, tmp_path / "halves", stop_after=2)
        halves = train_energy(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)

    def test_are_in_the_exported_graph(self) -> None:
        model, masses = Energy(SMALL).eval(), (63.5, 197.0, 27.0)
        torch.nn.init.normal_(model.pair, std=0.05)
        graph = solid_graph(3, 5.0, 1, masses)
        without = model(graph.species, graph.edge_vectors, graph.mask, graph.neighbors).detach()
        model.baseline.copy_(torch.tensor([[-3.0, -5.0, 2.0]]))
        exported, _ = export_energy(model, masses)
        energies = run_onnx(exported, graph, ENERGY_INPUTS)[0].squeeze()
        assert len(set(graph.species.tolist())) == 3
        assert np.allclose(energies - without.numpy(), model.baseline[0, graph.species], atol=1e-5)

    def test_of_old_runs_are_as_they_were(self) -> None:
        model = Energy(SMALL)
        state = model.state_dict()
        del state["baseline"]
        model.load_state_dict(state | {"offset": torch.tensor([0.7])})
        assert model.baseline.tolist() == [[pytest.approx(0.7), 0.0, 0.0]]

    def test_of_clusters_alone_are_published(self, tmp_path: Path) -> None:
        """No cell, no density, no pressure."""
        file = emt(tmp_path / "cluster.h5", Octahedron("Cu", 3, 1))
        small = SMALL.model_copy(update=dict(species=("Cu",)))
        train_energy(training([file], 2).model_copy(update=dict(model=small)), tmp_path / "run")
        publish(tmp_path / "run", tmp_path / "e.onnx", [file], None, {})
        metadata = read_metadata(tmp_path / "e.onnx")
        assert "density_g_per_cm3" not in metadata["domain"]
        assert "pressures" not in metadata["validation"]
        atoms = Octahedron("Cu", 3, 1)
        energy = flashmd_rs.Model(tmp_path / "e.onnx", device="cpu", threads=1).energy(atoms)
        assert abs(energy / len(atoms) - ATOMIC_EV["Cu"]) < 3.0


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trajectory of positions and momenta."""
    return emt(tmp_path_factory.mktemp("bare") / "bare.h5", alloy(8), segments=16, frames=5, labels=())


class TestWithoutLabels:
    def test_two_coefficients_make_the_stride(self, bare: Path) -> None:
        model = Direct(DirectConfig(species=("Cu", "Au"), prior="free", stride_fs=16.0, cutoff_A=5.0, options=SHAPE))
        pairs = StridePairs(Dataset([bare]), np.array([(0, 0)]), 16.0, 5.0)
        batch = pairs.unaugmented(0)
        coefficients = implied_coefficients(model, batch.graph, batch)
        u, v = model.prior.flow(batch.graph, model.prior.bind(batch.graph), coefficients, (1.0,))
        root = batch.graph.masses.sqrt()[:, None]
        assert torch.allclose(root * u[:, 0], batch.displacement[0], atol=1e-4)
        assert torch.allclose(root * v[:, 0], batch.momenta[0], atol=1e-4)

    def test_pretraining_is_as_good_as_on_forces(self, bare: Path, tmp_path: Path) -> None:
        full = emt(tmp_path / "full.h5", alloy(8), segments=16, frames=5)
        errors = {}
        for file in (bare, full):
            torch.manual_seed(0)
            config = DirectConfig(species=("Cu", "Au"), prior="free", stride_fs=16.0, cutoff_A=5.0, options=SHAPE)
            model, data = Direct(config), Dataset([file])
            training_part, held = data.split(0.2, seed=0)
            before = stride_errors(model, StridePairs(data, held, 16.0, 5.0))["momentum_error"]
            fit_linear(model, StridePairs(data, training_part, 16.0, 5.0), 40, np.random.default_rng(0))
            errors[file] = stride_errors(model, StridePairs(data, held, 16.0, 5.0))["momentum_error"]
            assert errors[file] < 0.3 * before
        assert errors[bare] < 1.2 * errors[full]

    def test_a_direct_model_trains(self, bare: Path, metals: dict[str, Path], tmp_path: Path) -> None:
        """Beside a file with forces, to the same bits in one run or two."""
        files = (bare, metals["Au"])
        config = DirectConfig(species=("Cu", "Au"), prior="free", stride_fs=8.0, cutoff_A=5.0, options=SHAPE)
        given = DirectTraining(
            model=config, data=Data(files=files, edges=4000), optimizer=Optimizer(steps=4, warmup=0), every=2
        )
        whole = train_direct(given, tmp_path / "whole")
        train_direct(given, tmp_path / "halves", stop_after=2)
        halves = train_direct(given, tmp_path / "halves")
        for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
            assert torch.equal(a, b)
        last = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])
        assert np.isfinite(list(last.values())).all()

    def test_energies_and_splittings_say_what_they_want(
        self, bare: Path, metals: dict[str, Path], tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=r"bare\.h5 holds no forces and no energy, wanted forces and energy"):
            train_energy(training([metals["Cu"], metals["Au"], metals["Al"], bare], 2), tmp_path / "e")
        config = SplittingConfig(
            species=("Cu", "Au"), scalar=SMALL.model_copy(update=dict(species=("Cu", "Au"))), stride_fs=8.0
        )
        given = SplittingTraining(model=config, data=Data(files=(bare,)))
        with pytest.raises(ValueError, match=r"bare\.h5 holds no forces, wanted forces for every frame"):
            train_splitting(given, tmp_path / "s")
        forces = emt(tmp_path / "forces.h5", alloy(8), labels=("forces",))
        given = given.model_copy(
            update=dict(data=Data(files=(forces,)), force_steps=2, every=2, optimizer=Optimizer(steps=2, warmup=0))
        )
        train_splitting(given, tmp_path / "f")
        assert (tmp_path / "f" / "checkpoint.pt").exists()
