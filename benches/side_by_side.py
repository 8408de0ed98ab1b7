"""Two runs at once on one machine: what each engine's pair does together, over what one run does alone.

    python benches/side_by_side.py [--seconds 5] [--repeats 5]

A bundled water model against velocity Verlet of 0.5 fs by OpenMM, each with its default threads and with one. Every run
is a process of its own. Needs ``pip install '.[bench]'``.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import Annotated

import typer
from speed import RESULTS, TIMESTEP_FS, verlet

import flashmd_rs
from flashmd_rs._threads import choose

STRIDES, STEPS = 5, 50  # between two looks at the clock
PATIENCE_S = 120


def flashmd(threads: int) -> Callable[[], float]:
    """Advance the bundled model; returns simulated fs."""
    model = flashmd_rs.Model("water", threads=threads)
    water = flashmd_rs.load_structure("water258")
    simulation = flashmd_rs.Simulation(water, model, temperature_K=300.0, seed=1, rescale_energy=False)

    def advance() -> float:
        simulation.step(STRIDES)
        return STRIDES * model.stride_fs

    return advance


def openmm(threads: int) -> Callable[[], float]:
    """Advance OpenMM; returns simulated fs."""
    context = verlet(flashmd_rs.load_structure("water258"), threads)

    def advance() -> float:
        context.getIntegrator().step(STEPS)
        return STEPS * TIMESTEP_FS

    return advance


ENGINES = {"flashmd": flashmd, "openmm": openmm}


def work(engine: str, threads: int, seconds: float, start: Barrier, rates: Queue[float]) -> None:
    """Run from the common start on for so many seconds; put the rate in ns/day."""
    advance = ENGINES[engine](threads)
    advance()
    start.wait(PATIENCE_S)
    began, done_fs = time.perf_counter(), 0.0
    while time.perf_counter() - began < seconds:
        done_fs += advance()
    rates.put(done_fs * 1e-6 / (time.perf_counter() - began) * 86400)


def together(engine: str, threads: int, runs: int, seconds: float) -> float:
    """Sum of the rates of so many runs at once, ns/day."""
    spawn = multiprocessing.get_context("spawn")
    start, rates = spawn.Barrier(runs), spawn.Queue()
    workers = [spawn.Process(target=work, args=(engine, threads, seconds, start, rates)) for _ in range(runs)]
    for worker in workers:
        worker.start()
    total = sum(rates.get(timeout=PATIENCE_S + 2 * seconds) for _ in workers)
    for worker in workers:
        worker.join()
    return total


def main(
    seconds: Annotated[float, typer.Option(help="Wall time of a run, s.")] = 5.0,
    repeats: Annotated[int, typer.Option(help="Alternating measurements of each.")] = 5,
) -> None:
    """Alternate one run and two at once; print medians and the median of their ratios."""
    cases = [(engine, threads) for threads in dict.fromkeys((choose(None).count, 1)) for engine in ENGINES]
    rates = {case: [] for case in cases}
    for _ in range(repeats):
        for case in cases:
            rates[case].append(tuple(together(*case, runs, seconds) for runs in (1, 2)))
    rows = []
    typer.echo("engine    threads each    alone ns/day    two together ns/day    together / alone")
    for (engine, threads), pairs in rates.items():
        alone, two = (median(values) for values in zip(*pairs))
        ratio = median(two / alone for alone, two in pairs)
        rows.append(
            dict(engine=engine, threads=threads, alone=round(alone, 3), two=round(two, 3), ratio=round(ratio, 3))
        )
        typer.echo(f"{engine:<10}{threads:<16}{alone:<16.3f}{two:<23.3f}{ratio:.3f}")
    RESULTS.mkdir(exist_ok=True)
    result = dict(processors=choose(None).count, seconds=seconds, repeats=repeats, rows=rows)
    (RESULTS / "side_by_side.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
