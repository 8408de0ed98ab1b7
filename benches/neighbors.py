"""The neighbour search against vesin, matscipy-neighbours, neighborlist-rs and ASE: time and memory per thread.

    python benches/neighbors.py compare     # alternating runs: a table, and benches/results/neighbors.json
    python benches/neighbors.py memory      # peak memory of each, into the same file

Ours is what a stride costs: the arrays of the model contract, with vectors, mask and reverse edges, from positions.
Theirs are calls that give i, j, S and D or d, and, marked as such, the cheaper half lists. Times are processor seconds
of the whole process with every library held to one thread, so that other work on the machine counts less.
Needs ``pip install '.[bench]'``.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1")

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import ase.neighborlist
import matscipy_neighbours
import neighborlist_rs
import numpy as np
import typer
import vesin

import flashmd_rs
from flashmd_rs import _core

CUTOFF_A = 5.0
PBC = np.ones(3, bool)
REPEATS = {1: 25, 2: 15, 4: 7, 8: 5, 11: 3}
"""Copies of the water box along each axis (774, 6 192, 49 536, 396 288, 1 030 194 atoms), and rounds."""
ASE_LIMIT = 10_000
BYTES_PER_SLOT = 12 + 1 + 4 + 4
RESULT = Path(__file__).parent / "results" / "neighbors.json"
OURS = "flashmd_rs NEF"
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
neighborlist_rs.set_num_threads(1)


class Box(NamedTuple):
    """Wrapped atoms and cell, Å."""

    positions: np.ndarray
    cell: np.ndarray


def water(copies: int, shape: str) -> Box:
    """The bundled box, repeated, with noise so that no two copies are alike; triclinic by shear."""
    atoms = flashmd_rs.load_structure("water258").repeat(copies)
    atoms.positions += np.random.default_rng(copies).normal(0.0, 0.02, atoms.positions.shape)
    cell = atoms.cell.array.copy()
    if shape == "triclinic":
        cell = cell @ np.array([[1.0, 0.0, 0.0], [0.35, 1.0, 0.0], [-0.2, 0.25, 1.0]])
    return Box(atoms.get_scaled_positions() @ cell, cell)


def calls(box: Box) -> dict[str, tuple[Callable, Callable]]:
    """By name: a call, and what turns its result into (i, j, S); ``half`` lists have every pair once."""
    positions, cell = box
    edges = _core.Edges(CUTOFF_A)
    full, half = (vesin.NeighborList(cutoff=CUTOFF_A, full_list=f, n_threads=1) for f in (True, False))
    columns = neighborlist_rs.PyCell(cell.T.tolist(), [True] * 3)
    atoms = ase.Atoms(positions=positions, cell=cell, pbc=True)

    def vesin_call(search: vesin.NeighborList, quantities: str) -> Callable:
        return lambda: search.compute(positions, cell, True, quantities, copy=False)

    def matscipy(quantities: str) -> Callable:
        options = dict(positions=positions, cell=cell, pbc=PBC, cutoff=CUTOFF_A)
        return lambda: matscipy_neighbours.neighbour_list(quantities, **options)

    def pairs_of_arrays(_: object) -> tuple:
        vectors, mask, neighbors, _ = edges.arrays()
        i, j = np.nonzero(mask)[0], neighbors[mask]
        shifts = np.rint((vectors[mask] - positions[j] + positions[i]) @ np.linalg.inv(cell)).astype(np.int64)
        return i, j, shifts

    def both_ways(i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> tuple:
        return np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([shifts, -shifts])

    found = {
        OURS: (lambda: edges.update(positions, cell, PBC), pairs_of_arrays),
        "flashmd_rs ijdDS": (lambda: flashmd_rs.neighbor_list("ijdDS", atoms, CUTOFF_A), lambda r: (r[0], r[1], r[4])),
        "vesin ijSDd": (vesin_call(full, "PSDd"), lambda r: (*r[0].T.astype(np.int64), r[1])),
        "vesin ijSd": (vesin_call(full, "PSd"), lambda r: (*r[0].T.astype(np.int64), r[1])),
        "vesin ijSD half": (vesin_call(half, "PSD"), lambda r: both_ways(*r[0].T.astype(np.int64), r[1])),
        "vesin ijS half": (vesin_call(half, "PS"), lambda r: both_ways(*r[0].T.astype(np.int64), r[1])),
        "matscipy-neighbours ijSD": (matscipy("ijSD"), lambda r: r[:3]),
        "matscipy-neighbours ijSd": (matscipy("ijSd"), lambda r: r[:3]),
        "neighborlist-rs ijS half": (
            lambda: neighborlist_rs.build_neighborlists(columns, positions, CUTOFF_A, False),
            lambda r: both_ways(*r["edge_index"], r["shift"]),
        ),
    }
    if len(atoms) <= ASE_LIMIT:
        list_of_ase = ase.neighborlist.neighbor_list
        found["ASE ijdDS"] = (lambda: list_of_ase("ijdDS", atoms, CUTOFF_A), lambda r: (r[0], r[1], r[4]))
    return found


def sorted_keys(atoms: int, i: np.ndarray, j: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """One sorted number per directed pair."""
    a, b, c = np.asarray(shifts, np.int64).T + 8
    keys = (np.asarray(i, np.int64) * atoms + j) * 17**3 + (a * 17 + b) * 17 + c
    keys.sort()
    return keys


def measure(copies: int, shape: str) -> dict:
    """Alternating runs of everything on one box."""
    box = water(copies, shape)
    what = calls(box)
    reference, same = None, {}
    for name, (call, pairs) in what.items():
        keys = sorted_keys(len(box.positions), *pairs(call()))
        reference = keys if reference is None else reference
        same[name] = bool(np.array_equal(keys, reference))
    seconds: dict[str, list[float]] = {name: [] for name in what}
    for round_ in range(REPEATS[copies]):
        for name, (call, _) in what.items():
            if name.startswith("ASE") and round_ >= 3:
                continue
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    ours = seconds[OURS]
    return dict(
        atoms=len(box.positions),
        shape=shape,
        pairs=len(reference),
        repeats=len(ours),
        same_pairs=same,
        ms={name: 1000 * median(times) for name, times in seconds.items()},
        ratio={name: median(t / o for t, o in zip(times, ours)) for name, times in seconds.items()},
    )


def verdict(row: dict) -> dict[str, float]:
    """Ours against the best full list of vesin, and against the fastest call of all, half lists included."""
    peers = {name: ratio for name, ratio in row["ratio"].items() if not name.startswith("flashmd_rs")}
    of_vesin = [r for name, r in peers.items() if name.startswith("vesin") and "half" not in name]
    return dict(vesin=min(of_vesin), fastest=min(peers.values()))


def peak_mb(copies: int, name: str) -> dict[str, float]:
    """Memory of one kind of call in a process of its own."""
    command = [sys.executable, __file__, "peak", str(copies), name]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _status_mb(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


@app.command()
def peak(copies: int, name: str) -> None:
    """Print how far two calls raise the memory of this process at most, MiB; Linux only."""
    box = water(copies, "cubic")
    call, _ = calls(box)[name]
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mb("VmRSS")
    result = [call() for _ in range(2)]
    found = dict(peak=_status_mb("VmHWM") - before)
    if name == OURS:
        search = _core.Edges(CUTOFF_A)
        search.update(*box, PBC)
        found["beyond_arrays"] = found["peak"] - BYTES_PER_SLOT * search.arrays()[1].size / 2**20
    del result
    typer.echo(json.dumps(found))


Copies = Annotated[list[int] | None, typer.Option(help="Copies of the box along each axis.")]


@app.command()
def compare(
    copies: Copies = None,
    shapes: Annotated[list[str] | None, typer.Option("--shape", help="cubic or triclinic; both if not given.")] = None,
) -> None:
    """Alternate all implementations at every size, cubic and triclinic."""
    for count in copies or list(REPEATS):
        for shape in shapes or ("cubic", "triclinic"):
            row = measure(count, shape)
            row["verdict"] = verdict(row)
            keep(row)
            show(row)


@app.command()
def memory(
    copies: Copies = None,
    names: Annotated[list[str] | None, typer.Option("--name", help="Only these; all if not given.")] = None,
) -> None:
    """Peak memory of every implementation in a process of its own, cubic boxes."""
    for count in copies or list(REPEATS):
        box = water(count, "cubic")
        peaks = {name: peak_mb(count, name) for name in names or calls(box)}
        keep(dict(atoms=len(box.positions), shape="cubic", peak_mb=peaks))
        for name, found in peaks.items():
            figures = ", ".join(f"{key} {value:.1f} MiB" for key, value in found.items())
            typer.echo(f"{len(box.positions):>8} atoms  {name:<26}{figures}")


def keep(row: dict) -> None:
    """Put what was measured of one box into the result file."""
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else []
    of_box = [r for r in rows if (r["atoms"], r["shape"]) == (row["atoms"], row["shape"])]
    others = [r for r in rows if r not in of_box]
    merged = {**(of_box[0] if of_box else {}), **_rounded(row)}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(sorted([*others, merged], key=lambda r: (r["atoms"], r["shape"])), indent=1) + "\n")


def show(row: dict) -> None:
    """One box as text."""
    typer.echo(f"\n{row['atoms']} atoms, {row['shape']}, {row['pairs']} pairs, {row['repeats']} rounds")
    for name, ms in row["ms"].items():
        nanoseconds = 1e6 * ms / row["atoms"]
        typer.echo(
            f"  {name:<26}{ms:>11.3f} ms{nanoseconds:>8.0f} ns/atom{row['ratio'][name]:>8.2f} x"
            f"  {'same pairs' if row['same_pairs'][name] else 'OTHER PAIRS'}"
        )
    typer.echo(f"  vesin / ours {row['verdict']['vesin']:.2f}, fastest / ours {row['verdict']['fastest']:.2f}")


def _rounded(value: object) -> object:
    """Four significant digits."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    app()
