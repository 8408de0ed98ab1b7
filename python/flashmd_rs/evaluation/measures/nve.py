"""Measurements on one run: drift by the reference's energies, temperatures, momenta, and how long it was stable."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from flashmd_rs._structure import F64
from flashmd_rs.analysis import FEWEST
from flashmd_rs.evaluation.estimates import Estimate, of_series
from flashmd_rs.evaluation.integrators.integrator import RunResult
from flashmd_rs.evaluation.integrators.model_integrator import ModelIntegrator
from flashmd_rs.evaluation.measures.momenta import sample_momenta
from flashmd_rs.evaluation.results import RunFigures
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.explosion import hottest_K
from flashmd_rs.temperature import temperatures

# In relaxation times of a bath: what is left out at the beginning of a run, and what temperatures are averaged over.
SETTLING, AVERAGED = 5.0, 0.25
# Lengths of the windows over which a drift is fitted.
WINDOWS_PS = (5.0, 10.0, 50.0)
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


def measure_run(
    frames: list[Atoms], times_ps: list[float], reference: Reference, temperature_K: float | None = None
) -> RunFigures:
    """Figures of a run by the reference's energies.

    A run is stable until it is hotter than :func:`~flashmd_rs.reference.explosion.hottest_K`, or the reference fails to
    give its energy; figures are taken over the stable part.

    Args:
        frames: frames with momenta.
        times_ps: their times, ps.
        reference: the system; it is left at the last frame.
        temperature_K: temperature that the start was equilibrated at, K; None for that of the first frame.

    Returns:
        ``atoms``; ``time_ps``, ``stable_ps``, ``exploded``; ``drift_eV_per_ps`` by window, None where the run is too
        short for it; ``temperature_K`` of the second half and ``whole_temperature_K`` of the whole, for all atoms
        (``total``) and by species; ``temperature_estimate_K``, the first of them with its error within this run;
        ``sigma_temperature_K``, their standard deviation; ``sigma_energy_eV``, the rms
        deviation of the total energy from its straight line; ``trace`` of times, energies (eV) and temperatures (K);
        ``momenta`` p/√m (√eV) of the second half, by species.
    """
    masses, symbols = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols())
    rows = [temperatures(frame.get_momenta(), masses, symbols) for frame in frames]
    times, energy = np.array(times_ps), np.array([_total_energy(frame, masses, reference) for frame in frames])
    total = np.array([row["total"] for row in rows])
    limit = hottest_K(temperature_K or total[0], len(masses))
    unstable = np.flatnonzero((total > limit) | ~np.isfinite(energy))
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
        "temperature_estimate_K": {
            name: of_series(np.array([row[name] for row in rows[second_half]])) for name in rows[0]
        },
        "sigma_temperature_K": float(total[:stable].std()),
        "sigma_energy_eV": float((energy[:stable] - np.polyval(line, times[:stable])).std()),
        "trace": {
            "times_ps": times[::every].tolist(),
            "energy_eV": energy[::every].tolist(),
            "T": total[::every].tolist(),
        },
        "momenta": sample_momenta(frames[second_half]),
    }


def measure_bath(run: RunResult, temperature_K: float, time_constant_ps: float) -> RunFigures:
    """Figures of a run in a bath, once it has settled.

    Args:
        run: the run.
        temperature_K: temperature of the bath, K.
        time_constant_ps: relaxation time of the bath, ps; :data:`SETTLING` of them are left out, or half of the run if
            that is shorter.

    Returns:
        ``atoms``, ``time_ps``, ``stable_ps``, ``exploded`` and ``momenta`` as :func:`measure_run`;
        ``temperature_estimate_K`` by name and ``density_estimate_g_per_cm3`` (None unless periodic along all axes) with
        their errors; ``trace`` of times and temperatures (K).
    """
    times, kelvin = run.samples.times_ps, run.samples.temperature_K
    hot = np.flatnonzero(kelvin["total"] > hottest_K(temperature_K, len(run.frames[0])))
    stable = int(hot[0]) if len(hot) else len(times)
    stable_ps = float(times[max(stable - 1, 0)])
    begin_ps = min(SETTLING * time_constant_ps, 0.5 * stable_ps)
    settled = (times >= begin_ps) & (times <= stable_ps)
    density = run.samples.density_g_per_cm3
    # Fast fluctuations would make the correlation time of slow ones look short.
    spacing_ps = times[1] - times[0] if len(times) > 1 else np.inf
    averaged = max(1, int(AVERAGED * time_constant_ps / spacing_ps))
    # A run that is shorter than what it forgets cannot tell its error.
    forgets = stable_ps - begin_ps >= FEWEST * time_constant_ps

    def estimate(values: F64) -> Estimate:
        found = of_series(values[settled], averaged)
        return found if forgets else found._replace(error=None)

    every = max(1, len(times) // TRACE)
    return {
        "atoms": len(run.frames[0]),
        "time_ps": float(times[-1]),
        "stable_ps": stable_ps,
        "exploded": stable < len(times),
        "settled_from_ps": begin_ps,
        "temperature_estimate_K": {name: estimate(values) for name, values in kelvin.items()},
        "density_estimate_g_per_cm3": None if density is None else estimate(density),
        "trace": {"times_ps": times[::every].tolist(), "T": kelvin["total"][::every].tolist()},
        "momenta": sample_momenta(settled_frames(run, begin_ps, stable_ps)),
    }


def settled_frames(run: RunResult, begin_ps: float, end_ps: float) -> list[Atoms]:
    """Frames from one time to another, at least one."""
    chosen = (run.times_ps >= begin_ps - 1e-9) & (run.times_ps <= end_ps + 1e-9)
    return [frame for frame, inside in zip(run.frames, chosen, strict=True) if inside] or run.frames[:1]


def _total_energy(frame: Atoms, masses: F64, reference: Reference) -> float:
    """Total energy of a frame, eV; NaN where the reference fails, as many do where atoms are far apart or too close."""
    kinetic = float((frame.get_momenta() ** 2 / masses[:, None]).sum() / 2)
    try:
        return reference.energy(frame.positions) + kinetic
    except Exception:  # whatever a potential may raise on a structure out of bounds
        return math.nan


def _drifts(times: F64, energy: F64, stable: int) -> dict[str, float | None]:
    """Slope of the total energy (eV/ps) over the stable part of each window; None for windows beyond the run."""
    drifts = {}
    for window in WINDOWS_PS:
        inside = np.arange(len(times)) < stable
        inside &= times <= window + 1e-9
        long_enough = inside.sum() >= 3 and (times[-1] >= 0.99 * window or window == WINDOWS_PS[0])
        drifts[f"{window:g}"] = float(np.polyfit(times[inside], energy[inside], 1)[0]) if long_enough else None
    return drifts


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
