"""Tables that every ensemble has: claims, cost, structure, motion, momenta."""

from __future__ import annotations

import numpy as np

from flashmd_rs.evaluation.claims import Claim, chance, diffusion_estimates, highest, pair_blocks
from flashmd_rs.evaluation.estimates import Estimate, difference, over_starts, shown
from flashmd_rs.evaluation.measures.momenta import departure, pool
from flashmd_rs.evaluation.measures.observables import MOST_SPECIES
from flashmd_rs.evaluation.page.tables import header, paragraph, row
from flashmd_rs.evaluation.results import Results, RunFigures, Runs, baseline
from flashmd_rs.evaluation.summary import ns_per_day

# Share of a spectrum that must lie within the range of a run for its mean wavenumber to be shown.
RESOLVED = 0.99


def claims_table(claims: list[Claim], results: Results) -> list[str]:
    """Figure, error, floor and verdict of every claim."""
    first = {text: next((runs[0] for runs in of.values() if runs), {}) for text, of in results.items()}
    lines = header("", "quantity", "value", "floor", "verdict", "")
    for claim in claims:
        value = Estimate(claim.value, claim.error, 0.0)
        digits = 1 if claim.floor >= 1 else 3
        verdict = f"**{claim.verdict}**"
        text = shown(value, digits) if claim.quantity.startswith("stable") else shown(value, digits, "+")
        lines.append(
            row(first[claim.integrator]["name"], claim.quantity, text, f"{claim.floor:g}", verdict, claim.note)
        )
    explained = paragraph(
        "Undecided: the standard error is more than half of the floor. g(r) and diffusion coefficients are compared",
        "with those of the first velocity Verlet of the reference; they also meet a claim where they differ by no more",
        "than chance, g(r) by a permutation test on blocks, diffusion coefficients by their joint 95 % interval.",
        "Those of runs of other lengths are slopes over other lags, and undecided.",
    )
    return [*lines, "", explained]


def cost_table(ensembles: dict[str, Runs]) -> list[str]:
    """Wall time of every integrator, and which model is slower than its reference."""
    lines = header("", "in", "ns/day", "times the reference's", "evaluations per ps", "ms per ps")
    for ensemble, integrators in ensembles.items():
        reference = baseline(integrators)
        pace = None if reference is None else ns_per_day(integrators[reference])
        for text, runs in integrators.items():
            own, against = ns_per_day(runs), ""
            if pace is not None and text != reference:
                against = f"{own / pace:.2g}" + (", **slower than its reference**" if own < pace else "")
            ms = over_starts([run["ms_per_ps"], None, 0.0] for run in runs)
            evaluations = f"{np.mean([run['evaluations_per_ps'] for run in runs]):.4g}"
            lines.append(row(runs[0]["name"], _short(ensemble), f"{own:.3g}", against, evaluations, shown(ms, 0)))
    explained = paragraph(
        "Wall time on one thread of the machine that made this page, which did other work beside it. Evaluations are",
        "of the network, of the forces, or of r-RESPA's outer forces; a reference energy model's are not among them.",
    )
    return [*lines, "", explained]


def _short(ensemble: str) -> str:
    return {"nve": "NVE", "nvt": "NVT", "npt": "NpT"}[ensemble]


def structure_table(integrators: Runs) -> list[str]:
    """Highest peak of every pair's distribution, and its distance from the reference's."""
    first = next((run for runs in integrators.values() for run in runs if "pairs" in run), None)
    if first is None:
        return []
    name, reference = "g(r)" if first["periodic"] else "n(r)", baseline(integrators)
    columns = [column for pair in first["pairs"] for column in (f"{pair}: peak, Å", "height", "against the reference")]
    lines = header(f"{name}", *columns)
    for text, runs in integrators.items():
        cells = []
        for pair in first["pairs"]:
            cells += _structure_cells(runs, pair, None if reference in (None, text) else integrators[str(reference)])
        lines.append(row(runs[0]["name"], *cells))
    other = "" if first["periodic"] else "n(r): neighbours of an atom per Å, as not every axis is periodic."
    if len(first["momenta"]) > MOST_SPECIES:
        other += " Pairs are those of the most abundant species."
    explained = paragraph(
        "Of the highest peak. Against the reference: largest difference as a share of its highest peak, and the",
        f"probability of as large a one by chance (permutation test on blocks of the runs). {other}",
    )
    return [*lines, "", explained]


def _structure_cells(runs: list[RunFigures], pair: str, reference: list[RunFigures] | None) -> list[str]:
    blocks = pair_blocks(runs, pair)
    if blocks is None or not blocks.any():
        return ["–"] * 3
    mean, k = blocks.mean(0), int(blocks.mean(0).argmax())
    peak = over_starts([run["pairs"][pair]["peak_A"], None, 0.0] for run in runs if pair in run.get("pairs", {}))
    height = Estimate(float(mean[k]), float(blocks[:, k].std(ddof=1)) / len(blocks) ** 0.5, len(blocks) - 1.0)
    theirs = None if reference is None else pair_blocks(reference, pair)
    if theirs is None:
        return [shown(peak, 3), shown(height, 2), ""]
    largest = np.abs(mean - theirs.mean(0)).max() / highest(blocks, theirs)
    return [shown(peak, 3), shown(height, 2), f"{100 * largest:.1f} %, p = {chance(blocks, theirs):.2g}"]


def motion_table(integrators: Runs) -> list[str]:
    """Diffusion coefficients and mean wavenumbers by species."""
    first = next((run for runs in integrators.values() for run in runs if "diffusion" in run), None)
    if first is None:
        return []
    species, reference = list(first["diffusion"]), baseline(integrators)
    columns = [column for s in species for column in (f"D of {s}, 1e-5 cm²/s", "95 % against the reference")]
    if "spectrum" in first:
        columns += [f"mean wavenumber of {s}, cm⁻¹" for s in species]
    lines = header("", *columns)
    theirs = {} if reference is None else diffusion_estimates(integrators[reference])
    edges = spectral_edges([] if reference is None else integrators[reference])
    for text, runs in integrators.items():
        ours, cells = diffusion_estimates(runs), []
        for symbol in species:
            cells.append(shown(ours.get(symbol), 3))
            known = text != reference and symbol in ours and symbol in theirs
            cells.append(_interval(difference(ours[symbol], theirs[symbol])) if known else "")
        if "spectrum" in first:
            cells += [shown(mean_wavenumber(runs, symbol, edges.get(symbol)), 0) for symbol in species]
        lines.append(row(runs[0]["name"], *cells))
    return lines


def _interval(off: Estimate) -> str:
    """95 % confidence interval."""
    if off.error is None:
        return "–"
    return f"{off.mean - off.half_width():+.3f} to {off.mean + off.half_width():+.3f}"


def spectral_edges(runs: list[RunFigures]) -> dict[str, float]:
    """Wavenumber below which :data:`RESOLVED` of the reference's spectrum lies, by species, cm⁻¹."""
    edges: dict[str, float] = {}
    for run in (run for run in runs if "spectrum" in run):
        for symbol, density in run["spectrum"].items():
            inside = np.searchsorted(np.cumsum(density) / np.sum(density), RESOLVED)
            edges[symbol] = max(edges.get(symbol, 0.0), run["wavenumber_per_cm"][int(inside)])
    return edges


def mean_wavenumber(runs: list[RunFigures], symbol: str, edge: float | None) -> Estimate | None:
    """Mean of the vibrational density of states over starts, cm⁻¹; None where strides are too long for the spectrum."""
    spectra = [run for run in runs if "spectrum" in run]
    if edge is None or any(run["wavenumber_per_cm"][-1] < edge for run in spectra):
        return None
    means = [float(np.average(run["wavenumber_per_cm"], weights=run["spectrum"][symbol])) for run in spectra]
    return over_starts([mean, None, 0.0] for mean in means)


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
        "Departure: largest difference of the cumulative distribution of p/√m from a normal one of the same width",
        "(Kolmogorov–Smirnov), about 0.9/√n by chance for n independent values.",
    )
    return [*lines, "", explained]
