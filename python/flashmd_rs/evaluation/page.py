"""The page of an evaluation: tables and figures from its result files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import curve_fit
from scipy.stats import ttest_ind

from flashmd_rs.evaluation.momenta import departure, draw_momenta, pool
from flashmd_rs.evaluation.protocol import FEWEST_STARTS, EvaluationProtocol
from flashmd_rs.evaluation.tables import completed, header, paragraph, row, stable_until_each

Results = dict[str, dict[str, list[dict]]]
BLOCKS = 10
# Of a run that temperatures are taken over, and what results call these.
PARTS = {"whole run": "whole_temperature_K", "second half": "temperature_K"}


def write_page(results: Results, protocol: EvaluationProtocol, folder: Path) -> Path:
    """``evaluation.md`` with its pictures; returns its path.

    Args:
        results: by integrator and ensemble (``nve``, ``nvt``), one per seed; the first integrator that is velocity Verlet is what
            the others are compared with.
        protocol: what they were put through. folder: of the page.
    """
    nve = {text: of["nve"] for text, of in results.items() if of["nve"]}
    nvt = {text: of["nvt"] for text, of in results.items() if of["nvt"]}
    shown = [name for name, runs in (("without a bath", nve), ("in a weak bath", nvt)) if runs]
    first = next(iter((nve or nvt).values()))[0]
    lines = [
        f"# {protocol.system}: {' and '.join(shown)}",
        "",
        f"    {command(results, protocol)}",
        "",
        paragraph(
            f"{protocol.system}, {first['atoms']} atoms, {protocol.temperature_K:g} K, {protocol.seeds} start(s), without",
            "guard, without rescaling but where a row says so. Energies are the reference's. ± are standard errors",
            "over starts, of one start from ten blocks. T of NVE are means of the second half, those of the bath of",
            "the whole run. Evaluations are of the network, of the forces, or of r-RESPA's outer forces; a companion's",
            "energies are not among them. Costs are wall time on one thread; – where they were not kept.",
        ),
    ]
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
    draw_momenta(
        {
            ensemble: {runs[0]["name"]: pool(runs) for runs in integrators.values()}
            for ensemble, integrators in ensembles.items()
            if integrators
        },
        protocol.temperature_K,
        folder / "momenta.png",
    )
    path = folder / "evaluation.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def command(results: Results, protocol: EvaluationProtocol) -> str:
    """What makes the page."""
    options = {
        "system": protocol.system,
        "size": protocol.size,
        "temperature-k": f"{protocol.temperature_K:g}",
        "nve-ps": f"{protocol.nve_ps:g}",
        "nvt-ps": f"{protocol.nvt_ps:g}",
        "seeds": protocol.seeds,
        "equilibration-ps": f"{protocol.equilibration_ps:g}",
    }
    usual = {("nvt-ps", "0"), ("equilibration-ps", "15")}
    said = {k: v for k, v in options.items() if v is not None and (k, v) not in usual}
    return " ".join(["flashmd-rs evaluate", *results, *(f"--{k} {v}" for k, v in said.items())])


def slope(run: dict, last: float = 1.0) -> tuple[float, float]:
    """Slope of the total energy over the ``last`` share of the sound part (eV/ps) and its standard error.

    The error is that of ten block means of the residuals.
    """
    times, energy = np.array(run["trace"]["times_ps"]), np.array(run["trace"]["energy_eV"])
    sound = (times <= run["stable_ps"] + 1e-9) & (times >= (1 - last) * run["stable_ps"])
    times, energy = times[sound], energy[sound]
    if len(times) < 2 * BLOCKS:
        return float("nan"), float("nan")
    fit, offset = np.polyfit(times, energy, 1)
    means = np.array([block.mean() for block in np.array_split(energy - fit * times - offset, BLOCKS)])
    centres = np.array([block.mean() for block in np.array_split(times, BLOCKS)])
    return float(fit), float(means.std(ddof=2) / np.sqrt(((centres - centres.mean()) ** 2).sum()))


def over_seeds(values: list[float], digits: int, own_error: float | None = None) -> str:
    """Mean and standard error over seeds; of one seed with its own error, if it has one."""
    known = [v for v in values if v is not None and np.isfinite(v)]
    if not known:
        return "–"
    error = np.std(known, ddof=1) / len(known) ** 0.5 if len(known) > 1 else own_error
    return f"{np.mean(known):+.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def plain(text: str) -> str:
    """Without the sign of what is never negative."""
    return text.lstrip("+")


def energy_table(nve: dict[str, list[dict]]) -> list[str]:
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
                    [1000 * f / r["atoms"] for (f, _), r in zip(fits, runs)], 4, 1000 * fits[0][1] / runs[0]["atoms"]
                ),
                plain(over_seeds([r["sigma_energy_eV"] for r in runs], 3)),
                temperatures["total"],
                ", ".join(f"{k} {temperatures[k]}" for k in species) if len(species) > 1 else "",
                stable_until_each(runs),
            )
        )
    return lines


def apart(integrators: dict[str, list[dict]]) -> tuple[str, str] | None:
    """The two species whose temperatures are compared, None if there are not two."""
    species = [k for k in next(iter(integrators.values()))[0]["temperature_K"] if k != "total"]
    return (species[1], species[0]) if len(species) == 2 else None


def equipartition_table(nve: dict[str, list[dict]]) -> list[str]:
    """How far apart two species' temperatures are: alone, less that of the same starts under velocity Verlet, and for
    starts of mean energies.

    What bonds hold by chance they keep for longer than a run; pairs cancel a part of it, the regression the most.
    """
    two = apart(nve)
    if two is None:
        return []
    verlet = next((runs for text, runs in nve.items() if text.startswith("verlet")), [])
    lines = header(
        f"T_{two[0]} − T_{two[1]}, K",
        *(f"{part}: {kind}" for part in PARTS for kind in ("alone", "less Verlet's", "at mean energies")),
    )

    def differences(runs: list[dict], of: str) -> dict[int, float]:
        return {run["start"]: float(run[of][two[0]] - run[of][two[1]]) for run in runs}

    for runs in nve.values():
        cells = []
        for of in PARTS.values():
            alone, others = differences(runs, of), {} if runs is verlet else differences(verlet, of)
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


def at_mean_energies(runs: list[dict], values: dict[int, float]) -> str:
    """Regression of ``values`` on the starts' excesses, at zero of them, with its standard error."""
    known = [run for run in runs if None not in (run.get("stretch_excess_K"), run.get("energy_excess_K"))]
    if len(known) < FEWEST_STARTS:
        return "–"
    excess = np.array([[run["stretch_excess_K"], run["energy_excess_K"]] for run in known])
    (value, _, by_energy), covariance = curve_fit(
        lambda x, value, *slopes: value + x @ slopes, excess, [values[run["start"]] for run in known], p0=np.zeros(3)
    )
    of_mean = by_energy * known[0]["energy_excess_error_K"]
    return f"{value:+.1f} ± {np.hypot(covariance[0, 0] ** 0.5, of_mean):.1f}"


def starts_table(nve: dict[str, list[dict]]) -> list[str]:
    """Every run on its own, where there is more than one of a integrator."""
    if all(len(runs) < 2 for runs in nve.values()):
        return []
    two = apart(nve)
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
                cells += [f"{run[of][two[0]] - run[of][two[1]]:+.1f}" for of in PARTS.values()]
                excesses = (run.get("stretch_excess_K"), run.get("energy_excess_K"))
                cells += ["–" if excess is None else f"{excess:+.1f}" for excess in excesses]
            lines.append(row(run["name"], str(run["start"]), *cells))
    return ["", "## NVE: start by start", "", *lines]


def motion_table(nve: dict[str, list[dict]]) -> list[str]:
    """g(r), diffusion, vibrations, defects of a stride, cost."""
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
        back = first.get("reversibility")
        lines.append(
            row(
                first["name"],
                plain(over_seeds([r.get("g_peak_A") for r in runs], 3)),
                plain(over_seeds([r.get("diffusion") for r in runs], 2)),
                "" if runs is verlet else difference(runs, verlet),
                plain(over_seeds([r.get("peak_per_cm") for r in runs], 0)),
                "–" if back is None else f"{back['positions']:.0e}, {back['momenta']:.0e}",
                "–" if "symplecticity" not in first else f"{first['symplecticity']:.0e}",
                f"{np.mean([r['evaluations_per_ps'] for r in runs]):.4g}",
                plain(over_seeds([r["ms_per_ps"] for r in runs], 0)),
            )
        )
    return lines


def difference(runs: list[dict], others: list[dict]) -> str:
    """95 % interval (Welch) of what two integrators' diffusion coefficients differ by."""
    a, b = ([r["diffusion"] for r in of if r.get("diffusion") is not None] for of in (runs, others))
    if len(a) < 2 or len(b) < 2:
        return "–"
    low, high = ttest_ind(a, b, equal_var=False).confidence_interval()
    return f"{low:+.2f} to {high:+.2f}"


def bath_table(nvt: dict[str, list[dict]]) -> list[str]:
    """Temperatures in the weak bath, and how far apart those of two species are, start by start."""
    species, two = [k for k in next(iter(nvt.values()))[0]["whole_temperature_K"] if k != "total"], apart(nvt)
    between = [] if two is None else [f"T_{two[0]} − T_{two[1]}, K"]
    lines = header("", "T, K", *(f"T of {k}, K" for k in species), *between, "strides accepted", "sound until, ps")
    for runs in nvt.values():
        kelvin = [run["whole_temperature_K"] for run in runs]
        cells = [plain(over_seeds([of[k] for of in kelvin], 1)) for k in ("total", *species)]
        if two is not None:
            cells.append(over_seeds([of[two[0]] - of[two[1]] for of in kelvin], 1))
        shares = [run["accepted"] for run in runs if run.get("accepted") is not None]
        accepted = f"{100 * np.mean(shares):.1f} %" if shares else ""
        lines.append(row(runs[0]["name"], *cells, accepted, stable_until_each(runs)))
    return lines


def momenta_table(ensembles: dict[str, dict[str, list[dict]]]) -> list[str]:
    """How far distributions are from Maxwell and Boltzmann's shape, whatever their temperature."""
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


def draw_energy(nve: dict[str, list[dict]], path: Path) -> None:
    """Total energy and temperature against time, while they are sound, and the mean where all of several starts are."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, runs in enumerate(nve.values()):
        mean = len(runs) > 2 and all(map(completed, runs))
        traces = []
        for run in runs:
            times, energy, kelvin = (np.array(run["trace"][key]) for key in ("times_ps", "energy_eV", "T"))
            sound = times <= run["stable_ps"] + 1e-9
            traces.append((times[sound], (energy - energy[0])[sound], kelvin[sound]))
        thin, thick = dict(color=f"C{k}", lw=0.6, alpha=0.3), dict(color=f"C{k}", lw=1.5)
        for trace in traces:
            for axis, values in zip((left, right), trace[1:]):
                axis.plot(trace[0], values, **(thin if mean else thick | dict(lw=1)))
        if mean:
            times, *means = np.mean(traces, 0)
            for axis, values in zip((left, right), means):
                axis.plot(times, values, **thick)
        left.plot([], [], **thick, label=runs[0]["name"])
    left.set(xlabel="time / ps", ylabel="total energy change / eV", xlim=(0, None))
    right.set(xlabel="time / ps", ylabel="temperature / K", xlim=(0, None))
    # Where one explodes the others must still be seen.
    if np.abs(left.dataLim.intervaly).max() > 1:
        left.set_yscale("symlog", linthresh=0.1)
        right.set_ylim(0, 1000)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)


def draw_motion(nve: dict[str, list[dict]], path: Path) -> None:
    """g(r), mean-square displacement and vibrational density of states of the first seed."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    structure, motion, spectrum = figure.subplots(1, 3)
    for k, (run, *_) in enumerate(nve.values()):
        if "g" in run:
            structure.plot(run["r_A"], run["g"], f"C{k}", lw=1, label=run["name"])
            motion.plot(run["lags_ps"], run["msd_A2"], f"C{k}", lw=1)
            spectrum.plot(run["wavenumber_per_cm"], run["spectrum"], f"C{k}", lw=1)
    structure.set(xlabel="r / Å", ylabel="g(r)", ylim=(0, None))
    figure.legend(loc="outside right upper", fontsize="small")
    motion.set(xlabel="lag / ps", ylabel="mean-square displacement / Å²", xlim=(0, None), ylim=(0, None))
    spectrum.set(xlabel="wavenumber / cm⁻¹", ylabel="density of states / cm", xlim=(0, 4500), ylim=(0, None))
    figure.savefig(path, dpi=150)
