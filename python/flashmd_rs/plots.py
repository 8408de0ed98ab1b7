"""Figures of a run. matplotlib is imported here and nowhere else; no window system is needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flashmd_rs.structure import F64

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flashmd_rs.trajectory import Trajectory


def plot_run(trajectory: Trajectory, path: str | os.PathLike[str] | None = None) -> Figure:
    """Temperatures against time, and below them the energy change per atom where energies are known."""
    with_energy = trajectory.total_energy is not None
    figure = Figure(figsize=(7, 6 if with_energy else 3.5), layout="constrained")
    axes = figure.subplots(2 if with_energy else 1, 1, squeeze=False, sharex=True)[:, 0]
    draw_temperatures(axes[0], trajectory)
    if with_energy:
        draw_energies(axes[1], trajectory)
    axes[-1].set_xlabel("time / ps")
    return _saved(figure, path)


def plot_demo(trajectory: Trajectory, r: F64, g: F64, pair: str, path: str | os.PathLike[str] | None = None) -> Figure:
    """Temperatures beside a radial distribution function."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_temperatures(left, trajectory)
    left.set_xlabel("time / ps")
    right.plot(r, g, color="tab:blue")
    right.axhline(1.0, color="0.7", lw=0.8)
    right.set(xlabel="r / Å", ylabel=rf"$g_\mathrm{{{pair}}}(r)$", xlim=(0, r[-1]), ylim=(0, None))
    return _saved(figure, path)


def draw_temperatures(axes: Axes, trajectory: Trajectory) -> None:
    """Total temperature in black, each species' in colour, the thermostat's target dashed."""
    for name, values in trajectory.temperature_K.items():
        style = {"color": "black", "lw": 1.5, "zorder": 3} if name == "total" else {"lw": 0.8, "alpha": 0.8}
        axes.plot(trajectory.times_ps, values, label="all" if name == "total" else name, **style)
    target = trajectory.report.get("temperature_K")
    if target is not None:
        axes.axhline(target, color="0.4", ls="--", lw=1, label=f"{target:g} K")
    axes.set_ylabel("temperature / K")
    axes.legend(ncols=4, fontsize="small")


def draw_energies(axes: Axes, trajectory: Trajectory) -> None:
    """Change of total and conserved energy since the start, meV per atom."""
    scale = 1000.0 / len(trajectory.frames[0])
    for name, values in (("total", trajectory.total_energy), ("conserved", trajectory.conserved_energy)):
        if values is not None:
            axes.plot(trajectory.times_ps, (values - values[0]) * scale, label=name)
    axes.set_ylabel("energy change / meV per atom")
    axes.legend(fontsize="small")


def _saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
