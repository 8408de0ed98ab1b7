"""What a Simulation costs beside a rollout, and what importing the package costs beside importing ASE.

    python benches/simulation.py

``.step(10)`` in a loop against one rollout, per stride of the bundled water box (774 atoms): goal at most 1.02.
``import flashmd_rs`` against ``import ase``, in fresh processes: goal at most 1.2. Both sides alternate; medians and
the median of the ratios are printed. Times are processor seconds, so that other work on the machine counts less.
Needs ``pip install .``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import Annotated

import typer
from ase import Atoms

import flashmd_rs

STEP = 10
MODELS = {"water": dict(temperature_K=300.0), "water-nve": dict(thermostat="none")}


def rollout_s(atoms: Atoms, model: flashmd_rs.Model, strides: int, options: dict) -> float:
    """Processor time of one rollout, per stride."""
    start = time.process_time()
    flashmd_rs.rollout(atoms, model, steps=strides, progress=False, **options)
    return (time.process_time() - start) / strides


def simulation_s(atoms: Atoms, model: flashmd_rs.Model, strides: int, options: dict) -> float:
    """Processor time of the same strides by ``.step(10)`` in a loop, per stride."""
    start = time.process_time()
    with flashmd_rs.Simulation(atoms, model, **options) as simulation:
        for _ in range(strides // STEP):
            simulation.step(STEP)
    return (time.process_time() - start) / strides


def compare_strides(repeats: int, strides: int, threads: int) -> None:
    """Alternate rollouts and loops over ``.step(10)``; print medians and the median of the ratios."""
    atoms = flashmd_rs.load_structure("water258")
    for name, thermostat in MODELS.items():
        model = flashmd_rs.Model(name, threads=threads)
        options = dict(seed=1, interval=strides, rescale_energy=False, **thermostat)
        runs = dict(rollout=rollout_s, simulation=simulation_s)
        for run in runs.values():
            run(atoms, model, STEP, options)
        times = {what: [] for what in runs}
        for k in range(repeats):
            # Who goes first alternates as well.
            for what in sorted(runs, reverse=bool(k % 2)):
                times[what].append(runs[what](atoms, model, strides, options))
        ratio = median(b / a for a, b in zip(times["rollout"], times["simulation"]))
        typer.echo(
            f"{name:<12}{len(atoms)} atoms   rollout {1000 * median(times['rollout']):.2f} ms/stride   "
            f".step({STEP}) {1000 * median(times['simulation']):.2f} ms/stride   ratio {ratio:.3f}"
        )


def import_s(package: str) -> float:
    """Processor time of importing a package, in a process of its own."""
    code = f"import time; start = time.process_time(); import {package}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def compare_imports(repeats: int) -> None:
    """Alternate fresh processes; print medians and the median of the ratios."""
    packages = ("ase", "flashmd_rs")
    for package in packages:
        import_s(package)
    times = {package: [] for package in packages}
    for _ in range(repeats):
        for package in packages:
            times[package].append(import_s(package))
    ase, ours = (median(times[package]) for package in packages)
    ratio = median(b / a for a, b in zip(times["ase"], times["flashmd_rs"]))
    typer.echo(f"import ase {1000 * ase:.0f} ms   import flashmd_rs {1000 * ours:.0f} ms   ratio {ratio:.2f}")


def main(
    repeats: Annotated[int, typer.Option(help="Alternating runs of each.")] = 15,
    strides: Annotated[int, typer.Option(help="Strides of a run, a multiple of 10.")] = 50,
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 1,
) -> None:
    """Compare stepping with rollouts, and importing this package with importing ASE."""
    compare_strides(repeats, strides, threads)
    compare_imports(repeats)


if __name__ == "__main__":
    typer.run(main)
