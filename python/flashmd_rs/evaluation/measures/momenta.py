"""Momenta of runs against the Maxwell–Boltzmann distribution: a picture, and the distance as one figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure
from scipy.stats import kstest, norm

from flashmd_rs._structure import F64

# p/√m by species, √eV.
Momenta = dict[str, F64]
# The picture's range in thermal widths, and its number of bins.
RANGE, BINS = 4.0, 32
# Values of each species that are kept for a histogram.
MOMENTA = 4000


def pool(runs: list[dict[str, Any]]) -> Momenta:
    """Momenta of all runs of an integrator, as :func:`~flashmd_rs.evaluation.measures.nve.measure_run` keeps them."""
    return {symbol: np.concatenate([run["momenta"][symbol] for run in runs]) for symbol in runs[0]["momenta"]}


def sample_momenta(frames: list[Atoms]) -> dict[str, list[float]]:
    """A random selection of p/√m (√eV) by species."""
    choose, symbols = np.random.default_rng(0).choice, np.array(frames[0].get_chemical_symbols())
    masses, momenta = frames[0].get_masses(), {}
    for symbol in dict.fromkeys(symbols.tolist()):
        chosen = symbols == symbol
        values = np.concatenate([frame.get_momenta()[chosen].ravel() for frame in frames])
        values = values / math.sqrt(masses[chosen][0])
        momenta[symbol] = choose(values, min(len(values), MOMENTA), replace=False).tolist()
    return momenta


def departure(values: F64) -> float:
    """Kolmogorov–Smirnov distance of values from the normal distribution of the same width.

    It is the largest difference of the cumulative distributions; for n independent values about 0.9/√n by chance.
    """
    return float(kstest(values, norm(scale=np.sqrt(np.mean(np.square(values)))).cdf).statistic)


def draw_momenta(rows: dict[str, dict[str, Momenta]], temperature_K: float, path: Path) -> None:
    """Draw densities of p/√m on a logarithmic scale: a row per ensemble, a panel per species, a line per integrator.

    Args:
        rows: momenta by ensemble and name of the integrator.
        temperature_K: temperature of the Maxwell–Boltzmann curve, K.
        path: image file.
    """
    symbols = list(next(iter(next(iter(rows.values())).values())))
    figure = Figure(figsize=(2.5 + 4.5 * len(symbols), 3.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(symbols), sharex=True, sharey=True, squeeze=False)
    thermal = norm(scale=(temperature_K * units.kB) ** 0.5)
    edges = np.linspace(-RANGE, RANGE, BINS + 1) * thermal.std()
    x = np.linspace(edges[0], edges[-1], 200)
    names = dict.fromkeys(name for integrators in rows.values() for name in integrators)
    colours = {name: f"C{k}" for k, name in enumerate(names)}
    for axes, (ensemble, integrators) in zip(panels, rows.items(), strict=True):
        for axis, symbol in zip(axes, symbols, strict=True):
            for name, momenta in integrators.items():
                counts, _ = np.histogram(momenta[symbol], edges)
                # An empty bin has no logarithm.
                density = np.where(counts, counts, np.nan) / len(momenta[symbol]) / np.diff(edges)
                axis.plot(0.5 * (edges[1:] + edges[:-1]), density, colours[name], lw=1, label=name)
            axis.plot(x, thermal.pdf(x), color="black", ls="--", label=f"Maxwell–Boltzmann, {temperature_K:g} K")
            axis.set(title=", ".join(filter(None, (ensemble, symbol))), yscale="log")
        axes[0].set(ylabel="density")
    for axis in panels[-1]:
        axis.set(xlabel=r"$p/\sqrt{m}$ / √eV")
    curves = {line.get_label(): line for axis in panels[:, 0] for line in axis.lines}
    figure.legend(curves.values(), curves.keys(), loc="outside right upper", fontsize="small")
    panels[0, 0].set_ylim(thermal.pdf(RANGE * thermal.std()), 2 * thermal.pdf(0.0))
    figure.savefig(path, dpi=150)
