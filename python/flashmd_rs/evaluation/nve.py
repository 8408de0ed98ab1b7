"""One run of one model without a thermostat, judged by the reference: energies, drift, temperatures, momenta."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from ase import Atoms

from flashmd_rs.evaluation.integrators import ModelIntegrator
from flashmd_rs.reference.base import Reference

# Beyond it a run has exploded.
EXPLODED_K = 1000.0
WINDOWS_PS = (5.0, 10.0, 50.0)
# Of each species that are kept for a histogram.
MOMENTA = 4000


def run_nve(model: Path, reference: Reference, time_ps: float, **options: object) -> dict:
    """RunResult from where the reference is, without a thermostat or with ``options`` of the runtime: see :func:`measure_run`."""
    run = ModelIntegrator(model, **options).run(reference, 1000 * time_ps, time_ps, None, seed=1)
    return measure_run(run.frames, run.times_ps.tolist(), reference) | dict(stopped=run.stopped)


def measure_run(frames: list[Atoms], times_ps: list[float], reference: Reference) -> dict:
    """Temperatures, total energies by the reference, drift by window, and how long the run was sound.

    Returns:
        ``drift_eV_per_ps`` by window, over what is sound of it; ``temperature_K`` of the second half of that, in all
        and by species, ``whole_temperature_K`` of all of it, and their standard deviation; rms of the energy about its
        line (eV); ``stable_ps``; traces; momenta of the second half, by species.
    """
    from flashmd_rs.temperature import temperatures

    masses, symbols = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols())
    rows, energies = [], []
    for frame in frames:
        momenta = frame.get_momenta()
        rows.append(temperatures(momenta, masses, symbols))
        kinetic = float((momenta**2 / masses[:, None]).sum() / 2)
        energies.append(reference.energy(frame.positions) + kinetic)
    times, energy = np.array(times_ps), np.array(energies)
    total = np.array([row["total"] for row in rows])
    bad = np.flatnonzero((total > EXPLODED_K) | ~np.isfinite(energy))
    sound = int(bad[0]) if len(bad) else len(times)
    drift = {}
    for window in WINDOWS_PS:
        inside = np.arange(len(times)) < sound
        inside &= times <= window + 1e-9
        long_enough = inside.sum() >= 3 and (times[-1] >= 0.99 * window or window == WINDOWS_PS[0])
        drift[f"{window:g}"] = float(np.polyfit(times[inside], energy[inside], 1)[0]) if long_enough else None
    line = np.polyfit(times[:sound], energy[:sound], 1) if sound >= 3 else np.zeros(2)
    half = slice(sound // 2, max(sound, 1))
    momenta = {
        symbol: np.concatenate([f.get_momenta()[symbols == symbol].ravel() for f in frames[half]])
        / math.sqrt(masses[symbols == symbol][0])
        for symbol in dict.fromkeys(symbols.tolist())
    }
    every = max(1, len(times) // 200)
    draw = np.random.default_rng(0).choice
    return dict(
        atoms=len(masses),
        time_ps=float(times[-1]),
        stable_ps=float(times[sound - 1]) if sound else 0.0,
        exploded=sound < len(times),
        drift_eV_per_ps=drift,
        temperature_K=_means(rows[half]),
        whole_temperature_K=_means(rows[: max(sound, 1)]),
        sigma_temperature_K=float(total[:sound].std()),
        sigma_energy_eV=float((energy[:sound] - np.polyval(line, times[:sound])).std()),
        trace=dict(times_ps=times[::every].tolist(), energy_eV=energy[::every].tolist(), T=total[::every].tolist()),
        momenta={k: draw(v, min(len(v), MOMENTA), replace=False).tolist() for k, v in momenta.items()},
    )


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
