"""Estimates with their errors: drifts, means over starts, regressions on what a start holds by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import ttest_ind

from flashmd_rs.evaluation.protocol import FEWEST_STARTS
from flashmd_rs.evaluation.results import RunFigures

# Blocks of the residuals of a drift.
BLOCKS = 10


def slope(run: RunFigures, last: float = 1.0) -> tuple[float, float]:
    """Slope of the total energy over the ``last`` share of the stable part (eV/ps), and its standard error.

    The error comes from the means of ten blocks of the residuals.
    """
    times, energy = np.array(run["trace"]["times_ps"]), np.array(run["trace"]["energy_eV"])
    chosen = (times <= run["stable_ps"] + 1e-9) & (times >= (1 - last) * run["stable_ps"])
    times, energy = times[chosen], energy[chosen]
    if len(times) < 2 * BLOCKS:
        return float("nan"), float("nan")
    fit, offset = np.polyfit(times, energy, 1)
    means = np.array([block.mean() for block in np.array_split(energy - fit * times - offset, BLOCKS)])
    centres = np.array([block.mean() for block in np.array_split(times, BLOCKS)])
    return float(fit), float(means.std(ddof=2) / np.sqrt(((centres - centres.mean()) ** 2).sum()))


def over_seeds(values: Sequence[float | None], digits: int, own_error: float | None = None) -> str:
    """Mean and standard error over seeds, with a sign; for one seed its own error, if it has one."""
    known = [v for v in values if v is not None and np.isfinite(v)]
    if not known:
        return "–"
    error = np.std(known, ddof=1) / len(known) ** 0.5 if len(known) > 1 else own_error
    return f"{np.mean(known):+.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def at_mean_energies(runs: list[RunFigures], values: dict[int, float]) -> str:
    """Value at zero of both excess energies, by linear regression of ``values`` over starts, and its standard error.

    Args:
        runs: runs from different starts, with ``stretch_excess_K`` and ``energy_excess_K``.
        values: the value of each start.

    Returns:
        A dash if fewer than :data:`FEWEST_STARTS` starts have both excesses.
    """
    known = [run for run in runs if None not in (run.get("stretch_excess_K"), run.get("energy_excess_K"))]
    if len(known) < FEWEST_STARTS:
        return "–"
    excess = np.array([[run["stretch_excess_K"], run["energy_excess_K"]] for run in known])
    (value, _, by_energy), covariance = curve_fit(
        lambda x, value, *slopes: value + x @ slopes, excess, [values[run["start"]] for run in known], p0=np.zeros(3)
    )
    mean_error = by_energy * known[0]["energy_excess_error_K"]
    return f"{value:+.1f} ± {np.hypot(covariance[0, 0] ** 0.5, mean_error):.1f}"


def difference(runs: list[RunFigures], others: list[RunFigures]) -> str:
    """95 % confidence interval (Welch) of the difference of two integrators' diffusion coefficients."""
    a, b = ([r["diffusion"] for r in group if r.get("diffusion") is not None] for group in (runs, others))
    if len(a) < 2 or len(b) < 2:
        return "–"
    low, high = ttest_ind(a, b, equal_var=False).confidence_interval()
    return f"{low:+.2f} to {high:+.2f}"
