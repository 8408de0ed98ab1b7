"""Water's reference data: velocities at the instant of positions, second order, reversible pairs, the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from ase.units import fs

from flashmd_train.data.frames import frames
from flashmd_train.data.openmm_reference import velocity_verlet
from flashmd_train.data.water import Water, system
from flashmd_train.dataset import Dataset, Pairs, Segments
from flashmd_train.graph import build_graph, padded
from flashmd_train.whole import whole


@pytest.fixture(scope="module")
def water(segments: Segments) -> tuple[Water, np.ndarray, np.ndarray]:
    reference = Water(64)
    return reference, segments.positions[0, 0].astype(float), segments.momenta[0, 0].astype(float)


def total_energy(reference: Water) -> float:
    _, momenta, _, potential = reference.get()
    return potential + float((momenta**2 / reference.masses[:, None]).sum() / 2)


def test_velocity_verlet_equals_leapfrog_with_half_shifted_velocities(water) -> None:
    reference, q, p = water
    reference.set(q, p)
    _, _, forces, _ = reference.get()
    steps, h = 40, 0.25 * fs
    reference.nve(steps * 0.25)
    q_verlet, p_verlet, _, _ = reference.get()

    leapfrog = openmm.VerletIntegrator(0.00025)
    context = openmm.Context(system(64), leapfrog, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPeriodicBoxVectors(*(reference.cell * 0.1))
    context.setPositions(q * 0.1)
    half_back = (p - 0.5 * h * forces) / reference.masses[:, None]
    context.setVelocities(half_back * 0.1 * fs * 1000)
    leapfrog.step(steps)
    state = context.getState(getPositions=True, getVelocities=True, getForces=True)
    unit = openmm.unit
    q_leap = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    v_leap = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond) / (0.1 * fs * 1000)
    f_leap = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) * 0.01036427
    p_leap = v_leap * reference.masses[:, None] + 0.5 * h * f_leap
    # OpenMM's CPU platform sums forces in single precision.
    assert np.abs(q_leap - q_verlet).max() < 1e-4
    assert np.abs(p_leap - p_verlet).max() < 1e-3


def test_error_falls_with_the_square_of_the_time_step(water) -> None:
    """Against the finest step, so that the jumps of the truncated pair potential, the same in all, cancel."""
    reference, q, p = water
    kept, ends = reference.context, []
    for timestep in (0.5, 0.25, 0.125):
        context = openmm.Context(
            system(64), velocity_verlet(timestep), openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}
        )
        context.setPeriodicBoxVectors(*(reference.cell * 0.1))
        reference.context = context
        reference.set(q, p)
        energies = []
        for _ in range(40):
            context.getIntegrator().step(round(1 / timestep))
            energies.append(total_energy(reference))
        ends.append((*reference.get()[:2], np.array(energies)))
    reference.context = kept
    for coarse, middle, fine in zip(*ends):
        # Second order: (1/2² − 1/8²) / (1/4² − 1/8²) = 5; first order would give 3.
        assert 4.4 < np.linalg.norm(coarse - fine) / np.linalg.norm(middle - fine) < 5.8


def test_forward_flip_back_returns(water) -> None:
    reference, q, p = water
    reference.set(q, p)
    reference.nve(8.0)
    q2, p2, _, _ = reference.get()
    reference.set(q2, -p2)
    reference.nve(8.0)
    q3, p3, _, _ = reference.get()
    assert np.abs(q3 - q).max() < 1e-4
    assert np.abs(p3 + p).max() < 1e-3


EVERY = np.array([(0, s) for s in range(6)])


def test_time_reversed_pairs_are_real(data: Dataset, water) -> None:
    reference, _, _ = water
    pairs = Pairs(data, EVERY, 4.0, 6.0)
    batch = pairs.batch(EVERY[1:2], [1], np.array([True]), None)
    root = batch.graph.masses.sqrt()[:, None]
    q = data.files[0].positions[1, 1 + pairs.jumps[0]].astype(float)
    reference.set(q, (batch.graph.momenta * root).numpy().astype(float))
    reference.nve(4.0)
    q2, p2, _, _ = reference.get()
    assert np.abs((batch.displacement[0] / root).numpy() - (q2 - q)).max() < 2e-4
    assert np.abs((batch.momenta[0] * root).numpy() - p2).max() < 2e-3


def test_graph_holds_the_pairs_that_ase_finds() -> None:
    """Triclinic, smaller than the cutoff, open along one axis; an edge and the edge back are opposite."""
    rng = np.random.default_rng(2)
    cell = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.3, -0.8, 30.0]])
    q, cutoff, periodic = rng.random((9, 3)) @ np.diag([4.0, 5.0, 9.0]), 6.0, (True, True, False)
    graph = build_graph(q, np.zeros((9, 3)), np.ones(9), np.zeros(9, int), cell, cutoff, periodic)
    i, j, shift, vector = primitive_neighbor_list("ijSD", periodic, cell, q, cutoff)
    wanted = sorted(zip(i, j, *np.round(vector.T, 4) + 0.0))
    rows, slots = (index.numpy() for index in torch.nonzero(graph.mask, as_tuple=True))
    found = graph.edge_vectors[rows, slots].double().numpy()
    got = sorted(zip(rows, graph.neighbors[rows, slots].numpy(), *np.round(found.T, 4) + 0.0))
    assert len(got) == len(wanted) == len(shift)
    assert np.abs(np.array(got) - np.array(wanted)).max() < 2e-4
    back = graph.edge_vectors.reshape(-1, 3)[graph.reverse]
    assert torch.allclose(back[graph.mask], -graph.edge_vectors[graph.mask])
    own = torch.arange(graph.mask.numel()).view_as(graph.mask)
    assert torch.equal(graph.reverse.reshape(-1)[graph.reverse.reshape(-1)].view_as(own), own)
    assert torch.equal(graph.reverse[~graph.mask], own[~graph.mask])


def test_joined_and_padded_graphs_are_the_same_graphs(data: Dataset) -> None:
    batch = Pairs(data, EVERY, 2.0, 6.0).batch(EVERY[[0, 2]], [0, 1], np.array([False, False]), None)
    alone = Pairs(data, EVERY, 2.0, 6.0).batch(EVERY[[2]], [1], np.array([False]), None).graph
    n, k = alone.mask.shape
    both = padded(batch.graph, 2, 3)
    assert torch.equal(batch.box, torch.arange(2).repeat_interleave(n))
    assert torch.equal(both.edge_vectors[n : 2 * n, :k][alone.mask], alone.edge_vectors[alone.mask])
    assert torch.equal(both.neighbors[n : 2 * n, :k][alone.mask] - n, alone.neighbors[alone.mask])
    back = both.edge_vectors.reshape(-1, 3)[both.reverse]
    assert torch.allclose(back, -both.edge_vectors)


def test_a_stride_between_frames_is_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Pairs(data, EVERY, 3.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 1 strides"):
        Pairs(data, EVERY, 16.0, 6.0)
    with pytest.raises(ValueError, match="shorter than 5 strides"):
        Pairs(data, EVERY, 2.0, 6.0, strides=5)


def test_stored_forces_and_energies_belong_to_the_stored_positions(segments: Segments, water) -> None:
    reference, _, _ = water
    reference.set(segments.positions[3, 2].astype(float), segments.momenta[3, 2].astype(float))
    _, _, forces, energy = reference.get()
    assert np.abs(forces - segments.forces[3, 2]).max() < 5e-3
    assert abs(energy - segments.energy[3, 2]) < 5e-3


def test_frames_for_metatrain_follow_one_another(data_file: Path, segments: Segments) -> None:
    """Segments of 8 fs hold two strides of 4 fs; the end of one is the start of the next, told either way."""
    told, middles = list(frames(data_file, 4.0)), list(frames(data_file, 4.0, midpoint=True))
    assert len(told) == len(middles) == 2 * len(segments.positions)
    for k, (frame, middle) in enumerate(zip(told, middles)):
        for name, stored, at in (
            ("positions", segments.positions, middle.positions),
            ("momenta", segments.momenta, middle.get_momenta()),
        ):
            start, end = (stored[k // 2, 2 * (k % 2 + ahead)] for ahead in (0, 1))
            assert np.array_equal(frame.arrays[name], start)
            assert np.array_equal(frame.arrays[f"future_{name}"], end)
            half = 0.5 * middle.arrays[f"delta_{name}"]
            assert np.allclose(at - half, start, atol=1e-5)
            assert np.allclose(at + half, end, atol=1e-5)
    with pytest.raises(ValueError, match="got a stride of 3 fs"):
        next(frames(data_file, 3.0))


def test_what_fails_in_between_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("before")

    def write(text: str, broken: bool) -> None:
        with whole(path) as temporary:
            temporary.write_text(text)
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", broken=True)
    assert path.read_text() == "before"
    write("after", broken=False)
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]
    with (
        pytest.raises(FileNotFoundError, match=r"no folder .*missing for kept\.txt"),
        whole(tmp_path / "missing" / path.name),
    ):
        pass
