"""The page of an evaluation: tables and figures from its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flashmd_rs.evaluation.estimates import at_mean_energies, difference, over_seeds, slope
from flashmd_rs.evaluation.momenta import departure, draw_momenta, pool
from flashmd_rs.evaluation.pictures import draw_energy, draw_motion
from flashmd_rs.evaluation.protocol import FEWEST_STARTS, EvaluationProtocol
from flashmd_rs.evaluation.results import Results, RunFigures, Runs
from flashmd_rs.evaluation.tables import header, paragraph, row, stable_until_each

# Parts of a run over which temperatures are averaged, and their names in the results.
PARTS = {"whole run": "whole_temperature_K", "second half": "temperature_K"}


def write_page(results: Results, protocol: EvaluationProtocol, folder: Path) -> Path:
    """Write ``evaluation.md`` and its pictures.

    Args:
        results: runs by integrator and ensemble; the first integrator that is velocity Verlet is what the others are
            compared with.
        protocol: what the integrators went through.
        folder: folder of the page.

    Returns:
        The path of the page.
    """
    nve = {text: ensembles["nve"] for text, ensembles in results.items() if ensembles["nve"]}
    nvt = {text: ensembles["nvt"] for text, ensembles in results.items() if ensembles["nvt"]}
    lines = introduction(results, protocol, nve, nvt)
    if nve:
        draw_energy(nve, folder / "energy.png")
        draw_motion(nve, folder / "motion.png")
        lines += [
            "",
            f"## NVE, {protocol.nve_ps:g} ps: energy and temperature",
            "",
            *energy_table(nve),
            "",
            *equipartition_table(nve),
            "![Total energy and temperature](energy.png)",
            "",
            "## NVE: structure, motion, cost",
            "",
            *motion_table(nve),
            "",
            "![g(r), mean-square displacement and vibrations](motion.png)",
            *starts_table(nve),
        ]
    if nvt:
        lines += ["", f"## Langevin, 1 ps, {protocol.temperature_K:g} K, {protocol.nvt_ps:g} ps", "", *bath_table(nvt)]
    ensembles = {"NVE": nve, "Langevin, 1 ps": nvt}
    lines += ["", "## Momenta", "", *momenta_table(ensembles)]
    lines += ["", "![Distributions of momenta](momenta.png)"]
    pooled = {
        ensemble: {runs[0]["name"]: pool(runs) for runs in integrators.values()}
        for ensemble, integrators in ensembles.items()
        if integrators
    }
    draw_momenta(pooled, protocol.temperature_K, folder / "momenta.png")
    path = folder / "evaluation.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def introduction(results: Results, protocol: EvaluationProtocol, nve: Runs, nvt: Runs) -> list[str]:
    """Title, command and explanation of the page."""
    shown = [name for name, runs in (("without a bath", nve), ("in a weak bath", nvt)) if runs]
    first = next(iter((nve or nvt).values()))[0]
    return [
        f"# {protocol.system}: {' and '.join(shown)}",
        "",
        f"    {command(results, protocol)}",
        "",
        paragraph(
            f"{protocol.system}, {first['atoms']} atoms, {protocol.temperature_K:g} K, {protocol.seeds} start(s),",
            "without guard, without rescaling but where a row says so. Energies are the reference's. ± are standard",
            "errors over starts, of one start from ten blocks. T of NVE are means of the second half, those of the",
            "bath of the whole run. Evaluations are of the network, of the forces, or of r-RESPA's outer forces; a",
            "reference energy model's are not among them. Costs are wall time on one thread; – where they were not",
            "kept.",
        ),
    ]


def command(results: Results, protocol: EvaluationProtocol) -> str:
    """The command that makes the page."""
    options = {
        "system": protocol.system,
        "size": protocol.size,
        "temperature-k": f"{protocol.temperature_K:g}",
        "nve-ps": f"{protocol.nve_ps:g}",
        "nvt-ps": f"{protocol.nvt_ps:g}",
        "seeds": protocol.seeds,
        "equilibration-ps": f"{protocol.equilibration_ps:g}",
    }
    defaults = {("nvt-ps", "0"), ("equilibration-ps", "15")}
    given = {k: v for k, v in options.items() if v is not None and (k, v) not in defaults}
    return " ".join(["flashmd-rs evaluate", *results, *(f"--{k} {v}" for k, v in given.items())])


def plain(text: str) -> str:
    """Text of a value that is never negative, without its sign."""
    return text.lstrip("+")


def energy_table(nve: Runs) -> list[str]:
    """Drift, noise and temperatures."""
    columns = (
        "0–5 ps, eV/ps",
        "last half, eV/ps",
        "whole run, eV/ps",
        "meV/atom/ps",
        "rms of E, eV",
        "T, K",
        "species, K",
        "sound until, ps",
    )
    lines = header("", *columns)
    for runs in nve.values():
        fits, halves = [slope(run) for run in runs], [slope(run, last=0.5) for run in runs]
        species = [k for k in runs[0]["temperature_K"] if k != "total"]
        temperatures = {k: plain(over_seeds([r["temperature_K"][k] for r in runs], 1)) for k in ("total", *species)}
        lines.append(
            row(
                runs[0]["name"],
                over_seeds([r["drift_eV_per_ps"]["5"] for r in runs], 4),
                over_seeds([f for f, _ in halves], 4, halves[0][1]),
                over_seeds([f for f, _ in fits], 4, fits[0][1]),
                over_seeds(
                    [1000 * f / r["atoms"] for (f, _), r in zip(fits, runs, strict=True)],
                    4,
                    1000 * fits[0][1] / runs[0]["atoms"],
                ),
                plain(over_seeds([r["sigma_energy_eV"] for r in runs], 3)),
                temperatures["total"],
                ", ".join(f"{k} {temperatures[k]}" for k in species) if len(species) > 1 else "",
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
    verlet = next((runs for text, runs in nve.items() if text.startswith("verlet")), [])
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
            cells += [over_seeds(list(alone.values()), 1), over_seeds(pairs, 1), at_mean_energies(runs, alone)]
        lines.append(row(runs[0]["name"], *cells))
    explained = paragraph(
        "Less Verlet's: from the same starts. At mean energies: by regression over starts on what their bonds hold",
        "beyond k_B·T, and on what they hold in all beyond the mean of the reference's bath, at none of either",
        f"({FEWEST_STARTS} starts or more). Bonds that are hot by chance stay hot for longer than a run, and cold in a",
        "start that is hot by chance; neither is the integrator's doing.",
    )
    return [*lines, "", explained, ""]


def starts_table(nve: Runs) -> list[str]:
    """Every run on its own, where an integrator has more than one."""
    if all(len(runs) < 2 for runs in nve.values()):
        return []
    two = two_species(nve)
    columns = ["start", "0–5 ps, eV/ps", "whole run, eV/ps", "rms of E, eV", "T, K"]
    if two is not None:
        columns += [f"T_{two[0]} − T_{two[1]}, K: {part}" for part in PARTS] + ["beyond the mean, K: bonds", "all"]
    lines = header("", *columns)
    for runs in nve.values():
        for run in runs:
            early = run["drift_eV_per_ps"]["5"]
            cells = [
                "–" if early is None else f"{early:+.4f}",
                f"{slope(run)[0]:+.4f}",
                f"{run['sigma_energy_eV']:.3f}",
            ]
            cells.append(f"{run['temperature_K']['total']:.1f}")
            if two is not None:
                cells += [f"{run[part][two[0]] - run[part][two[1]]:+.1f}" for part in PARTS.values()]
                excesses = (run.get("stretch_excess_K"), run.get("energy_excess_K"))
                cells += ["–" if excess is None else f"{excess:+.1f}" for excess in excesses]
            lines.append(row(run["name"], str(run["start"]), *cells))
    return ["", "## NVE: start by start", "", *lines]


def motion_table(nve: Runs) -> list[str]:
    """g(r), diffusion, vibrations, reversibility and symplecticity of a stride, cost."""
    columns = (
        "g(r) peak, Å",
        "D, 1e-5 cm²/s",
        "against Verlet",
        "peak, cm⁻¹",
        "irreversible: q, p",
        "JᵀΩJ − Ω",
        "evaluations per ps",
        "ms per ps",
    )
    lines = header("", *columns)
    verlet = next((runs for text, runs in nve.items() if text.startswith("verlet")), [])
    for runs in nve.values():
        first = runs[0]
        reversibility = first.get("reversibility")
        lines.append(
            row(
                first["name"],
                plain(over_seeds([r.get("g_peak_A") for r in runs], 3)),
                plain(over_seeds([r.get("diffusion") for r in runs], 2)),
                "" if runs is verlet else difference(runs, verlet),
                plain(over_seeds([r.get("peak_per_cm") for r in runs], 0)),
                "–" if reversibility is None else f"{reversibility['positions']:.0e}, {reversibility['momenta']:.0e}",
                "–" if "symplecticity" not in first else f"{first['symplecticity']:.0e}",
                f"{np.mean([r['evaluations_per_ps'] for r in runs]):.4g}",
                plain(over_seeds([r["ms_per_ps"] for r in runs], 0)),
            )
        )
    return lines


def bath_table(nvt: Runs) -> list[str]:
    """Temperatures in the weak bath, and their difference between two species."""
    species, two = [k for k in next(iter(nvt.values()))[0]["whole_temperature_K"] if k != "total"], two_species(nvt)
    between = [] if two is None else [f"T_{two[0]} − T_{two[1]}, K"]
    lines = header("", "T, K", *(f"T of {k}, K" for k in species), *between, "strides accepted", "sound until, ps")
    for runs in nvt.values():
        kelvin = [run["whole_temperature_K"] for run in runs]
        cells = [plain(over_seeds([means[k] for means in kelvin], 1)) for k in ("total", *species)]
        if two is not None:
            cells.append(over_seeds([means[two[0]] - means[two[1]] for means in kelvin], 1))
        shares = [run["accepted"] for run in runs if run.get("accepted") is not None]
        accepted = f"{100 * np.mean(shares):.1f} %" if shares else ""
        lines.append(row(runs[0]["name"], *cells, accepted, stable_until_each(runs)))
    return lines


def momenta_table(ensembles: dict[str, Runs]) -> list[str]:
    """Distances of the momenta's distributions from the Maxwell–Boltzmann shape, at whatever temperature."""
    species = list(next(runs for integrators in ensembles.values() for runs in integrators.values())[0]["momenta"])
    lines = header("", "in", *(f"{k}: departure, %" for k in species), "values of each")
    for ensemble, integrators in ensembles.items():
        for runs in integrators.values():
            momenta = pool(runs)
            cells = [f"{100 * departure(momenta[k]):.1f}" for k in species]
            lines.append(row(runs[0]["name"], ensemble, *cells, str(min(map(len, momenta.values())))))
    explained = paragraph(
        "Of the second half of each run. Departure: largest difference of the cumulative distribution of p/√m from a",
        "normal one of the same width (Kolmogorov–Smirnov), about 0.9/√n by chance for n independent values.",
    )
    return [*lines, "", explained]
