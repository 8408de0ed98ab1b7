"""Simulated time per wall time: a bundled water model against velocity Verlet of 0.5 fs on the same box and threads, by
OpenMM's force field and by the forces of the bundled energy model.

    python benches/speed.py [--model water-nve] [--threads 2]

Needs ``pip install '.[bench]'``.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import openmm
import typer
from ase import Atoms

import flashmd_rs
from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY
from flashmd_rs.reference.options import load_system

TIMESTEP_FS = 0.5
RESULTS = Path(__file__).parent / "results"
# 258 molecules, as in the structure that comes with the package.
WATER = Path(__file__).parents[1] / "examples" / "systems" / "water" / "system.yaml"
# Forces of the energy model per run, each a step of Verlet.
LEARNED_STEPS = 10


def verlet(atoms: Atoms, threads: int) -> openmm.Context:
    """OpenMM on the CPU platform with the box of ``atoms``."""
    integrator = openmm.VerletIntegrator(TIMESTEP_FS / 1000)
    platform = openmm.Platform.getPlatformByName("CPU")
    water = openmm.XmlSerializer.deserialize(load_system(WATER).potential.xml)
    context = openmm.Context(water, integrator, platform, {"Threads": str(threads)})
    context.setPeriodicBoxVectors(*(atoms.cell[:] * 0.1))
    context.setPositions(atoms.positions * 0.1)
    context.setVelocities(atoms.get_velocities() * NM_PS_PER_ASE_VELOCITY)
    return context


def learned_step_s(energy: flashmd_rs.Model, atoms: Atoms) -> float:
    """Time of one step of velocity Verlet by a learned energy: that of its forces."""
    start = time.perf_counter()
    for _ in range(LEARNED_STEPS):
        energy.forces(atoms)
    return (time.perf_counter() - start) / LEARNED_STEPS


def main(
    name: Annotated[str, typer.Option("--model", help="Bundled model.")] = "water",
    threads: Annotated[int, typer.Option(help="Threads of both.")] = 2,
    repeats: Annotated[int, typer.Option(help="Alternating runs of each.")] = 7,
    time_fs: Annotated[float, typer.Option(help="Simulated time of a run, fs.")] = 960.0,
) -> None:
    """Alternate runs of equal simulated time and print medians, their ratio, and where a stride's time goes."""
    atoms = flashmd_rs.load_structure("water258")
    model = flashmd_rs.Model(name, threads=threads)
    energy = flashmd_rs.Model("water-energy", threads=threads)
    context = verlet(atoms, threads)
    steps, strides = round(time_fs / TIMESTEP_FS), round(time_fs / model.stride_fs)
    options = dict(temperature_K=300.0, seed=1, interval=strides, rescale_energy=False, progress=False)
    context.getIntegrator().step(100)
    flashmd_rs.rollout(atoms, model, steps=10, **options)
    opponent, learned, ours, parts = [], [], [], []
    for _ in range(repeats):
        start = time.perf_counter()
        context.getIntegrator().step(steps)
        context.getState(getEnergy=True)
        opponent.append((time.perf_counter() - start) / steps)
        learned.append(learned_step_s(energy, atoms))
        report = flashmd_rs.rollout(atoms, model, steps=strides, **options).report
        ours.append(report["seconds"] / strides)
        parts.append({k: report[f"seconds_{k}"] / report["seconds"] for k in ("network", "neighbors", "callbacks")})
    step_ms, stride_ms = 1000 * median(opponent), 1000 * median(ours)

    def ratio(steps: list[float]) -> float:
        return round(median(s * model.stride_fs / TIMESTEP_FS / f for s, f in zip(steps, ours)), 2)

    share = {k: round(median(p[k] for p in parts), 4) for k in parts[0]}
    result = dict(
        atoms=len(atoms),
        threads=threads,
        repeats=repeats,
        openmm_ms_per_step=round(step_ms, 3),
        openmm_ms_per_stride=round(step_ms * model.stride_fs / TIMESTEP_FS, 2),
        stride_fs=model.stride_fs,
        ms_per_stride=round(stride_ms, 2),
        ns_per_day=round(model.stride_fs * 1e-6 / stride_ms * 1000 * 86400, 2),
        ratio=ratio(opponent),
        learned_ms_per_step=round(1000 * median(learned), 2),
        learned_ratio=ratio(learned),
        share=share,
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"speed-{name}-{threads}.json").write_text(json.dumps(result) + "\n")
    for what, value in result.items():
        typer.echo(f"{what:<22}{value}")


if __name__ == "__main__":
    typer.run(main)
