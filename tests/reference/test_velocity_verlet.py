"""Water's velocity Verlet in OpenMM: velocities at the instant of positions, second order, reversible."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from ase.units import fs
from systems import example

from flashmd_rs.reference.openmm_system import OpenMMReference, velocity_verlet

Start = tuple[OpenMMReference, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def water() -> Start:
    reference = example("water", molecules=64).reference(0.25)
    reference.equilibrate(300.0, np.random.default_rng(3), 0.3)
    frame = reference.get()
    # As stored, in single precision.
    return reference, frame.positions.astype("f4").astype(float), frame.momenta.astype("f4").astype(float)


def total_energy(reference: OpenMMReference) -> float:
    _, momenta, _, potential = reference.get()
    return potential + float((momenta**2 / reference.masses[:, None]).sum() / 2)


def test_velocity_verlet_equals_leapfrog_with_half_shifted_velocities(water: Start) -> None:
    reference, q, p = water
    reference.set(q, p)
    _, _, forces, _ = reference.get()
    steps, h = 40, 0.25 * fs
    reference.nve(steps * 0.25)
    q_verlet, p_verlet, _, _ = reference.get()

    leapfrog = openmm.VerletIntegrator(0.00025)
    context = openmm.Context(
        reference.context.getSystem(), leapfrog, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}
    )
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


def test_error_falls_with_the_square_of_the_time_step(water: Start) -> None:
    """Against the finest step, so that the jumps of the truncated pair potential, the same in all, cancel."""
    reference, q, p = water
    kept, ends = reference.context, []
    for timestep in (0.5, 0.25, 0.125):
        context = openmm.Context(
            kept.getSystem(), velocity_verlet(timestep), openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}
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
    for coarse, middle, fine in zip(*ends, strict=True):
        # Second order: (1/2² − 1/8²) / (1/4² − 1/8²) = 5; first order would give 3.
        assert 4.4 < np.linalg.norm(coarse - fine) / np.linalg.norm(middle - fine) < 5.8


def test_forward_flip_back_returns(water: Start) -> None:
    reference, q, p = water
    reference.set(q, p)
    reference.nve(8.0)
    q2, p2, _, _ = reference.get()
    reference.set(q2, -p2)
    reference.nve(8.0)
    q3, p3, _, _ = reference.get()
    assert np.abs(q3 - q).max() < 1e-4
    assert np.abs(p3 + p).max() < 1e-3
