"""What a batch gains: droplets of water, one call of the network for all of them against one run after the other.

python benches/replicas.py [--threads 2]
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from ase import Atoms

import flashmd_rs

RESULT = Path(__file__).parent / "results" / "replicas.json"
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def droplet(molecules: int) -> Atoms:
    """The molecules of the bundled box that are nearest to its middle, without a cell."""
    box = flashmd_rs.load_structure("water258")
    oxygens = np.flatnonzero(box.numbers == 8)
    middle = box.cell.array.sum(axis=0) / 2
    distances = np.linalg.norm(box.positions[oxygens] - middle, axis=1)
    chosen = np.sort(oxygens[np.argsort(distances)[:molecules]])
    atoms = box[np.concatenate([[o, o + 1, o + 2] for o in chosen])]
    atoms.pbc = False
    return atoms


def strides_per_second(atoms: list[Atoms], model: flashmd_rs.Model, strides: int) -> float:
    """Strides of single systems per second of wall time."""
    start = time.perf_counter()
    flashmd_rs.rollout(
        atoms, model, steps=strides, temperature_K=250.0, seed=1, interval=strides, progress=False, guard="off"
    )
    return strides * len(atoms) / (time.perf_counter() - start)


def main(
    threads: Annotated[int, typer.Option(help="Threads of the network.")] = 2,
    repeats: Annotated[int, typer.Option(help="Alternating runs of each.")] = 5,
) -> None:
    """Alternate batches and single runs; print medians and the gain."""
    model = flashmd_rs.Model("water", threads=threads)
    rows = []
    for molecules in (8, 32):
        atoms = droplet(molecules)
        strides_per_second([atoms] * 2, model, 5)
        for count in COUNTS:
            strides = max(4, 640 // (count * molecules // 8))
            batch, single = [], []
            for _ in range(repeats):
                batch.append(strides_per_second([atoms] * count, model, strides))
                single.append(strides_per_second([atoms], model, max(20, strides)))
            row = dict(
                atoms=len(atoms),
                replicas=count,
                strides_per_s=round(median(batch), 1),
                one_by_one=round(median(single), 1),
                gain=round(median(b / s for b, s in zip(batch, single)), 2),
            )
            rows.append(row)
            typer.echo("  ".join(f"{name} {value}" for name, value in row.items()))
    RESULT.write_text(json.dumps(dict(threads=threads, repeats=repeats, rows=rows)) + "\n")


if __name__ == "__main__":
    typer.run(main)
