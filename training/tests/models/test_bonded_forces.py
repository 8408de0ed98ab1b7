"""Bonds and angles of molecules: constants from forces, forces, motion, and the runtime's stride."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from methanols import METHANOL, bonded_data, methanol

import flashmd_rs
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.topology import connect, covalent_reaches, nearest_images
from flashmd_train.export.publish import publish
from flashmd_train.graph.nef import Graph, displaced, join
from flashmd_train.learning.config import Data, Loss, Optimizer, SplittingTraining
from flashmd_train.learning.fit_bonded import fit_bonded
from flashmd_train.learning.splitting import train_splitting
from flashmd_train.models.bonded_forces import BondedForces
from flashmd_train.models.config import EnergyConfig, SplittingConfig
from flashmd_train.models.mollified import leaves_at_rest
from flashmd_train.models.splitting import Splitting


def test_constants_are_found_in_the_forces(methanol_file: Path) -> None:
    """The reference is of this form, so that nothing is left of its forces and its constants come back."""
    found, left = fit_bonded(Dataset([methanol_file]))
    assert left < 1e-4
    assert [kind.species for kind in found.bonds] == [kind.species for kind in METHANOL.bonds]
    assert [kind.species for kind in found.angles] == [kind.species for kind in METHANOL.angles]
    for ours, theirs in zip(found.bonds, METHANOL.bonds):
        assert ours.length_A == pytest.approx(theirs.length_A, abs=1e-3)
        assert ours.constant_eV_per_A2 == pytest.approx(theirs.constant_eV_per_A2, rel=1e-2)
    for ours, theirs in zip(found.angles, METHANOL.angles):
        assert ours.angle_rad == pytest.approx(theirs.angle_rad, abs=2e-3)
        assert ours.constant_eV_per_rad2 == pytest.approx(theirs.constant_eV_per_rad2, rel=1e-2)


def test_forces_are_those_of_the_energy(methanol_file: Path) -> None:
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 5.0)
    forces = BondedForces(METHANOL, 0.5).forces(graph, torch.zeros_like(graph.momenta)).detach()
    reference = torch.tensor(Dataset([methanol_file]).files[0].forces[0, 0])
    assert float((forces - reference).abs().max()) < 2e-4 * float(reference.abs().max())


def test_energies_are_those_of_the_reference(methanol_file: Path) -> None:
    loaded_data = bonded_data(methanol_file)
    bonds, file = BondedForces(METHANOL, 0.5), loaded_data.files[0]
    ours = [float(bonds.energies(loaded_data.frame_graph(0, s, 0, 5.0)).detach().sum()) for s in range(6)]
    assert np.ptp(np.array(ours) - file.energy[:6, 0]) < 1e-5


def test_forces_of_a_hybrid_are_the_gradient_of_its_potential(methanol_file: Path) -> None:
    """Bonds, angles, tables and kicks where these see the atoms, against finite differences of the whole."""
    torch.manual_seed(0)
    model = Splitting(small_hybrid(mollified=True)).eval()
    for table in (model.tables.energies, model.tables.slopes):
        table.normal_(std=0.01)
    data = bonded_data(methanol_file)
    file, masses = data.files[0], data.files[0].masses[:, None]

    def graph(q: np.ndarray) -> Graph:
        return data.graph(0, q, file.momenta[0, 0], 5.0)

    q = file.positions[0, 0].astype(float)
    here = graph(q)
    still = torch.zeros_like(here.momenta)
    slow = sum(model.force(here, still, head, train=False) for head in model.config.kicks)
    forces = (model.drift_forces(here) + slow).detach().numpy()
    direction = np.random.default_rng(1).normal(size=q.shape) / np.sqrt(masses)
    step = 1e-3
    ends = [float(model.potential(graph(q + sign * step * direction)).detach().sum()) for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope == pytest.approx(-(forces * direction).sum(), rel=3e-3)


def test_motion_is_that_of_the_reference(methanol_file: Path) -> None:
    """The same steps under the same forces, of several molecules side by side."""
    loaded_data = bonded_data(methanol_file)
    file = loaded_data.files[0]
    graph = join([loaded_data.frame_graph(0, segment, 0, 5.0) for segment in (0, 1)])
    root = graph.masses.sqrt()[:, None]
    zeros = torch.zeros_like(graph.momenta)
    u, p = BondedForces(METHANOL, 0.5).advance(graph, zeros, graph.momenta * root, 4.0 * units.fs)
    moved = np.concatenate([file.positions[s, -1] - file.positions[s, 0] for s in (0, 1)])
    momenta = np.concatenate([file.momenta[s, -1] for s in (0, 1)])
    assert np.abs(u.detach().numpy() - moved).max() < 2e-5
    assert np.abs(p.detach().numpy() - momenta).max() < 2e-3


def test_graphs_carry_their_bonds_along(methanol_file: Path) -> None:
    """Displaced atoms have displaced bonds; joined are the ends of bonds and of angles, and nothing else."""
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 6.0)
    assert len(graph.bonded.pairs) == 5
    assert len(graph.bonded.arms) == 7
    # All pairs of six atoms but the three of hydrogens on carbon with that on oxygen.
    assert int(graph.bonded.joined.sum()) == 2 * (15 - 3)
    u = torch.randn_like(graph.momenta)
    after = displaced(graph, u * graph.masses.sqrt()[:, None], graph.momenta)
    first, second = graph.bonded.pairs.unbind(1)
    assert torch.allclose(after.bonded.vectors, graph.bonded.vectors + u[second] - u[first])


def test_leaves_are_put_at_rest(methanol_file: Path) -> None:
    """Bonds of hydrogens get their rest length, the centre of mass of each group stays, C–O is left alone."""
    graph = bonded_data(methanol_file).frame_graph(0, 0, 0, 5.0)
    bonded = graph.bonded
    length = torch.tensor([kind.length_A for kind in METHANOL.bonds])[bonded.bond_kinds]
    u = leaves_at_rest(graph, torch.zeros_like(graph.momenta), length)
    moved, carbon_oxygen = bonded.moved(u), bonded.bond_kinds == 1
    assert torch.allclose(moved[~carbon_oxygen].norm(dim=1), length[~carbon_oxygen], atol=1e-6)
    assert (moved[carbon_oxygen].norm(dim=1) - length[carbon_oxygen]).abs() > 1e-4
    for group in ([0, 2, 4, 5], [1, 3]):
        assert torch.allclose((graph.masses[group, None] * u[group]).sum(0), torch.zeros(3), atol=1e-6)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "mollified"])
def trained(request: pytest.FixtureRequest, methanol_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hybrid model of methanol after a few steps of training, beside its run."""
    return train(methanol_file, tmp_path_factory.mktemp("hybrid"), request.param)


def test_the_runtime_makes_the_same_stride(methanol_file: Path, trained: Path) -> None:
    path = trained
    metadata = flashmd_rs.Model(path).metadata
    assert (metadata["contract"], metadata["kind"]) == (3, "hybrid")
    assert metadata["fast"]["bonds"][0]["species"] == ["C[H,H,H,O]", "H[C]"]
    model, loaded_data = saved_model(path.parent / "run"), bonded_data(methanol_file)
    file = loaded_data.files[0]
    atoms = Atoms(file.numbers, file.positions[0, 0].astype(float), masses=file.masses)
    atoms.set_momenta(file.momenta[0, 0].astype(float))
    graph = loaded_data.graph(0, atoms.positions, atoms.get_momenta(), model.config.cutoff_A + 1.0)
    expected = model.predict(graph)
    after = flashmd_rs.Model(path).stride(atoms)
    root = np.sqrt(file.masses)[:, None]
    assert np.abs((after.positions - atoms.positions) * root - expected.displacement.numpy()).max() < 1e-5
    assert np.abs(after.get_momenta() / root - expected.momenta.numpy()).max() < 2e-5


def test_training_on_potentials_resumes_to_the_same_bits(methanol_file: Path, tmp_path: Path) -> None:
    """Before and after the step from which they count."""
    settings = SplittingTraining(
        model=small_hybrid(mollified=True),
        data=Data(files=(methanol_file,), boxes=3),
        optimizer=Optimizer(steps=6, warmup=1, restart=0.5),
        loss=Loss(potential_weight=0.1),
        force_steps=2,
        every=1,
    )
    whole = train_splitting(settings, tmp_path / "whole")
    for end in (2, 4):
        train_splitting(settings, tmp_path / "parts", stop_after=end)
    parts = train_splitting(settings, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values()))
    logged = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert ["loss_potential" in entry for entry in logged] == [False] * 3 + [True] * 3


def test_restart_knows_its_bonds(trained: Path, tmp_path: Path) -> None:
    """Bonds are those of the start: a run goes on to the last bit where one is longer by now than any at a start."""
    path = trained
    # Atoms that are as hot as nothing stays together at a start.
    given = dict(model=path, temperature_K=15000, seed=3, guard="off", interval=1)
    whole = flashmd_rs.rollout(methanol(), steps=60, **given)
    longest = max(frame.get_distance(0, 2) for frame in whole.frames)
    assert longest > METHANOL.bonds[0].longest_A, "the bond is never longer than at a start; make it hotter"
    stretched = next(
        k for k, frame in enumerate(whole.frames) if frame.get_distance(0, 2) > METHANOL.bonds[0].longest_A
    )
    checkpoint = tmp_path / "run.ckpt"
    flashmd_rs.rollout(methanol(), steps=stretched, checkpoint=checkpoint, **given)
    resumed = flashmd_rs.rollout(methanol(), steps=60, checkpoint=checkpoint, resume=True, **given)
    assert np.array_equal(resumed.frames[-1].positions, whole.frames[-1].positions)


def test_atoms_of_other_molecules_are_refused_by_name(trained: Path) -> None:
    with pytest.raises(flashmd_rs.InputError, match=r"\(C\[H,H,H\]\).* are bonded, and the model knows no such bond"):
        flashmd_rs.rollout(molecule("CH3CH2OH"), model=trained, steps=1, temperature_K=300, guard="off")


def test_bonds_that_change_are_refused(methanol_file: Path, tmp_path: Path) -> None:
    """A file in which a bond is broken in one segment has no bonds to know."""
    broken = tmp_path / "broken.h5"
    broken.write_bytes(methanol_file.read_bytes())
    with h5py.File(broken, "r+") as file:
        file["positions"][5, :, 3] += 3.0
    with pytest.raises(ValueError, match="bonds that change cannot be known"):
        fit_bonded(Dataset([broken]))


def test_bonds_reach_across_the_cell() -> None:
    cell, periodic = np.diag([9.0, 0.0, 11.0]), np.array([True, False, True])
    vectors = nearest_images(np.array([[8.5, 8.5, -10.0]]), cell, periodic)
    assert vectors[0] == pytest.approx([-0.5, 8.5, 1.0])
    atoms = molecule("CH3OH", vacuum=3.0, pbc=True)
    inside = connect(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, covalent_reaches(["C", "O", "H"]))
    atoms.positions += 0.5 * atoms.cell.lengths()
    atoms.wrap()
    across = connect(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, covalent_reaches(["C", "O", "H"]))
    assert inside.environments == across.environments
    assert np.array_equal(inside.pairs, across.pairs)


def small_hybrid(mollified: bool) -> SplittingConfig:
    species = ("C", "O", "H")
    return SplittingConfig(
        species=species,
        stride_fs=2.0,
        scalar=EnergyConfig(species=species, prior="free", cutoff_A=4.0, radial=6, hidden=4, first_A=0.9),
        inner_timestep_fs=0.5,
        pair_timestep_fs=1.0,
        bonded=METHANOL,
        mollified=mollified,
    )


def train(data: Path, folder: Path, mollified: bool) -> Path:
    """A hybrid model of methanol after a few steps of training."""
    settings = SplittingTraining(
        model=small_hybrid(mollified),
        data=Data(files=(data,)),
        optimizer=Optimizer(steps=3, warmup=1),
        loss=Loss(potential_weight=0.1),
        force_steps=3,
        every=3,
        threads=1,
    )
    train_splitting(settings, folder / "run")
    path = folder / "methanol.onnx"
    publish(folder / "run", path, [data], None, {})
    return path


def saved_model(run: Path) -> Splitting:
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    model = Splitting(SplittingConfig.model_validate(saved["config"]))
    model.load_state_dict(saved["best"])
    return model.eval()
