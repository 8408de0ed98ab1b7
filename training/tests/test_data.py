"""Water's reference data: velocities at the instant of positions, second order, reversible pairs, the graph."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from ase.units import fs

from flashmd_train.data.openmm_reference import velocity_verlet
from flashmd_train.data.water import Water, system
from flashmd_train.dataset import Pairs, Segments


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


def test_time_reversed_pairs_are_real(segments: Segments, water) -> None:
    reference, _, _ = water
    pairs = Pairs(segments, np.arange(6), 4.0, 6.0, augment=False)
    graph, displacement, momenta = pairs.batch(np.array([1]), np.array([1]), np.array([True]), None)
    root = segments.masses.sqrt()[:, None]
    q = segments.positions[1, 1 + pairs.jump].astype(float)
    reference.set(q, (graph.momenta * root).numpy().astype(float))
    reference.nve(4.0)
    q2, p2, _, _ = reference.get()
    assert np.abs((displacement / root).numpy() - (q2 - q)).max() < 2e-4
    assert np.abs((momenta * root).numpy() - p2).max() < 2e-3


def test_graph_holds_the_pairs_that_ase_finds(segments: Segments) -> None:
    cutoff, round_off = 6.0, 1e-4  # the graph is built in f32: a pair that close to the cutoff may go either way
    pairs = Pairs(segments, np.arange(6), 2.0, cutoff, augment=False)
    graph, _, _ = pairs.batch(np.array([0, 2]), np.array([0, 1]), np.array([False, False]), None)
    atoms = len(segments.species)
    cell = np.diag(segments.lengths.numpy().astype(float))
    for box, (segment, frame) in enumerate(((0, 0), (2, 1))):
        q = segments.positions[segment, frame].astype(float)
        i, j, vector = primitive_neighbor_list("ijD", [True] * 3, cell, q, cutoff + round_off)
        theirs = dict(zip(zip(i, j), vector))
        rows = slice(box * atoms, (box + 1) * atoms)
        i, slot = (index.numpy() for index in torch.nonzero(graph.mask[rows], as_tuple=True))
        j = graph.neighbors[rows].numpy()[i, slot] - box * atoms
        mine = dict(zip(zip(i, j), graph.edge_vectors[rows].numpy()[i, slot]))
        assert len(mine) == len(i)
        assert mine.keys() <= theirs.keys()
        for pair, v in theirs.items():
            if pair in mine:
                assert np.abs(mine[pair] - v).max() < round_off
            else:
                assert np.linalg.norm(v) > cutoff - round_off


def test_a_stride_between_frames_is_refused(segments: Segments) -> None:
    with pytest.raises(ValueError, match="not a multiple"):
        Pairs(segments, np.arange(6), 3.0, 6.0, augment=False)
    with pytest.raises(ValueError, match="shorter than a stride"):
        Pairs(segments, np.arange(6), 16.0, 6.0, augment=False)


def test_stored_forces_and_energies_belong_to_the_stored_positions(segments: Segments, water) -> None:
    reference, _, _ = water
    reference.set(segments.positions[3, 2].astype(float), segments.momenta[3, 2].astype(float))
    _, _, forces, energy = reference.get()
    assert np.abs(forces - segments.forces[3, 2]).max() < 5e-3
    assert abs(energy - segments.energy[3, 2]) < 5e-3
