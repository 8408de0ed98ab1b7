"""Measurements on one run by the reference's energies: drift, temperatures, momenta, and how long it was stable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from flashmd_rs._structure import F64
from flashmd_rs.evaluation.integrators import ModelIntegrator
from flashmd_rs.evaluation.results import RunFigures
from flashmd_rs.reference.base import Reference
from flashmd_rs.temperature import temperatures

# Temperature above which a run has exploded.
EXPLODED_K = 1000.0
# Lengths of the windows over which a drift is fitted.
WINDOWS_PS = (5.0, 10.0, 50.0)
# Momenta of each species that are kept for a histogram.
MOMENTA = 4000
# Points of a trace that are kept, about.
TRACE = 200


def run_nve(model: str | Path, reference: Reference, time_ps: float, **options: Any) -> RunFigures:
    """Figures of one run of a model from the reference's current frame, without a bath.

    Args:
        model: ONNX file, or the name of a bundled model.
        reference: the system; its energies are those that count.
        time_ps: length of the run, ps; it has 1000 frames.
        options: further arguments of ``flashmd_rs.rollout``.

    Returns:
        See :func:`measure_run`; and ``stopped``, why the run ended early, or None.
    """
    run = ModelIntegrator(model, **options).run(reference, 1000 * time_ps, time_ps, None, seed=1)
    return measure_run(run.frames, run.times_ps.tolist(), reference) | {"stopped": run.stopped}


def measure_run(frames: list[Atoms], times_ps: list[float], reference: Reference) -> RunFigures:
    """Figures of a run by the reference's energies.

    A run is stable until its temperature passes :data:`EXPLODED_K` or its energy is not finite; figures are taken over
    the stable part.

    Args:
        frames: frames with momenta.
        times_ps: their times, ps.
        reference: the system; it is left at the last frame.

    Returns:
        ``atoms``; ``time_ps``, ``stable_ps``, ``exploded``; ``drift_eV_per_ps`` by window, None where the run is too
        short for it; ``temperature_K`` of the second half and ``whole_temperature_K`` of the whole, for all atoms
        (``total``) and by species; ``sigma_temperature_K``, their standard deviation; ``sigma_energy_eV``, the rms
        deviation of the total energy from its straight line; ``trace`` of times, energies (eV) and temperatures (K);
        ``momenta`` p/√m (√eV) of the second half, by species.
    """
    masses, symbols = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols())
    rows = [temperatures(frame.get_momenta(), masses, symbols) for frame in frames]
    times, energy = np.array(times_ps), np.array([_total_energy(frame, masses, reference) for frame in frames])
    total = np.array([row["total"] for row in rows])
    unstable = np.flatnonzero((total > EXPLODED_K) | ~np.isfinite(energy))
    stable = int(unstable[0]) if len(unstable) else len(times)
    line = np.polyfit(times[:stable], energy[:stable], 1) if stable >= 3 else np.zeros(2)
    second_half = slice(stable // 2, max(stable, 1))
    every = max(1, len(times) // TRACE)
    return {
        "atoms": len(masses),
        "time_ps": float(times[-1]),
        "stable_ps": float(times[stable - 1]) if stable else 0.0,
        "exploded": stable < len(times),
        "drift_eV_per_ps": _drifts(times, energy, stable),
        "temperature_K": _means(rows[second_half]),
        "whole_temperature_K": _means(rows[: max(stable, 1)]),
        "sigma_temperature_K": float(total[:stable].std()),
        "sigma_energy_eV": float((energy[:stable] - np.polyval(line, times[:stable])).std()),
        "trace": {
            "times_ps": times[::every].tolist(),
            "energy_eV": energy[::every].tolist(),
            "T": total[::every].tolist(),
        },
        "momenta": _momenta(frames[second_half], masses, symbols),
    }


def _total_energy(frame: Atoms, masses: F64, reference: Reference) -> float:
    kinetic = float((frame.get_momenta() ** 2 / masses[:, None]).sum() / 2)
    return reference.energy(frame.positions) + kinetic


def _drifts(times: F64, energy: F64, stable: int) -> dict[str, float | None]:
    """Slope of the total energy (eV/ps) over the stable part of each window; None for windows beyond the run."""
    drifts = {}
    for window in WINDOWS_PS:
        inside = np.arange(len(times)) < stable
        inside &= times <= window + 1e-9
        long_enough = inside.sum() >= 3 and (times[-1] >= 0.99 * window or window == WINDOWS_PS[0])
        drifts[f"{window:g}"] = float(np.polyfit(times[inside], energy[inside], 1)[0]) if long_enough else None
    return drifts


def _momenta(frames: list[Atoms], masses: F64, symbols: NDArray[np.str_]) -> dict[str, list[float]]:
    """A random selection of p/√m (√eV) by species."""
    choose = np.random.default_rng(0).choice
    momenta = {}
    for symbol in dict.fromkeys(symbols.tolist()):
        chosen = symbols == symbol
        values = np.concatenate([frame.get_momenta()[chosen].ravel() for frame in frames])
        values = values / math.sqrt(masses[chosen][0])
        momenta[symbol] = choose(values, min(len(values), MOMENTA), replace=False).tolist()
    return momenta


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
