"""Momenta of runs against Maxwell and Boltzmann's distribution: a picture, and one figure of how far it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import units
from matplotlib.figure import Figure
from scipy.stats import kstest, norm

# p/√m by species, √eV.
Momenta = dict[str, np.ndarray]
# The picture's range, in thermal widths, and its bins.
RANGE, BINS = 4.0, 32


def pool(runs: list[dict]) -> Momenta:
    """Of all runs of one integrator, as :func:`~flashmd_rs.evaluation.nve.measure_run` keeps them."""
    return {symbol: np.concatenate([run["momenta"][symbol] for run in runs]) for symbol in runs[0]["momenta"]}


def departure(values: np.ndarray) -> float:
    """Largest difference of the cumulative distribution from that of the normal distribution of the same width.

    The Kolmogorov–Smirnov distance; of n independent values it is about 0.9/√n by chance.
    """
    return float(kstest(values, norm(scale=np.sqrt(np.mean(np.square(values)))).cdf).statistic)


def draw_momenta(rows: dict[str, dict[str, Momenta]], temperature_K: float, path: Path) -> None:
    """Densities of p/√m on a logarithmic scale: a row per ensemble, a panel per species, a line per integrator."""
    symbols = list(next(iter(next(iter(rows.values())).values())))
    figure = Figure(figsize=(2.5 + 4.5 * len(symbols), 3.5 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(symbols), sharex=True, sharey=True, squeeze=False)
    thermal = norm(scale=(temperature_K * units.kB) ** 0.5)
    edges = np.linspace(-RANGE, RANGE, BINS + 1) * thermal.std()
    x = np.linspace(edges[0], edges[-1], 200)
    colours = {
        name: f"C{k}"
        for k, name in enumerate(dict.fromkeys(name for integrators in rows.values() for name in integrators))
    }
    for axes, (ensemble, integrators) in zip(panels, rows.items()):
        for axis, symbol in zip(axes, symbols):
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
