"""Tables of runs in a bath."""

from __future__ import annotations

import numpy as np

from flashmd_rs.evaluation.claims import density_estimate, named_temperatures, temperature_estimates
from flashmd_rs.evaluation.estimates import shown
from flashmd_rs.evaluation.page.tables import header, row, stable_until_each
from flashmd_rs.evaluation.results import RunFigures, Runs


def bath_table(integrators: Runs, ensemble: str) -> list[str]:
    """Temperatures of all atoms and by species, density at constant pressure, and how long runs were stable."""
    names = named_temperatures(temperature_estimates(next(iter(integrators.values()))))
    density = ["density, g/cm³"] if ensemble == "npt" else []
    tested = any(run.get("accepted") is not None for runs in integrators.values() for run in runs)
    columns = [*(f"T of {k}, K" for k in names[1:]), *density, *(["strides accepted"] if tested else [])]
    lines = header("", "T, K", *columns, "sound until, ps", "violations of the domain")
    for runs in integrators.values():
        kelvin = temperature_estimates(runs)
        cells = [shown(kelvin.get(k), 1) for k in names]
        if density:
            cells.append(shown(density_estimate(runs), 4))
        if tested:
            shares = [run["accepted"] for run in runs if run.get("accepted") is not None]
            cells.append(f"{100 * np.mean(shares):.1f} %" if shares else "")
        lines.append(row(runs[0]["name"], *cells, stable_until_each(runs), _violations(runs)))
    return lines


def _violations(runs: list[RunFigures]) -> str:
    """Strides out of bounds by quantity, over all runs; empty where nothing was counted."""
    counted = [run["violations"] for run in runs if run.get("violations") is not None]
    if not counted:
        return ""
    names = sorted(set().union(*counted))
    return ", ".join(f"{name} {sum(c.get(name, 0) for c in counted)}" for name in names) or "none"
