"""Flexible water: simulated time per wall time of every way to move it, against OpenMM's velocity Verlet of 0.5 fs.

``pytest benches/bench_water.py --benchmark-only``; needs ``pip install '.[bench]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import openmm
import pytest
from ase import Atoms
from openmm import unit

import flashmd_rs
from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY
from flashmd_rs.reference.options import load_system

from conftest import Run

SYSTEM = Path(__file__).parents[1] / "examples" / "systems" / "water" / "system.yaml"
# Copies of the box of 258 molecules along each axis, and simulated time of a round, fs.
SIZES = {774: ((1, 1, 1), 240.0), 6192: ((2, 2, 2), 96.0), 27864: ((3, 3, 4), 32.0)}
# Forces of the learned energy in a round, each a step of Verlet of 0.5 fs.
LEARNED_STEPS = 8
OPPONENT = "OpenMM, velocity Verlet, 0.5 fs"


@cache
def box(size: int) -> Atoms:
    """Water at 300 K."""
    return flashmd_rs.load_structure("water258").repeat(SIZES[size][0])


@cache
def flexible(size: int) -> openmm.System:
    """OpenMM's flexible TIP3P of that box; bonds and angles are in force group 1."""
    given = dict(molecules=size // 3)
    potential = load_system(SYSTEM, structure_args=given, openmm_args=given).potential
    system = openmm.XmlSerializer.deserialize(potential.xml)
    for force in system.getForces():
        bonded = isinstance(force, openmm.HarmonicBondForce | openmm.HarmonicAngleForce)
        force.setForceGroup(1 if bonded else 0)
    return system


def rigid(size: int) -> openmm.System:
    """The same with bonds and angles held by SETTLE."""
    system = flexible(size)
    masses = [system.getParticleMass(k) for k in range(system.getNumParticles())]
    held = openmm.System()
    for mass in masses:
        held.addParticle(mass)
    held.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    held.addForce(openmm.XmlSerializer.clone(next(f for f in system.getForces() if f.getForceGroup() == 0)))
    bond, angle = 0.09572, 104.52 * unit.degrees
    ends = 2 * bond * unit.sin(angle / 2)
    for oxygen in range(0, len(masses), 3):
        for pair, length in (((0, 1), bond), ((0, 2), bond), ((1, 2), ends)):
            held.addConstraint(oxygen + pair[0], oxygen + pair[1], length)
    return held


def openmm_run(size: int, threads: int, integrator: openmm.Integrator, system: openmm.System, time_fs: float) -> Run:
    """That much time on OpenMM's CPU platform."""
    atoms = box(size)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": str(threads)})
    context.setPeriodicBoxVectors(*(atoms.cell[:] * 0.1))
    context.setPositions(atoms.positions * 0.1)
    context.applyConstraints(1e-6)
    context.setVelocities(atoms.get_velocities() * NM_PS_PER_ASE_VELOCITY)
    context.applyVelocityConstraints(1e-6)
    steps = round(time_fs * 1e-3 / integrator.getStepSize().value_in_unit(unit.picosecond))

    def run() -> None:
        integrator.step(steps)
        context.getState(getEnergy=True)

    return Run(run, time_fs)


def verlet(size: int, threads: int) -> Run:
    """The opponent."""
    return openmm_run(size, threads, openmm.VerletIntegrator(0.5e-3), flexible(size), SIZES[size][1])


def respa(size: int, threads: int) -> Run:
    """Bonds and angles every 0.5 fs, the rest every 2 fs."""
    integrator = openmm.MTSIntegrator(2e-3, [(0, 1), (1, 4)])
    return openmm_run(size, threads, integrator, flexible(size), SIZES[size][1])


def rigid_verlet(size: int, threads: int) -> Run:
    """Rigid molecules."""
    return openmm_run(size, threads, openmm.VerletIntegrator(2e-3), rigid(size), SIZES[size][1])


def strides(model: str, **options: object) -> Callable[[int, int], Run]:
    """A bundled model."""

    def run(size: int, threads: int) -> Run:
        opened, time_fs = flashmd_rs.Model(model, threads=threads, device="cpu"), SIZES[size][1]
        steps = round(time_fs / opened.stride_fs)
        settings = dict(steps=steps, interval=steps, seed=1, rescale_energy=False, progress=False)
        return Run(lambda: flashmd_rs.rollout(box(size), opened, **settings, **options), time_fs)

    return run


def learned_verlet(size: int, threads: int) -> Run:
    """The forces of a learned energy."""
    model = flashmd_rs.Model("water-energy", threads=threads, device="cpu")
    return Run(lambda: [model.forces(box(size)) for _ in range(LEARNED_STEPS)], 0.5 * LEARNED_STEPS)


CONTENDERS: dict[str, Callable[[int, int], Run]] = {
    OPPONENT: verlet,
    "OpenMM, r-RESPA, 0.5 and 2 fs": respa,
    "OpenMM, rigid molecules, 2 fs": rigid_verlet,
    "`water`, 16 fs": strides("water", temperature_K=300.0),
    "`water-nve`, 4 fs": strides("water-nve"),
    "Verlet by `water-energy`, 0.5 fs": learned_verlet,
}
ALL = [(774, name) for name in CONTENDERS]
LARGE = [(size, name) for size in (6192, 27864) for name in (OPPONENT, "`water`, 16 fs")]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("size", "name"), [*ALL, *LARGE])
def test_water(benchmark, in_turns: Callable, size: int, name: str, threads: int) -> None:
    benchmark.group = f"water, {size} atoms, threads: {threads}"
    opponent = None if name == OPPONENT else verlet(size, threads)
    facts = dict(name=name, atoms=size, threads=threads, unit="fs")
    in_turns(CONTENDERS[name](size, threads), opponent, rounds=5, **facts)
