"""Picture of a run: temperatures, energies, volume and pressure against time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from flashmd_rs._structure import F64
from flashmd_rs.plots import draw_energies, draw_temperatures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flashmd_rs.trajectory import Trajectory


def draw_time(run: Trajectory, path: Path) -> None:
    """Draw what is known of the run, one panel below the other."""
    series = run.series()
    panels: list[Callable[[Axes], None]] = []
    if series.temperature_K:
        panels.append(lambda axes: draw_temperatures(axes, series))
    if series.energies_eV:
        panels.append(lambda axes: draw_energies(axes, series))
    if run.report.get("barostat") is not None and run.density_g_per_cm3 is not None:
        panels.append(_line(run.times_ps, run.density_g_per_cm3, "density / g cm⁻³"))
    if run.pressure_bar is not None:
        panels.append(_line(run.times_ps, run.pressure_bar, "pressure / bar"))
    figure = Figure(figsize=(8, 0.6 + 2.6 * max(1, len(panels))), layout="constrained")
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=True)[:, 0]
    for axis, draw in zip(axes, panels, strict=False):
        draw(axis)
    axes[-1].set(xlabel="time / ps", xlim=(run.times_ps[0], run.times_ps[-1]))
    figure.savefig(path, dpi=150)


def _line(times_ps: F64, values: F64, label: str) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        axes.plot(times_ps, values, lw=0.9)
        axes.set_ylabel(label)

    return draw
