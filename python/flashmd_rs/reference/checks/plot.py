"""Pictures of a data file: momenta and speeds beside the analytic curves, temperatures, total energy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs._structure import F64
from flashmd_rs.reference.checks.segments import Temperature

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(temperatures: list[Temperature], output: Path, title: str) -> None:
    """Draw distributions of momentum and speed per species, temperatures and energy to an image file."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    symbols = list(temperatures[0].width)
    figure = Figure(figsize=(10, 2.9 * (len(symbols) + 1)), layout="constrained")
    axes = figure.subplots(len(symbols) + 1, 2)
    colours = colormaps["plasma"](np.linspace(0.05, 0.8, len(temperatures)))
    for symbol, (component, speed) in zip(symbols, axes[:-1], strict=True):
        for t, colour in zip(temperatures, colours, strict=True):
            _distributions(component, speed, t, symbol, colour)
        component.set(xlabel=f"{symbol}: momentum component / √m (√eV)", ylabel="density", ylim=(0, None))
        speed.set(xlabel=f"{symbol}: speed · √m (√eV)", xlim=(0, None), ylim=(0, None))
        component.legend(
            fontsize="small",
            frameon=False,
            title="Kolmogorov–Smirnov",
            title_fontsize="small",
            loc="upper left",
            alignment="left",
        )
    _temperatures(axes[-1, 0], temperatures, symbols)
    _energies(axes[-1, 1], temperatures, colours)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(output, dpi=130)


def _distributions(component: Axes, speed: Axes, t: Temperature, symbol: str, colour: F64) -> None:
    from scipy.stats import maxwell, norm

    values, width = t.scaled[symbol], t.width[symbol]
    lengths = np.linalg.norm(values, axis=-1).ravel()
    for axis, sample, law, low in ((component, values.ravel(), norm, -4.5), (speed, lengths, maxwell, 0.0)):
        bins = int(np.clip(0.5 * sample.size**0.5, 12, 45))
        edges = np.linspace(low, 4.5, bins + 1) * width
        density, _ = np.histogram(sample, edges, density=True)
        x = np.linspace(edges[0], edges[-1], 300)
        axis.plot(0.5 * (edges[1:] + edges[:-1]), density, ".", ms=4, color=colour)
        axis.plot(
            x, law.pdf(x, scale=width), "-", lw=1, color=colour, label=f"{t.bath_K:g} K, p = {t.ks_p[symbol]:.2g}"
        )


def _temperatures(axis: Axes, temperatures: list[Temperature], symbols: list[str]) -> None:
    names = [*symbols, "all"] if len(symbols) > 1 else symbols
    # Species are drawn side by side.
    baths = np.array([t.bath_K for t in temperatures])
    shift = 0.08 * (np.diff(baths).min() if len(baths) > 1 else 100.0)
    for k, name in enumerate(names):
        mean, error = np.array([t.temperature_K[name] for t in temperatures]).T
        expected = np.array([t.expected_K for t in temperatures])
        axis.errorbar(
            baths + (k - 0.5 * (len(names) - 1)) * shift, mean - expected, error, fmt="o", ms=4, capsize=2, label=name
        )
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axis.set(xlabel="bath (K)", ylabel="measured − expected (K)", xticks=baths)
    axis.margins(0.15, 0.25)
    axis.legend(fontsize="small", frameon=False, ncols=len(names))


def _energies(axis: Axes, temperatures: list[Temperature], colours: F64) -> None:
    for t, colour in zip(temperatures, colours, strict=True):
        if t.energy is None:
            continue
        # Long runs as means of blocks: a line through every frame would be a solid band.
        blocks = min(200, len(t.energy.time_fs))
        time_fs, mean, error = (
            np.array([block.mean() for block in np.array_split(x, blocks)])
            for x in (t.energy.time_fs, *t.energy.change_meV_per_atom.T)
        )
        slope, uncertain = t.energy.drift_meV_per_atom_ps
        error_bar = f" ± {uncertain:.3f}" if np.isfinite(uncertain) else ""
        axis.plot(time_fs, mean, "-", color=colour, label=f"{t.bath_K:g} K: {slope:+.3f}{error_bar}")
        axis.fill_between(time_fs, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    if all(t.energy is None for t in temperatures):
        axis.set(title="the file holds no energies", xticks=[], yticks=[])
        return
    low, high = axis.get_ylim()
    rows = (len(temperatures) + 1) // 2 + 1
    axis.set(
        xlabel="time without a bath (fs)",
        ylabel="Δ total energy (meV/atom)",
        ylim=(low, high + 0.12 * rows * (high - low)),
    )
    axis.legend(
        fontsize="small",
        frameon=False,
        title="drift (meV/atom/ps)",
        title_fontsize="small",
        loc="upper left",
        ncols=2,
        alignment="left",
    )
