"""NVE of one model on water without thermostat and rescaling, energies from OpenMM: the drift and what goes with it."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from flashmd_train.studies.report import head, one, row, until
from flashmd_train.studies.water_nve import nve, start


def drift(model: Path, folder: Path, waters: int, time_ps: float, seeds: int, workers: int) -> Path:
    """Run what is not there yet into ``folder`` and write ``drift.md``; returns its path.

    Args:
        model: ONNX file that moves water. folder: one JSON per run. waters: in the box. time_ps: of a run.
        seeds: runs from different starts. workers: processes, of one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_run, [(model, folder, waters, time_ps, seed) for seed in range(seeds)]))
    return write(model, folder)


def _run(job: tuple[Path, Path, int, float, int]) -> None:
    model, folder, waters, time_ps, seed = job
    torch.set_num_threads(1)
    path = folder / f"{model.stem}-{waters}-{time_ps:g}ps-seed{seed}.json"
    if path.exists():
        return
    _, atoms = start(waters, seed)
    result = nve(model, atoms, time_ps) | dict(model=model.stem, waters=waters, seed=seed)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result))
    temporary.rename(path)


def write(model: Path, folder: Path) -> Path:
    """The table of all runs of ``model``."""
    lines = head(
        "waters",
        "seed",
        "ps",
        "drift 0–5 ps, eV/ps",
        "whole run, eV/ps",
        "meV/atom/ps",
        "± eV/ps",
        "rms of E, eV",
        "T, K",
        "T of O",
        "T of H",
    )
    for path in sorted(folder.glob(f"{model.stem}-*.json")):
        run = json.loads(path.read_text())
        slope, error = whole(run)
        t = run["temperature_K"]
        lines.append(
            row(
                run["waters"],
                run["seed"],
                until(run),
                one(run["drift_eV_per_ps"]["5"]),
                one(slope),
                one(1000 * slope / (3 * run["waters"])),
                f"{error:.4f}",
                f"{run['sigma_energy_eV']:.3f}",
                *[f"{t[k]:.1f}" for k in ("total", "O", "H")],
            )
        )
    path = folder / "drift.md"
    path.write_text("\n".join([f"# NVE of {model.stem}, energies from OpenMM", "", *lines]) + "\n")
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
