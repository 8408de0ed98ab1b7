"""What a run came to: temperatures, energies, structure, motion and cost, as sections of Markdown with pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs.describe import second_half
from flashmd_rs.evaluation.estimates import BLOCKS, Estimate, of_blocks, of_series, slope
from flashmd_rs.evaluation.measures.figures import motion_figures, structure_figures
from flashmd_rs.evaluation.measures.momenta import departure, draw_momenta, sample_momenta
from flashmd_rs.evaluation.page.pictures import draw_motion, draw_pairs
from flashmd_rs.evaluation.page.tables import header, row
from flashmd_rs.pages.html import cell
from flashmd_rs.pages.sample import Sample
from flashmd_rs.report.pictures import draw_time

if TYPE_CHECKING:
    from flashmd_rs.trajectory import Trajectory

# Frames below which there are no distributions and no motion to speak of.
FEWEST_FRAMES = 2 * BLOCKS
SECTION = "## {}\n\n{}"


def temperatures(run: Trajectory) -> str | None:
    """Mean temperature of all atoms and of each species, with its confidence, against the thermostat's."""
    if not run.temperature_K:
        return None
    target = run.report.get("temperature_K")
    columns = ["", "T, K", "95 %"] + ([f"T − {target:g} K", "verdict"] if target is not None else [])
    lines = header(*columns)
    for name, values in run.temperature_K.items():
        found = of_series(second_half(values))
        cells = ["all atoms" if name == "total" else name, f"{found.mean:.1f}", half_width(found, 1)]
        if found.mean == 0.0:  # nothing of it can move
            cells = [cells[0], "cannot move", *[""] * (len(columns) - 2)]
        elif target is not None:
            cells += [f"{found.mean - target:+.1f}", _verdict(found, target)]
        lines.append(row(*cells))
    return SECTION.format("Temperatures", "\n".join(lines))


def _verdict(found: Estimate, target: float) -> str:
    if not found.error:
        return "too short to tell"
    return "agrees" if abs(found.mean - target) <= found.half_width() else "**differs**"


def half_width(found: Estimate, digits: int) -> str:
    """Half of the confidence interval as text; a dash where it is not known."""
    return "–" if not found.error else f"± {found.half_width():.{digits}f}"


def energies(run: Trajectory) -> str | None:
    """Slope of the energy that should stay, and by how much it fluctuates."""
    bath = run.report.get("thermostat") is not None
    values = run.conserved_energy if bath else run.total_energy
    if values is None or len(values) < 2 or not np.isfinite(values).all():
        return None
    trace = {"times_ps": run.times_ps.tolist(), "energy_eV": values.tolist()}
    found = slope({"trace": trace, "stable_ps": float(run.times_ps[-1])})
    change, atoms = float(values[-1] - values[0]), len(run.frames[-1])
    rows = [("change over the run", f"{change:+.4g} eV")]
    if found is not None:
        digits = max(0, 1 - math.floor(math.log10(found.error))) if found.error else 4
        rows.append(("slope", f"{found.mean:+.{digits}f} {half_width(found, digits)} eV/ps"))
        rows.append(("of each atom", f"{1000 * found.mean / atoms:+.2g} meV/ps"))
    name = "Conserved energy" if bath else "Total energy"
    text = "\n".join([*header("", ""), *(row(*cells) for cells in rows)])
    what = "Total energy less the heat of the thermostat and the work of the barostat, by the energy model."
    return SECTION.format(name, f"{what}\n\n{text}" if bath else text)


def volume(run: Trajectory) -> str | None:
    """Density and pressure, where there is a volume; the volume where it changes."""
    series = {"density, g/cm³": (run.density_g_per_cm3, 4), "pressure, bar": (run.pressure_bar, 0)}
    if run.report.get("barostat") is not None:
        series = {"volume, Å³": (run.volume_A3, 1), **series}
    lines = header("", "mean", "95 %")
    for name, (values, digits) in series.items():
        if values is not None:
            found = of_series(second_half(values))
            still = "fixed" if name.startswith("density") and run.report.get("barostat") is None else None
            lines.append(row(name, f"{found.mean:.{digits}f}", still or half_width(found, digits)))
    return SECTION.format("Volume", "\n".join(lines)) if len(lines) > 2 else None


def time_pictures(run: Trajectory, page: Path) -> str | None:
    """Everything against time."""
    if len(run.times_ps) < 2:
        return None
    return SECTION.format("Against time", _picture(page, "time", "Against time", lambda path: draw_time(run, path)))


def momenta(run: Trajectory, sample: Sample, page: Path) -> str | None:
    """Distribution of momenta by species against Maxwell–Boltzmann's."""
    frames = sample.second_half(moving=True)
    if not all(frame.has("momenta") for frame in frames):
        return None
    found = {symbol: np.array(values) for symbol, values in sample_momenta(frames).items()}
    found = {symbol: values for symbol, values in found.items() if values.any()}
    if not found:
        return None
    target = run.report.get("temperature_K") or float(np.mean(second_half(run.temperature_K["total"])))
    lines = header("", "departure from Maxwell–Boltzmann's shape, %", "values")
    lines += [row(symbol, f"{100 * departure(values):.1f}", len(values)) for symbol, values in found.items()]
    note = (
        "Departure: largest difference of the cumulative distribution of p/√m from a normal one of the same width "
        "(Kolmogorov–Smirnov), about 0.9/√n by chance for n independent values."
    )
    picture = _picture(page, "momenta", "Momenta", lambda path: draw_momenta({"": {"run": found}}, target, path))
    return SECTION.format("Momenta", "\n".join([*lines, "", note, "", picture]))


def structure(sample: Sample, page: Path) -> str | None:
    """Radial distribution functions of the most abundant species; neighbours per Å where not every axis is periodic."""
    frames = sample.second_half()
    if len(frames) < BLOCKS:
        return None
    found = {"name": "run", **structure_figures(frames)}
    known = {pair: values for pair, values in found["pairs"].items() if np.any(values["blocks"])}
    if not known:
        return None
    found["pairs"] = known
    lines = header("pair", "highest peak, Å", "height", "95 %")
    for pair, values in known.items():
        blocks = np.array(values["blocks"])
        height = of_blocks(blocks[:, int(blocks.mean(0).argmax())])
        lines.append(row(pair, f"{values['peak_A']:.2f}", f"{height.mean:.2f}", half_width(height, 2)))
    picture = _picture(page, "pairs", "Distributions of pairs", lambda path: draw_pairs({"run": [found]}, path))
    return SECTION.format("Structure", "\n".join([*lines, "", picture]))


def motion(sample: Sample, page: Path) -> str | None:
    """Mean-square displacements and diffusion coefficients by species; None where frames are not evenly spaced."""
    if len(sample.frames) < FEWEST_FRAMES or not sample.is_even:
        return None
    found = {"name": "run", **motion_figures(sample.moving(sample.frames), sample.times_ps)}
    lines = header("", "diffusion coefficient, 10⁻⁵ cm²/s", "95 %")
    for symbol, coefficient in found["diffusion"].items():
        known = coefficient is not None
        cells = (f"{coefficient.mean:.3f}", half_width(coefficient, 3)) if known else ("too short to tell", "–")
        lines.append(row(symbol, *cells))
    note = (
        "Slope of the mean-square displacement over 6, from lags of 1 ps to a tenth of the run; no correction for size."
    )
    picture = _picture(page, "motion", "Mean-square displacements", lambda path: draw_motion({"run": [found]}, path))
    return SECTION.format("Motion", "\n".join([*lines, "", note, "", picture]))


def speed(run: Trajectory) -> str | None:
    """Wall time and where it went."""
    report = run.report
    if not report.get("seconds"):
        return None
    parts = {"network": "network", "neighbour search": "neighbors", "energies": "energy", "output": "callbacks"}
    lines = [*header("", ""), row("speed", f"{report['ns_per_day']:.3g} ns/day"), row("strides", report["steps"])]
    lines.append(row("wall time", f"{report['seconds']:.1f} s"))
    for name, key in parts.items():
        lines.append(row(name, f"{100 * report[f'seconds_{key}'] / report['seconds']:.0f} %"))
    return SECTION.format("Speed", "\n".join(lines))


def violations(run: Trajectory) -> str | None:
    """Strides out of the model's domain, and the first of each quantity."""
    guard: dict[str, Any] | None = run.report.get("statistics", {}).get("guard")
    if guard is None:
        return None
    first = {entry["quantity"]: entry for entry in guard["first"]}
    quantities = dict.fromkeys([*guard["strides"], *first])
    if not quantities:
        return SECTION.format("Domain", "No stride left the domain that the model was trained for.")
    lines = header("quantity", "strides", "first")
    for quantity in quantities:
        entry, count = first.get(quantity), guard["strides"].get(quantity, "")
        at = "" if entry is None else cell(f"stride {entry['step']}: {entry['message']}")
        lines.append(row(cell(quantity), count, at))
    return SECTION.format("Domain", "\n".join(["Strides out of the model's domain:", "", *lines]))


def _picture(page: Path, name: str, words: str, draw: Callable[[Path], Any]) -> str:
    """Draw a picture beside the page, in colours that the colour-blind tell apart, and name it."""
    from matplotlib import style

    with style.context("tableau-colorblind10"):
        draw(page.with_name(f"{page.stem}-{name}.png"))
    return f"![{words}]({name}.png)"
