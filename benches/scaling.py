"""How time and memory of everything but the network grow with the number of atoms, on one thread.

    python benches/scaling.py run      # benches/results/scaling.json and docs/validation/scaling.png

The model is the test fixture in which atoms fly freely: all of the runtime's work (wrap, neighbours, arrays,
thermostat, conservation, guard) and next to none of a network's. Time is processor time of the process less the
network's share, from the difference of two runs; memory is how far the resident set rises above what it is before.
Needs ``pip install '.[bench]'``; memory is measured on Linux only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from matplotlib.figure import Figure

import flashmd_rs
from flashmd_rs import _core

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "tests" / "fixtures" / "free_flight.onnx"
RESULT, PICTURE = ROOT / "benches" / "results" / "scaling.json", ROOT / "docs" / "validation" / "scaling.png"
COPIES = [1, 2, 3, 4, 6, 8]
BYTES_PER_SLOT = 12 + 1 + 4 + 4
STRIDES_OF_ATOMS = 400_000
"""Atoms times strides of a run, about."""
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


def _status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def seconds_of(atoms: Atoms, model: flashmd_rs.Model, steps: int) -> tuple[float, float]:
    """Processor time of a run without the network's, and the network's."""
    options = dict(temperature_K=300.0, seed=1, interval=steps, progress=False)
    start = time.process_time()
    network = flashmd_rs.rollout(atoms, model, steps=steps, **options).report["seconds_network"]
    return time.process_time() - start - network, network


@app.command()
def one(copies: int, repeats: int = 5) -> None:
    """Print what one size costs, as JSON; in a process of its own, so that its memory is its own."""
    atoms = flashmd_rs.load_structure("water258").repeat(copies)
    model = flashmd_rs.Model(MODEL, threads=1)
    steps = max(3, STRIDES_OF_ATOMS // len(atoms))
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    seconds_of(atoms, model, steps)
    peak = _status_mb("VmHWM") - before
    stride, network = [], []
    for _ in range(repeats):
        (short, _), (long, in_network) = seconds_of(atoms, model, steps), seconds_of(atoms, model, 3 * steps)
        stride.append((long - short) / (2 * steps))
        network.append(in_network / (3 * steps))
    arrays = _core.Edges(model.metadata["cutoff_A"])
    edges = arrays.update(atoms.positions, atoms.cell.array, atoms.pbc)
    slots = arrays.arrays()[1].size
    result = dict(
        atoms=len(atoms),
        edges=edges,
        ms_per_stride=1000 * median(stride),
        ms_network=1000 * median(network),
        peak_mb=peak,
        arrays_mb=BYTES_PER_SLOT * slots / 2**20,
    )
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in result.items()}
    typer.echo(json.dumps(rounded))


@app.command()
def run(
    copies: Annotated[list[int] | None, typer.Option(help="Copies of the water box along each axis.")] = None,
) -> None:
    """Measure every size, fit the growth, plot."""
    rows = []
    for count in copies or COPIES:
        command = [sys.executable, __file__, "one", str(count)]
        rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        typer.echo(rows[-1])
    growth = fit(rows)
    typer.echo(growth)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(dict(threads=1, rows=rows, **growth), indent=1) + "\n")
    plot(rows, growth)


def fit(rows: list[dict]) -> dict[str, float]:
    """Time as a power of the number of atoms; memory as a constant and so much per atom."""
    atoms, ms, mb = (np.array([row[key] for row in rows]) for key in ("atoms", "ms_per_stride", "peak_mb"))
    per_atom, constant = np.polyfit(atoms, mb, 1, w=1 / mb)
    exponent = np.polyfit(np.log(atoms), np.log(ms), 1)[0]
    return dict(exponent=round(exponent, 3), constant_mb=round(constant, 2), kb_per_atom=round(1024 * per_atom, 3))


def plot(rows: list[dict], growth: dict[str, float]) -> None:
    """docs/validation/scaling.png."""
    atoms = np.array([row["atoms"] for row in rows])
    figure = Figure(figsize=(10, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves, unit, title in (
        (left, {"everything but the network": "ms_per_stride"}, "ms per stride", "N to the {exponent:.2f}"),
        (
            right,
            {"peak": "peak_mb", "of these, the network's inputs": "arrays_mb"},
            "MiB",
            "{constant_mb:.1f} MiB and {kb_per_atom:.2f} KiB per atom",
        ),
    ):
        for (label, name), marker in zip(curves.items(), "os"):
            axes.plot(atoms, [row[name] for row in rows], marker=marker, label=label)
        last = rows[-1][next(iter(curves.values()))]
        axes.plot(atoms, last * atoms / atoms[-1], color="0.6", lw=1, ls="--", label="proportional to N")
        axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel=unit, title=title.format(**growth))
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=120)


if __name__ == "__main__":
    app()
