"""Figures of a run. matplotlib is imported here and nowhere else; no window system is needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flashmd_rs._structure import F64

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class RunSeries:
    """What a figure of a run shows, against time.

    Attributes:
        times_ps: [F], ps.
        temperature_K: [F] by name, K.
        target_K: temperature of the thermostat, K, or None.
        atoms: number of atoms.
        energies_eV: [F] by name, eV; empty where none is known.
    """

    times_ps: F64
    temperature_K: dict[str, F64]
    target_K: float | None
    atoms: int
    energies_eV: dict[str, F64]


def plot_run(series: RunSeries, path: str | os.PathLike[str] | None = None) -> Figure:
    """Temperatures against time, and below them the energy change per atom where energies are known."""
    with_energy = bool(series.energies_eV)
    figure = Figure(figsize=(7, 6 if with_energy else 3.5), layout="constrained")
    axes = figure.subplots(2 if with_energy else 1, 1, squeeze=False, sharex=True)[:, 0]
    draw_temperatures(axes[0], series)
    if with_energy:
        draw_energies(axes[1], series)
    axes[-1].set_xlabel("time / ps")
    return _saved(figure, path)


def plot_demo(series: RunSeries, r: F64, g: F64, pair: str, path: str | os.PathLike[str] | None = None) -> Figure:
    """Temperatures beside a radial distribution function."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_temperatures(left, series)
    left.set_xlabel("time / ps")
    right.plot(r, g, color="tab:blue")
    right.axhline(1.0, color="0.7", lw=0.8)
    right.set(xlabel="r / Å", ylabel=rf"$g_\mathrm{{{pair}}}(r)$", xlim=(0, r[-1]), ylim=(0, None))
    return _saved(figure, path)


def draw_temperatures(axes: Axes, series: RunSeries) -> None:
    """Total temperature in black, each species' in colour, the thermostat's target dashed."""
    for name, values in series.temperature_K.items():
        style = {"color": "black", "lw": 1.5, "zorder": 3} if name == "total" else {"lw": 0.8, "alpha": 0.8}
        axes.plot(series.times_ps, values, label="all" if name == "total" else name, **style)
    if series.target_K is not None:
        axes.axhline(series.target_K, color="0.4", ls="--", lw=1, label=f"{series.target_K:g} K")
    axes.set_ylabel("temperature / K")
    axes.legend(ncols=4, fontsize="small")


def draw_energies(axes: Axes, series: RunSeries) -> None:
    """Change of the energies since the start, meV per atom."""
    scale = 1000.0 / series.atoms
    for name, values in series.energies_eV.items():
        axes.plot(series.times_ps, (values - values[0]) * scale, label=name)
    axes.set_ylabel("energy change / meV per atom")
    axes.legend(fontsize="small")


def _saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
