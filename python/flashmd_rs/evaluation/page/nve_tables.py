"""Tables of runs without a bath: energy, equipartition, strides, and each start on its own."""

from __future__ import annotations

from flashmd_rs.evaluation.claims import named_temperatures, temperature_estimates
from flashmd_rs.evaluation.estimates import Estimate, at_mean_energies, over_starts, shown, slope
from flashmd_rs.evaluation.page.tables import header, paragraph, row, stable_until_each
from flashmd_rs.evaluation.protocol import FEWEST_STARTS
from flashmd_rs.evaluation.results import RunFigures, Runs, baseline

# Parts of a run over which temperatures are averaged, and their names in the results.
PARTS = {"whole run": "whole_temperature_K", "second half": "temperature_K"}


def _scatter(values: list[float]) -> Estimate | None:
    """Mean over starts of values without an error of their own."""
    return over_starts([value, None, 0.0] for value in values)


def energy_table(nve: Runs) -> list[str]:
    """Drift, noise and temperatures."""
    names = named_temperatures(next(iter(nve.values()))[0]["temperature_K"])
    columns = ("0–5 ps, eV/ps", "last half, eV/ps", "whole run, eV/ps", "meV/atom/ps", "rms of E, eV", "T, K")
    lines = header("", *columns, *(f"T of {k}, K" for k in names[1:]), "sound until, ps")
    for runs in nve.values():
        per_atom, kelvin = 1000 / runs[0]["atoms"], temperature_estimates(runs)
        whole = over_starts(slope(run) for run in runs)
        scaled = whole and Estimate(whole.mean * per_atom, (whole.error or 0.0) * per_atom, whole.freedom)
        early = [run["drift_eV_per_ps"]["5"] for run in runs]
        lines.append(
            row(
                runs[0]["name"],
                shown(_scatter([drift for drift in early if drift is not None]), 4, "+"),
                shown(over_starts(slope(run, last=0.5) for run in runs), 4, "+"),
                shown(whole, 4, "+"),
                shown(scaled, 4, "+"),
                shown(_scatter([run["sigma_energy_eV"] for run in runs]), 3),
                *(shown(kelvin.get(name), 1) for name in names),
                stable_until_each(runs),
            )
        )
    return lines


def two_species(integrators: Runs) -> tuple[str, str] | None:
    """The two species whose temperatures are compared, None if there are not two."""
    species = [k for k in next(iter(integrators.values()))[0]["temperature_K"] if k != "total"]
    return (species[1], species[0]) if len(species) == 2 else None


def equipartition_table(nve: Runs) -> list[str]:
    """Difference of two species' temperatures: alone, less velocity Verlet's from the same starts, at mean energies.

    Bonds keep their excess energy for longer than a run; pairs with Verlet cancel a part of it, the regression most.
    """
    two = two_species(nve)
    if two is None:
        return []
    verlet = nve.get(baseline(nve) or "", [])
    lines = header(
        f"T_{two[0]} − T_{two[1]}, K",
        *(f"{part}: {kind}" for part in PARTS for kind in ("alone", "less Verlet's", "at mean energies")),
    )

    def differences(runs: list[RunFigures], part: str) -> dict[int, float]:
        return {run["start"]: float(run[part][two[0]] - run[part][two[1]]) for run in runs}

    for runs in nve.values():
        cells = []
        for part in PARTS.values():
            alone, others = differences(runs, part), {} if runs is verlet else differences(verlet, part)
            pairs = [alone[start] - others[start] for start in alone if start in others]
            found = (_scatter(list(alone.values())), _scatter(pairs), at_mean_energies(runs, alone))
            cells += [shown(value, 1, "+") for value in found]
        lines.append(row(runs[0]["name"], *cells))
    explained = paragraph(
        "Less Verlet's: from the same starts. At mean energies: by regression over starts on what their bonds hold",
        "beyond k_B·T, and on what they hold in all beyond the mean of the reference's bath, at none of either",
        f"({FEWEST_STARTS} starts or more of a system with bonds). Bonds that are hot by chance stay hot for longer",
        "than a run, and cold in a start that is hot by chance; neither is the integrator's doing.",
    )
    return [*lines, "", explained, ""]


def stride_table(nve: Runs) -> list[str]:
    """Reversibility and symplecticity of a model's stride."""
    lines = header("one stride", "irreversible: q, p", "JᵀΩJ − Ω")
    models = [runs[0] for runs in nve.values() if "reversibility" in runs[0]]
    for first in models:
        back = first["reversibility"]
        both = f"{back['positions']:.0e}, {back['momenta']:.0e}"
        lines.append(row(first["name"], both, f"{first['symplecticity']:.0e}"))
    return lines if models else []


def starts_table(nve: Runs) -> list[str]:
    """Every run on its own, where an integrator has more than one."""
    if all(len(runs) < 2 for runs in nve.values()):
        return []
    two = two_species(nve)
    columns = ["start", "0–5 ps, eV/ps", "whole run, eV/ps", "rms of E, eV", "T, K"]
    if two is not None:
        columns += [f"T_{two[0]} − T_{two[1]}, K: {part}" for part in PARTS]
    bonds = any(run.get("stretch_excess_K") is not None for runs in nve.values() for run in runs)
    lines = header("", *columns, *(["beyond the mean, K: bonds", "all"] if bonds else []))
    for runs in nve.values():
        for run in runs:
            early, fit = run["drift_eV_per_ps"]["5"], slope(run)
            cells = ["–" if early is None else f"{early:+.4f}", "–" if fit is None else f"{fit.mean:+.4f}"]
            cells += [f"{run['sigma_energy_eV']:.3f}", f"{run['temperature_K']['total']:.1f}"]
            if two is not None:
                cells += [f"{run[part][two[0]] - run[part][two[1]]:+.1f}" for part in PARTS.values()]
            if bonds:
                excesses = (run.get("stretch_excess_K"), run.get("energy_excess_K"))
                cells += ["–" if excess is None else f"{excess:+.1f}" for excess in excesses]
            lines.append(row(run["name"], str(run["start"]), *cells))
    return ["", "## NVE: start by start", "", *lines]
