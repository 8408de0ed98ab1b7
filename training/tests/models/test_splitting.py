"""Splitting models: exact structure whatever the weights, training through the map, the runtime's stride."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase import units

import flashmd_rs
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.publish import publish
from flashmd_train.graph.nef import Graph, build_graph
from flashmd_train.learning.config import Data, Optimizer, SplittingTraining
from flashmd_train.learning.pretrain_pairs import fit_pairs, fit_tables
from flashmd_train.learning.splitting import fit_forces, measure_closest, measure_repulsion, train_splitting
from flashmd_train.models.bonded import bonded_forces
from flashmd_train.models.config import EnergyConfig, SplittingConfig
from flashmd_train.models.molecules import Molecules
from flashmd_train.models.splitting import WALL_POWER, Splitting

CUTOFF = 4.0
MASSES = np.array([15.99943, 1.007947])
# A scheme whose bonds and angle act within its drifts.
BONDED = ", bonded"
# One with tabulated pair forces within its drifts, too, whose scalars are mollified.
TABULATED = ", tabulated"
# One whose scalars have quadrupoles.
QUADRUPOLES = ", quadrupoles"
SCHEMES = {"verlet": ((0, 0), (1.0,)), "two": ((0, 1, 0), (0.5, 0.5)), "three": ((0, 1, 2, 1, 0), (0.2, 0.3, 0.3, 0.2))}


def config(scheme: str = "two", **more) -> SplittingConfig:
    kicks, drifts = SCHEMES[scheme.partition(",")[0]]
    angular = 2 if scheme.endswith(QUADRUPOLES) else 1
    scalar = EnergyConfig(cutoff_A=CUTOFF, radial=6, hidden=4, angular=angular, **more)
    inner_timestep_fs = 0.5 if scheme.endswith((BONDED, TABULATED)) else None
    tabulated = scheme.endswith(TABULATED)
    return SplittingConfig(
        stride_fs=2.0,
        kicks=kicks,
        drifts=drifts,
        inner_timestep_fs=inner_timestep_fs,
        pair_timestep_fs=0.5 if tabulated else None,
        mollified=tabulated,
        scalar=scalar,
        species=scalar.species,
    )


def rough(scheme: str) -> Splitting:
    """A model in 64 bits whose every part has forces."""
    torch.manual_seed(3)
    model = Splitting(config(scheme)).double()
    with torch.no_grad():
        model.scalar.pair.normal_(0, 0.03)
        model.scalar.out.weight.normal_(0, 0.03)
        model.scalar.log_constants.normal_(0, 1.0)
        model.closest.fill_(0.9)
        if model.tables is not None:
            r = model.tables.distances
            model.tables.energies.copy_(torch.stack([k * (r - CUTOFF) ** 2 for k in (0.3, -0.1, 0.05)]))
            model.tables.slopes.copy_(torch.stack([2 * k * (r - CUTOFF) for k in (0.3, -0.1, 0.05)]))
    return model.eval()


def molecules() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, momenta and species of three waters in the open."""
    rng = np.random.default_rng(4)
    water = 0.97 * np.array([[0, 0, 0], [0.79, 0.61, 0], [-0.79, 0.61, 0]])
    turns, _ = np.linalg.qr(rng.normal(size=(3, 3, 3)))
    places = np.array([[0, 0, 0], [2.9, 0, 0], [0.4, 2.8, 0.5]])
    species = np.array([0, 1, 1] * 3)
    q = (places[:, None] + water @ turns).reshape(-1, 3)
    p = 0.16 * rng.normal(size=q.shape) * np.sqrt(MASSES[species])[:, None]
    return q, p, species


def graph_at(q: np.ndarray, p: np.ndarray, species: np.ndarray) -> Graph:
    graph = build_graph(q, p, MASSES[species], species, np.eye(3) * 40, CUTOFF + 1.0)
    edges = torch.tensor(q)[graph.neighbors] - torch.tensor(q)[:, None]
    scaled = torch.tensor(p / np.sqrt(MASSES[species])[:, None])
    masses = torch.tensor(MASSES[species])
    return graph._replace(edge_vectors=edges * graph.mask[..., None], momenta=scaled, masses=masses)


def stride(model: Splitting, q: np.ndarray, p: np.ndarray, species: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    root = np.sqrt(MASSES[species])[:, None]
    done = model.predict(graph_at(q, p, species))
    return q + done.displacement.numpy() / root, done.momenta.numpy() * root


@pytest.mark.parametrize(
    "scheme", [*SCHEMES, *(n + BONDED for n in ("verlet", "two")), "two" + TABULATED, "two" + QUADRUPOLES]
)
class TestStructure:
    def test_forward_flip_back_returns(self, scheme: str) -> None:
        model, (q, p, species) = rough(scheme), molecules()
        there_q, there_p = stride(model, q, p, species)
        back_q, back_p = stride(model, there_q, -there_p, species)
        assert np.abs(there_p - p).max() > 0.01
        assert np.abs(back_q - q).max() < 1e-12
        assert np.abs(back_p + p).max() < 1e-11

    def test_symplectic(self, scheme: str) -> None:
        """‖JᵀΩJ − Ω‖ with J by central differences in 64 bits, in mass-scaled variables."""
        model, (q, p, species) = rough(scheme), molecules()
        root = np.sqrt(MASSES[species]).repeat(3)
        n, step = q.size, 1e-5

        def flow(y: np.ndarray) -> np.ndarray:
            q, p = (y[:n] / root).reshape(-1, 3), (y[n:] * root).reshape(-1, 3)
            q, p = stride(model, q, p, species)
            return np.concatenate([q.ravel() * root, p.ravel() / root])

        y = np.concatenate([q.ravel() * root, p.ravel() / root])
        j = np.stack([(flow(y + e) - flow(y - e)) / (2 * step) for e in step * np.eye(2 * n)], 1)
        omega = np.block([[np.zeros((n, n)), np.eye(n)], [-np.eye(n), np.zeros((n, n))]])
        assert np.abs(j.T @ omega @ j - omega).max() < 1e-6

    def test_momentum_is_kept(self, scheme: str) -> None:
        model, (q, p, species) = rough(scheme), molecules()
        _, after = stride(model, q, p, species)
        assert np.abs(after.sum(0) - p.sum(0)).max() < 1e-12


def test_shares_make_velocity_verlet_of_one_energy() -> None:
    """Scalars that are their shares of one energy: the sum over the kicks is that energy, once."""
    for kicks, drifts in SCHEMES.values():
        model = Splitting(config().model_copy(update=dict(kicks=kicks, drifts=drifts)))
        assert np.isclose(sum(float(model.scalar.share[k]) for k in kicks), 1.0)


def test_the_wall_keeps_atoms_apart(data: Dataset) -> None:
    """Two hydrogens of different waters at half the closest approach are driven apart by all that there is."""
    model = Splitting(config()).double()
    measure_closest(model, data)
    closest = float(model.closest[1, 1])
    assert 1.0 < closest < 1.7
    q = np.array([[0, 0, 0], [0, 0, 0.5 * closest]])
    graph = graph_at(q, np.zeros((2, 3)), np.array([1, 1]))
    force = sum(model.force(graph, torch.zeros(2, 3, dtype=torch.float64), h, train=False) for h in (0, 1, 0))
    wanted = WALL_POWER * model.config.repulsion_eV * 2**WALL_POWER / (0.5 * closest)
    assert np.isclose(float(force[1, 2]), wanted, rtol=1e-6)
    assert np.isclose(float(force[0, 2]), -wanted, rtol=1e-6)


def test_repulsion_goes_on_nearer_than_in_the_data(data: Dataset) -> None:
    """The force of two atoms does not fall where the data ends, and what is learned stops changing."""
    model = Splitting(config())
    index = np.array([(0, segment) for segment in range(len(data.files[0].positions))])
    measure_closest(model, data)
    fit_pairs(model.scalar, data, index, 40, np.random.default_rng(0), model.closest)
    measure_repulsion(model)
    with torch.no_grad():
        model.scalar.pair.copy_(model.scalar.share[:, None] * model.scalar.pair[:1])
        model.scalar.out.weight.zero_()
    model.double()
    closest = float(model.closest[1, 1])

    def force(distance: float) -> float:
        graph = graph_at(np.array([[0, 0, 0], [0, 0, distance]]), np.zeros((2, 3)), np.array([1, 1]))
        still = torch.zeros(2, 3, dtype=torch.float64)
        return float(sum(model.force(graph, still, head, train=False) for head in (0, 1, 0))[1, 2])

    at_the_end = float(model.repulsion[1, 1])
    assert at_the_end > 0.2
    forces = [force(d) for d in np.linspace(closest + 0.06, closest - 0.4, 24)]
    assert min(forces) > 0.8 * at_the_end
    assert force(closest - 0.1) > at_the_end


def test_nearer_than_any_in_the_data_the_wall_alone_acts() -> None:
    """Whatever the weights: what is learned does not change with such distances."""
    model = rough("two")
    model.closest.fill_(2.0)
    model.config = model.config.model_copy(update={"repulsion_eV": 0.0})
    with torch.no_grad():
        model.scalar.pair.normal_(0, 1.0)
        model.scalar.out.weight.normal_(0, 0.3)

    def learned_force(distance: float) -> float:
        q = np.array([[0, 0, 0], [0, 0, distance]])
        graph = graph_at(q, np.zeros((2, 3)), np.array([1, 1]))
        force = model.force(graph, torch.zeros(2, 3, dtype=torch.float64), 0, train=False)
        return float(force[1, 2].abs())

    inside = max(learned_force(d) for d in np.linspace(2.0, CUTOFF - 0.3, 20))
    nearer = max(learned_force(d) for d in np.linspace(1.2, 1.6, 5))
    assert inside > 0.1
    assert nearer < 0.03 * inside


def settings(file: Path, steps: int = 4, scheme: str = "two") -> SplittingTraining:
    return SplittingTraining(
        model=config(scheme),
        data=Data(files=(file,)),
        optimizer=Optimizer(steps=steps, warmup=0),
        force_steps=5,
        every=2,
    )


def test_forces_are_a_start_and_strides_improve_on_it(data_file: Path, data: Dataset) -> None:
    given = settings(data_file)
    torch.manual_seed(0)
    model = Splitting(given.model)
    index, _ = data.split(0.05, seed=0)
    fit_forces(model, data, index, given)
    pairs = StridePairs(data, index, 2.0, CUTOFF + 1.0)
    batch = pairs.unaugmented(0)
    error = float((model.eval().predict(batch.graph).momenta - batch.momenta[0]).square().mean() ** 0.5)
    size = float(batch.momenta[0].square().mean() ** 0.5)
    assert error < 0.12 * size


def test_tables_hold_most_of_the_slow_forces(data: Dataset) -> None:
    """Within 4 Å, of water's forces beyond bonds and angles; they end smoothly, and rise where no atoms were."""
    model = Splitting(config("verlet" + TABULATED))
    index, _ = data.split(0.05, seed=0)
    fit_tables(model, data, index, np.random.default_rng(0))
    slow = left = 0.0
    for pick in index[:5]:
        graph, _, forces, _ = force_sample(data, pick, 0, CUTOFF)
        known = forces - bonded_forces(Molecules(graph), torch.zeros_like(forces), model.flows[0].reference)
        slow += float(known.square().sum())
        left += float((forces - model.drift_forces(graph)).square().sum())
    assert left < 0.05 * slow
    tables = model.tables
    assert tables.energies[:, -1].abs().max() < 1e-12
    assert tables.slopes[:, -1].abs().max() < 1e-12
    assert (tables.slopes[:, 0] < -10.0).all()
    assert not model.scalar.pair.any()


@pytest.mark.parametrize("scheme", ["two", "two" + BONDED, "two" + TABULATED])
def test_training_resumes_to_the_same_bits(data_file: Path, tmp_path: Path, scheme: str) -> None:
    whole = train_splitting(settings(data_file, scheme=scheme), tmp_path / "whole")
    train_splitting(settings(data_file, scheme=scheme), tmp_path / "halves", stop_after=2)
    halves = train_splitting(settings(data_file, scheme=scheme), tmp_path / "halves")
    for a, b in zip(whole.state_dict().values(), halves.state_dict().values()):
        assert torch.equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]


@pytest.mark.parametrize(
    ("scheme", "kind"), [("two", "splitting"), ("verlet" + BONDED, "hybrid"), ("two" + TABULATED, "hybrid")]
)
def test_the_runtimes_stride_is_this_one(
    data_file: Path, data: Dataset, tmp_path: Path, scheme: str, kind: str
) -> None:
    model = train_splitting(settings(data_file, 2, scheme), tmp_path / "run").eval()
    publish(tmp_path / "run", tmp_path / "s.onnx", [data_file], None, {})
    opened = flashmd_rs.Model(tmp_path / "s.onnx", threads=1)
    assert opened.kind == kind
    file = data.files[0]
    q, p = file.positions[2, 0].astype(float), file.momenta[2, 0].astype(float)
    atoms = ase.Atoms(file.numbers, q, cell=file.cell, pbc=True, masses=file.masses, momenta=p)
    root = np.sqrt(file.masses)[:, None]
    for _ in range(3):
        graph = build_graph(atoms.positions, atoms.get_momenta(), file.masses, data.species[0], file.cell, CUTOFF + 1.0)
        with torch.no_grad():
            wanted = model.predict(graph)
        after = opened.stride(atoms)
        assert np.abs(after.positions - atoms.positions - wanted.displacement.numpy() / root).max() < 2e-6
        assert np.abs(after.get_momenta() - wanted.momenta.numpy() * root).max() < 2e-5
        atoms = after
    assert np.isclose(opened.stride_fs * units.fs, 2.0 * units.fs)
