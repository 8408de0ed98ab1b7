"""Estimates with their standard errors: of series, of blocks, over starts; drifts and regressions over starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import t

from flashmd_rs._structure import F64
from flashmd_rs.analysis import FEWEST, mean_and_error
from flashmd_rs.evaluation.protocol import FEWEST_STARTS
from flashmd_rs.evaluation.results import RunFigures

# Blocks of a run whose means give errors; also of the residuals of a drift.
BLOCKS = 10
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean and how well it is known.

    Attributes:
        mean: the mean.
        error: its standard error; None where it is not known.
        freedom: degrees of freedom of that error.
    """

    mean: float
    error: float | None
    freedom: float

    def text(self, digits: int, sign: str = "") -> str:
        """Mean and standard error; ``sign`` is ``+`` for numbers that carry one."""
        error = "" if self.error is None else f" ± {self.error:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{error}"

    def half_width(self) -> float:
        """Half of the 95 % confidence interval."""
        assert self.error is not None
        return float(t.ppf(0.5 + 0.5 * CONFIDENCE, max(self.freedom, 1.0))) * self.error


def of_series(values: F64, averaged: int = 1) -> Estimate:
    """Mean of a stationary series [S] and its error, values that follow each other being alike.

    Args:
        values: the series.
        averaged: so many successive values are averaged first, which takes out fluctuations much faster than the rest.

    The method is :func:`flashmd_rs.analysis.mean_and_error`'s: the integrated correlation time, summed over a window of
    five times itself. Blocking (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989)) estimates the same error, with
    more scatter.
    """
    averaged = max(1, min(averaged, len(values) // FEWEST))
    count = len(values) // averaged
    values = values[len(values) - count * averaged :].reshape(count, averaged).mean(1)
    mean, error = mean_and_error(values)
    if error is None or error == 0.0:
        return Estimate(mean, error, 0.0)
    return Estimate(mean, error, max(1.0, float(np.var(values)) / error**2 - 1))


def of_blocks(values: F64) -> Estimate:
    """Mean of the means of equal blocks [B], each long against the correlation time, and its error."""
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5, len(values) - 1.0)


def over_starts(estimates: Iterable[Sequence[float | None] | None]) -> Estimate | None:
    """Mean over starts; None without any.

    The error is what the scatter over starts says or what the starts' own errors leave, whichever is larger: the first
    holds what a run never forgets, the second is no chance agreement of few starts.
    """
    known = [Estimate(*values) for values in estimates if values is not None]  # type: ignore[arg-type]
    if not known:
        return None
    mean, count = float(np.mean([e.mean for e in known])), len(known)
    candidates = []
    if count > 1:
        candidates.append(of_blocks(np.array([e.mean for e in known])))
    errors = [e.error for e in known if e.error is not None]
    if len(errors) == count:
        own = float(np.sqrt(np.sum(np.square(errors)))) / count
        candidates.append(Estimate(mean, own, sum(e.freedom for e in known)))
    return max(candidates, key=lambda e: e.error or 0.0, default=Estimate(mean, None, 0.0))._replace(mean=mean)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """``one`` less ``other``, which are independent; degrees of freedom by Welch (Biometrika 34, 28 (1947))."""
    if one.error is None or other.error is None:
        return Estimate(one.mean - other.mean, None, 0.0)
    squares = np.array([one.error, other.error]) ** 2
    parts = squares**2 / np.maximum([one.freedom, other.freedom], 1.0)
    freedom = float(squares.sum() ** 2 / parts.sum()) if parts.sum() else 0.0
    return Estimate(one.mean - other.mean, float(np.sqrt(squares.sum())), freedom)


def slope(run: RunFigures, last: float = 1.0) -> Estimate | None:
    """Slope of the total energy over the ``last`` share of the stable part (eV/ps); None of too short a run.

    The error comes from the means of ten blocks of the residuals.
    """
    times, energy = np.array(run["trace"]["times_ps"]), np.array(run["trace"]["energy_eV"])
    chosen = (times <= run["stable_ps"] + 1e-9) & (times >= (1 - last) * run["stable_ps"])
    times, energy = times[chosen], energy[chosen]
    if len(times) < 2 * BLOCKS:
        return None
    fit, offset = np.polyfit(times, energy, 1)
    means = np.array([block.mean() for block in np.array_split(energy - fit * times - offset, BLOCKS)])
    centres = np.array([block.mean() for block in np.array_split(times, BLOCKS)])
    error = means.std(ddof=2) / np.sqrt(((centres - centres.mean()) ** 2).sum())
    return Estimate(float(fit), float(error), BLOCKS - 2.0)


def at_mean_energies(runs: list[RunFigures], values: dict[int, float]) -> Estimate | None:
    """Value at zero of both excess energies, by linear regression of ``values`` over starts.

    Args:
        runs: runs from different starts, with ``stretch_excess_K`` and ``energy_excess_K``.
        values: the value of each start.

    Returns:
        None if fewer than :data:`FEWEST_STARTS` starts have both excesses.
    """
    known = [run for run in runs if None not in (run.get("stretch_excess_K"), run.get("energy_excess_K"))]
    if len(known) < FEWEST_STARTS:
        return None
    excess = np.array([[run["stretch_excess_K"], run["energy_excess_K"]] for run in known])
    (value, _, by_energy), covariance = curve_fit(
        lambda x, value, *slopes: value + x @ slopes, excess, [values[run["start"]] for run in known], p0=np.zeros(3)
    )
    mean_error = by_energy * known[0]["energy_excess_error_K"]
    return Estimate(float(value), float(np.hypot(covariance[0, 0] ** 0.5, mean_error)), len(known) - 3.0)


def shown(estimate: Estimate | None, digits: int, sign: str = "") -> str:
    """Text of an estimate; a dash for none."""
    return "–" if estimate is None or not np.isfinite(estimate.mean) else estimate.text(digits, sign)
