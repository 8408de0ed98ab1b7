"""The water study's report: tables and figures from its result files alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flashmd_rs.evaluation.measures.momenta import draw_momenta, pool
from flashmd_rs.evaluation.page.tables import completed, header, paragraph, row, stable_until, stable_until_each

# An earlier study with a large PET model, 258 waters, strides of 1 fs (blockpost_flashMD, draft of 2026-04-27): drift
# over 0–10 ps (eV/ps), mean temperature (K), its standard deviation, and when it exploded (ps).
PUBLISHED = {
    ("plain", 0.5): (2814.0, 514, 149, "8.1"),
    ("plain", 1.0): (-3.70, 227, 34, "10, end"),
    ("plain", 1.5): (-4.80, 178, 39, "10, end"),
    ("plain", 2.0): (52.8, 476, 169, "2.7"),
    ("plain", 10.0): (4.39, 335, 68, "10, end"),
    ("mass_scaled", 1.0): (-2.82, None, None, "50, end"),
}
PUBLISHED_REDUCTION = 0.26
PUBLISHED_IS = (
    "Published: P. Knoll, blockpost_flashMD, draft of 2026-04-27, one run each of a PET on 258 waters. Boxes, network "
    "and training here are smaller, so signs and orders can be compared, and not eV/ps."
)
TARGET_K = 300.0


def load(folder: Path) -> dict[str, dict]:
    """Every result by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((folder / "results").glob("*.json"))}


def write_report(folder: Path) -> Path:
    """``report.md`` and its figures from what there is of the results; returns the path of the text."""
    results = load(folder)
    cases = [result for result in results.values() if "momentum_weight" in result]
    scale = json.loads((folder / "scale.json").read_text())
    draw_ablation(results, cases, folder / "ablation.png")
    if "filters" in results:
        integrators = {name: pool([run]) for name, run in results["filters"].items()}
        draw_momenta({"": integrators}, TARGET_K, folder / "momenta.png")
    if "rotations" in results:
        draw_rotations(results["rotations"], folder / "rotations.png")
    path = folder / "report.md"
    path.write_text("\n".join(report_lines(results, cases, scale)) + "\n")
    return path


def report_lines(results: dict[str, dict], cases: list[dict], scale: dict) -> list[str]:
    """The text, line by line; parts that were not run are left out."""
    lines = [
        "# Does the loss cure the drift? The water study at a stride of 1 fs",
        "",
        paragraph(
            f"Made by `flashmd-train study FOLDER --scale {scale['name']}`: {scale['waters']} flexible TIP3P waters,",
            f"PaiNN of width {scale['features']} without a prior, {scale['steps']} training steps of {scale['boxes']}",
            f"boxes, {scale['seeds']} seed(s), NVE runs of {scale['time_ps']:g} ps without thermostat and rescaling.",
            "Total energies are OpenMM's. A run has exploded when its temperature passes 1000 K; a drift is the slope",
            "of a straight line through what was sound of the window. ± is the standard deviation over seeds.",
        ),
        "",
        paragraph(PUBLISHED_IS),
        "",
        "## Loss and weight of the momenta",
        "",
        *ablation_table(results, cases),
        "",
        "![Total energy and temperature](ablation.png)",
        "",
        *large_table(results),
    ]
    if "filters" in results:
        table, picture = filter_table(results["filters"]), "![Distributions of momenta](momenta.png)"
        lines += ["## What a filter does to the momenta", "", *table, "", picture, ""]
    if "rotations" in results:
        table, picture = rotation_table(results["rotations"]), "![Error against orientation](rotations.png)"
        lines += ["## Orientation", "", *table, "", picture, ""]
    missing = scale["seeds"] * (len(scale["weights"]) + 1) - len(cases)
    unfinished = [f"Not finished: {missing} of the models are still to be trained.", ""] if missing else []
    return [*lines, "## What holds and what does not", "", *unfinished, *findings(results, cases)]


def spread(values: list[float | None], digits: int = 2) -> str:
    """Mean and, of several, the standard deviation over seeds."""
    known = [v for v in values if v is not None and np.isfinite(v)]
    if not known:
        return "–"
    mean = f"{np.mean(known):.{digits}f}"
    return f"{mean} ± {np.std(known, ddof=1):.{digits}f}" if len(known) > 1 else mean


def signed(value: float | None, digits: int = 4) -> str:
    """A number with its sign; a dash for None."""
    return "–" if value is None else f"{value:+.{digits}f}"


def groups(cases: list[dict]) -> dict[tuple[str, float], list[dict]]:
    """Cases by loss and weight."""
    found: dict[tuple[str, float], list[dict]] = {}
    for case in sorted(cases, key=lambda c: (c["loss"] != "plain", c["momentum_weight"])):
        found.setdefault((case["loss"], case["momentum_weight"]), []).append(case)
    return found


def ablation_table(results: dict[str, dict], cases: list[dict]) -> list[str]:
    """Mean and standard deviation over seeds, OpenMM's row, and the published figures."""
    lines = header(
        "loss",
        "w_p",
        "error of p, %",
        "drift 0–5 ps, eV/ps",
        "0–10 ps",
        "T, K",
        "σ_T, K",
        "σ_E, eV",
        "sound until, ps",
        "published: drift 0–10 ps, T, σ_T, until",
    )
    for (loss, weight), group in groups(cases).items():
        published = PUBLISHED.get((loss, weight))
        lines.append(
            row(
                loss.replace("_", "-"),
                f"{weight:g}",
                spread([100 * case["one_stride"]["one_stride_momentum_error"] for case in group]),
                spread([case["drift_eV_per_ps"]["5"] for case in group]),
                spread([case["drift_eV_per_ps"]["10"] for case in group]),
                spread([case["temperature_K"]["total"] for case in group], 0),
                spread([case["sigma_temperature_K"] for case in group], 0),
                spread([case["sigma_energy_eV"] for case in group]),
                stable_until_each(group),
                "–" if published is None else ", ".join("–" if x is None else str(x) for x in published),
            )
        )
    r = results["reference"]
    drift, temperature = r["drift_eV_per_ps"], r["temperature_K"]["total"]
    figures = [f"{temperature:.0f}", f"{r['sigma_temperature_K']:.0f}", f"{r['sigma_energy_eV']:.3f}"]
    drifts = ["", "", signed(drift["5"]), signed(drift["10"])]
    return [*lines, row("OpenMM, 0.5 fs", *drifts, *figures, stable_until(r), "-0.0035, 304.7, 6.9, end")]


def large_table(results: dict[str, dict]) -> list[str]:
    """One model per loss in the box of 258 waters."""
    found = {name: results[f"large-{name}"] for name in ("plain", "mass_scaled") if f"large-{name}" in results}
    if not found:
        return []
    if "reference-large" in results:
        found["OpenMM, 0.5 fs"] = results["reference-large"]
    lines = header("loss", "0–5 ps, eV/ps", "0–10 ps", "0–50 ps", "T, K", "T of O", "T of H", "sound until, ps")
    for name, run in found.items():
        drifts = [signed(run["drift_eV_per_ps"][window]) for window in ("5", "10", "50")]
        temperatures = [f"{run['temperature_K'][k]:.0f}" for k in ("total", "O", "H")]
        lines.append(row(name.replace("_", "-"), *drifts, *temperatures, stable_until(run)))
    text = paragraph(
        "Trained on the small box, run in one of 258 waters (published: −5.03 plain, −3.72 mass-scaled over 0–5 ps):"
    )
    return [text, "", *lines, ""]


def filter_table(filters: dict[str, dict]) -> list[str]:
    """Temperatures and drift under each filter."""
    lines = header("filter", "T, K", "T of O", "T of H", "drift of the total energy 0–5 ps, eV/ps", "sound until, ps")
    for name, run in filters.items():
        temperatures = [f"{run['temperature_K'][k]:.0f}" for k in ("total", "O", "H")]
        lines.append(row(name, *temperatures, signed(run["drift_eV_per_ps"]["5"], 2), stable_until(run)))
    return lines


def rotation_table(rotations: dict) -> list[str]:
    """Mean error over angles, its range, and how much predictions depend on the orientation."""
    lines = header("training and prediction", "error of p, % (least to most over angles)", "spread, %")
    for name, result in rotations.items():
        if name != "angles_deg":
            errors = 100 * np.array(result["momentum_error"])
            angles = f"{errors.mean():.2f} ({errors.min():.2f} to {errors.max():.2f})"
            lines.append(row(name, angles, f"{100 * result['spread']:.2f}"))
    text = paragraph(
        "EdgeMP, which is not equivariant, otherwise as above.",
        "Spread: rms difference of predictions of one box in several orientations.",
    )
    return [text, "", *lines]


def findings(results: dict[str, dict], cases: list[dict]) -> list[str]:
    """Each published claim, and whether it holds by these numbers."""
    by_setting = groups(cases)
    early = {
        key: [abs(case["drift_eV_per_ps"]["5"]) for case in group if case["drift_eV_per_ps"]["5"] is not None]
        for key, group in by_setting.items()
    }
    survivors = [
        f"w_p = {w:g}: {sum(map(completed, group))} of {len(group)}"
        for (loss, w), group in by_setting.items()
        if loss == "plain"
    ]
    survived = any(completed(case) for case in cases if case["loss"] == "plain")
    verdict = "What survives here:" if survived else "Not testable here, where nothing survives:"
    found = [
        _best(early, abs(results["reference"]["drift_eV_per_ps"]["5"] or 0.0)),
        _scaling(early.get(("plain", 1.0), []), early.get(("mass_scaled", 1.0), [])),
        f"- *Weights 0.5 and 2 explode; 1, 1.5 and 10 survive* (one run each). {verdict} {', '.join(survivors)}.",
    ]
    if "filters" in results:
        with_it, without = (results["filters"][name]["temperature_K"] for name in ("rescaled", "none"))
        found.append(
            "- *A global rescale does not restore equipartition.* |T_O − T_H| is "
            f"{abs(with_it['O'] - with_it['H']):.0f} K with it, {abs(without['O'] - without['H']):.0f} K without."
        )
    return found


def _best(early: dict[tuple[str, float], list[float]], reference: float) -> str:
    least, (loss, weight) = min((float(np.mean(drifts)), key) for key, drifts in early.items() if drifts)
    verdict = "Holds" if least > 10 * max(reference, 1e-3) else "Does not hold here"
    return (
        f"- *No choice of loss or weight reaches Verlet's drift.* {verdict}: the smallest mean |drift| over 0–5 ps is "
        f"{least:.2f} eV/ps ({loss.replace('_', '-')}, w_p = {weight:g}), OpenMM's {reference:.4f}."
    )


def _scaling(plain: list[float], scaled: list[float]) -> str:
    claim = f"- *Mass scaling takes a quarter of the early drift away* (published: {100 * PUBLISHED_REDUCTION:.0f} %)."
    if len(plain) < 2 or len(scaled) < 2:
        return f"{claim} Cannot be told from one seed."
    reduction = 1 - np.mean(scaled) / np.mean(plain)
    error = np.hypot(np.std(plain, ddof=1), np.std(scaled, ddof=1)) / np.mean(plain) / len(plain) ** 0.5
    verdict = "Cannot be told from the seeds"
    if reduction > 2 * error:
        verdict = (
            "Holds" if abs(reduction - PUBLISHED_REDUCTION) < 2 * error else "Its direction holds, its size does not"
        )
    elif reduction < -2 * error:
        verdict = "Does not hold"
    return f"{claim} {verdict}: {100 * reduction:.0f} % here, standard error {100 * error:.0f} %."


def draw_ablation(results: dict[str, dict], cases: list[dict], path: Path) -> None:
    """Total energy and temperature against time."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {key: f"C{k}" for k, key in enumerate(groups(cases))}
    for key, group in groups(cases).items():
        for k, case in enumerate(group):
            trace = case["trace"]
            energy = np.array(trace["energy_eV"])
            label = f"{key[0].replace('_', '-')}, $w_p$ = {key[1]:g}" if k == 0 else None
            left.plot(trace["times_ps"], energy - energy[0], color=colours[key], lw=1, label=label)
            right.plot(trace["times_ps"], trace["T"], color=colours[key], lw=1)
    trace = results["reference"]["trace"]
    energy = np.array(trace["energy_eV"])
    left.plot(trace["times_ps"], energy - energy[0], color="black", lw=1.5, label="OpenMM, 0.5 fs")
    right.plot(trace["times_ps"], trace["T"], color="black", lw=1.5)
    left.set(xlabel="time / ps", ylabel="total energy change / eV", yscale="symlog", xlim=(0, None), ylim=(-10, 1e4))
    right.set(xlabel="time / ps", ylabel="temperature / K", ylim=(0, 1000), xlim=(0, None))
    left.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def draw_rotations(rotations: dict, path: Path) -> None:
    """Error against angle."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for name, result in rotations.items():
        if name != "angles_deg":
            axis.plot(rotations["angles_deg"], 100 * np.array(result["momentum_error"]), "o-", ms=3, lw=1, label=name)
    axis.set(xlabel="angle about z / degrees", ylabel="error of the momenta / %", ylim=(0, None))
    axis.legend(fontsize="small")
    figure.savefig(path, dpi=150)
