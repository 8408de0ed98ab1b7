"""Pictures of an evaluation: energy and temperature against time, structure and motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flashmd_rs.evaluation.results import Runs
from flashmd_rs.evaluation.tables import completed


def draw_energy(nve: Runs, path: Path) -> None:
    """Draw total energy and temperature against time while runs are stable; the mean where several starts all are."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, runs in enumerate(nve.values()):
        mean = len(runs) > 2 and all(map(completed, runs))
        traces = []
        for run in runs:
            times, energy, kelvin = (np.array(run["trace"][key]) for key in ("times_ps", "energy_eV", "T"))
            stable = times <= run["stable_ps"] + 1e-9
            traces.append((times[stable], (energy - energy[0])[stable], kelvin[stable]))
        thick: dict[str, Any] = {"color": f"C{k}", "lw": 1.5}
        thin = {"color": f"C{k}", "lw": 0.6, "alpha": 0.3}
        for trace in traces:
            for axis, values in zip((left, right), trace[1:], strict=True):
                axis.plot(trace[0], values, **(thin if mean else thick | {"lw": 1}))
        if mean:
            times, *means = np.mean(traces, 0)
            for axis, values in zip((left, right), means, strict=True):
                axis.plot(times, values, **thick)
        left.plot([], [], **thick, label=runs[0]["name"])
    left.set(xlabel="time / ps", ylabel="total energy change / eV", xlim=(0, None))
    right.set(xlabel="time / ps", ylabel="temperature / K", xlim=(0, None))
    # Where one run explodes the others must still be visible.
    if np.abs(left.dataLim.intervaly).max() > 1:
        left.set_yscale("symlog", linthresh=0.1)
        right.set_ylim(0, 1000)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)


def draw_motion(nve: Runs, path: Path) -> None:
    """Draw g(r), mean-square displacement and vibrational density of states of the first seed."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    structure, motion, spectrum = figure.subplots(1, 3)
    for k, (run, *_) in enumerate(nve.values()):
        if "g" in run:
            structure.plot(run["r_A"], run["g"], f"C{k}", lw=1, label=run["name"])
            motion.plot(run["lags_ps"], run["msd_A2"], f"C{k}", lw=1)
            spectrum.plot(run["wavenumber_per_cm"], run["spectrum"], f"C{k}", lw=1)
    structure.set(xlabel="r / Å", ylabel="g(r)", ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize="small")
    motion.set(xlabel="lag / ps", ylabel="mean-square displacement / Å²", xlim=(0, None), ylim=(0, None))
    spectrum.set(xlabel="wavenumber / cm⁻¹", ylabel="density of states / cm", xlim=(0, 4500), ylim=(0, None))
    figure.savefig(path, dpi=150)
