"""NVE of one model without thermostat and rescaling, energies from the reference: the drift and what goes with it."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from flashmd_train.data.recipe import Recipe
from flashmd_train.studies.nve import nve
from flashmd_train.studies.report import head, one, row, until


def drift(
    model: Path,
    folder: Path,
    system: str,
    size: int | None,
    temperature_K: float,
    time_ps: float,
    seeds: int,
    workers: int,
    equilibration_ps: float = 15.0,
) -> Path:
    """Run what is not there yet into ``folder`` and write ``drift.md``; returns its path.

    Args:
        model: ONNX file that moves the system. folder: one JSON per run. system: a name `generate` knows.
        size: of it; None is its own. temperature_K: of the start. time_ps: of a run. seeds: runs from different starts.
        workers: processes, of one thread each. equilibration_ps: in the reference's bath before a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe.of(system, size=size)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(
            pool.map(_run, [(model, folder, recipe, temperature_K, time_ps, equilibration_ps, s) for s in range(seeds)])
        )
    return write(model, folder)


def _run(job: tuple[Path, Path, Recipe, float, float, float, int]) -> None:
    model, folder, recipe, temperature_K, time_ps, equilibration_ps, seed = job
    torch.set_num_threads(1)
    path = folder / f"{model.stem}-{recipe.system}-{recipe.size}-{temperature_K:g}K-{time_ps:g}ps-seed{seed}.json"
    if path.exists():
        return
    reference = recipe.build()
    reference.equilibrate(temperature_K, np.random.default_rng(100 + seed), equilibration_ps)
    atoms = len(reference.masses)
    result = nve(model, reference, time_ps) | dict(
        model=model.stem, system=recipe.system, size=recipe.size, atoms=atoms, seed=seed
    )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result))
    temporary.rename(path)


def write(model: Path, folder: Path) -> Path:
    """The table of all runs of ``model``."""
    lines = head(
        "system",
        "atoms",
        "seed",
        "ps",
        "drift 0–5 ps, eV/ps",
        "whole run, eV/ps",
        "± eV/ps",
        "meV/atom/ps",
        "rms of E, eV",
        "T, K",
        "of each species",
    )
    for path in sorted(folder.glob(f"{model.stem}-*.json")):
        run = json.loads(path.read_text())
        slope, error = whole(run)
        t = run["temperature_K"]
        lines.append(
            row(
                run["system"],
                run["atoms"],
                run["seed"],
                until(run),
                one(run["drift_eV_per_ps"]["5"]),
                one(slope),
                f"{error:.4f}",
                one(1000 * slope / run["atoms"]),
                f"{run['sigma_energy_eV']:.3f}",
                f"{t['total']:.1f}",
                ", ".join(f"{k} {v:.1f}" for k, v in t.items() if k != "total"),
            )
        )
    path = folder / "drift.md"
    path.write_text("\n".join([f"# NVE of {model.stem}, energies from the reference", "", *lines]) + "\n")
    return path


def whole(run: dict, blocks: int = 10) -> tuple[float, float]:
    """Slope of the total energy over the sound part (eV/ps) and its standard error from blocks of the residuals."""
    times, energy = np.array(run["trace"]["times_ps"]), np.array(run["trace"]["energy_eV"])
    sound = times <= run["stable_ps"] + 1e-9
    times, energy = times[sound], energy[sound]
    if len(times) < 2 * blocks:
        return float("nan"), float("nan")
    slope, offset = np.polyfit(times, energy, 1)
    means = np.array([block.mean() for block in np.array_split(energy - slope * times - offset, blocks)])
    centres = np.array([block.mean() for block in np.array_split(times, blocks)])
    spread = means.std(ddof=2)
    return float(slope), float(spread / np.sqrt(((centres - centres.mean()) ** 2).sum()))
