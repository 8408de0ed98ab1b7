"""Claims of an evaluation: a figure, its standard error, what is asked of it, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from flashmd_rs._structure import F64
from flashmd_rs.evaluation.estimates import Estimate, difference, over_starts
from flashmd_rs.evaluation.measures.divergence import divergence
from flashmd_rs.evaluation.page.tables import completed
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import Results, RunFigures, baseline

MET, NOT_MET, UNDECIDED = "met", "not met", "undecided"
# A standard error of more than this share of the floor decides nothing.
RESOLUTION = 0.5
# Two sets of blocks differ by chance if a random split of all of them differs as much with at least this probability.
BY_CHANCE, SPLITS = 0.05, 2000
# Bins of a distribution below this share of its highest are left out.
LEAST_SHARE = 0.02
# Slopes of displacements over lags up to times that differ by more than this factor are not compared.
LIKE_LAGS = 1.5


class Floors(NamedTuple):
    """What is asked of figures; None asks nothing.

    Attributes:
        temperature_K: largest distance from the bath's temperature, of all atoms and of each species, K.
        rdf: largest distance of a g(r) from the reference's, as a share of the reference's highest peak.
        diffusion: largest distance of a diffusion coefficient from the reference's, as a share of it.
        dihedral: largest Jensen–Shannon divergence of the distribution of a dihedral angle, or of two successive ones
            together, from the reference's, bits.
    """

    temperature_K: float | None = None
    rdf: float | None = None
    diffusion: float | None = None
    dihedral: float | None = None


class Claim(NamedTuple):
    """One figure and its verdict.

    Attributes:
        integrator: the integrator, as written by the user.
        quantity: what it is, with its unit.
        value: distance from what is wanted; of ``stable``, the time until which all runs were stable.
        error: standard error of the value; None where it is not known or needs none.
        floor: largest distance that meets the claim; of ``stable``, the time that was planned.
        verdict: ``met``, ``not met``, or ``undecided``: the standard error is more than half of the floor.
        note: what the verdict rests on beside these numbers.
    """

    integrator: str
    quantity: str
    value: float
    error: float | None
    floor: float
    verdict: str
    note: str = ""


def claims(results: Results, protocol: EvaluationProtocol, floors: Floors) -> list[Claim]:
    """Claims by integrator and quantity, of those that a floor is given for.

    - Temperatures in each bath against the bath's.
    - g(r) of each pair and diffusion coefficients by species against the first velocity Verlet of the reference, from
      runs in the bath at constant volume if there are any, else without a bath. They also meet a claim if they differ
      from the reference's by no more than chance: g(r) by a permutation test on blocks of frames, diffusion
      coefficients by their joint 95 % interval.
    - Distributions of dihedral angles, likewise by a permutation test on blocks of frames.
    - That all runs were stable until their end, and met nothing beyond the domain of the model.
    """
    made = list(_stable(results, protocol)) if any(floor is not None for floor in floors) else []
    if floors.temperature_K is not None:
        made += _temperatures(results, protocol, floors.temperature_K)
    ensemble = "nvt" if protocol.nvt_ps else "nve"
    compared = {text: runs[ensemble] for text, runs in results.items() if runs[ensemble]}
    reference = baseline(compared)
    if reference is not None:
        theirs = compared.pop(reference)
        for text, runs in compared.items():
            if floors.rdf is not None:
                made += _structure(text, runs, theirs, floors.rdf)
            if floors.diffusion is not None:
                made += _diffusion(text, runs, theirs, floors.diffusion)
            if floors.dihedral is not None:
                made += _dihedrals(text, runs, theirs, floors.dihedral)
    return sorted(made, key=lambda claim: list(results).index(claim.integrator))


def verdict(value: Estimate, floor: float, by_chance: bool = False) -> str:
    """``undecided`` where the value is not known well enough; else if it is within the floor.

    Well enough: a standard error of at most half of the floor, and a 95 % interval of at most the floor to either side,
    which asks for more where few runs say what the error is.

    ``by_chance``: the value is no more than chance; it then meets the claim.
    """
    error = value.error
    if error is None or not np.isfinite(error) or error > RESOLUTION * floor or value.half_width() > floor:
        return UNDECIDED
    return MET if abs(value.mean) <= floor or by_chance else NOT_MET


def _stable(results: Results, protocol: EvaluationProtocol) -> Iterator[Claim]:
    """Of each integrator and ensemble."""
    for text, ensembles in results.items():
        for ensemble, runs in ensembles.items():
            if runs:
                wanted, until = min(run["wanted_ps"] for run in runs), min(run["stable_ps"] for run in runs)
                met = MET if all(map(completed, runs)) else NOT_MET
                counts = [sum(run["violations"].values()) for run in runs if run.get("violations") is not None]
                yield Claim(text, f"stable in {ensemble}, ps", until, None, wanted, met)
                if counts:
                    within = NOT_MET if sum(counts) else MET
                    yield Claim(text, f"violations of the domain in {ensemble}", float(sum(counts)), None, 0.0, within)


def _temperatures(results: Results, protocol: EvaluationProtocol, floor: float) -> Iterator[Claim]:
    for text, ensembles in results.items():
        for ensemble in ("nvt", "npt"):
            estimates = temperature_estimates(ensembles[ensemble])
            for name in named_temperatures(estimates):
                kelvin = estimates[name]
                off = kelvin._replace(mean=kelvin.mean - protocol.temperature_K)
                of = "" if name == "total" else f" of {name}"
                quantity = f"T{of} − {protocol.temperature_K:g} K in {ensemble}, K"
                yield Claim(text, quantity, off.mean, off.error, floor, _of_stable(ensembles[ensemble], off, floor))


def _of_stable(runs: list[RunFigures], off: Estimate, floor: float) -> str:
    """The verdict; that of runs which did not last to their end is ``not met``."""
    return verdict(off, floor) if all(map(completed, runs)) else NOT_MET


def temperature_estimates(runs: list[RunFigures]) -> dict[str, Estimate]:
    """Temperatures over starts of all atoms (``total``) and by species, K."""
    names = runs[0]["temperature_estimate_K"] if runs else {}
    found = {name: over_starts(run["temperature_estimate_K"][name] for run in runs) for name in names}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def density_estimate(runs: list[RunFigures]) -> Estimate | None:
    """Density over starts, g/cm³."""
    return over_starts(run.get("density_estimate_g_per_cm3") for run in runs)


def named_temperatures(estimates: Mapping[str, object]) -> list[str]:
    """Names of temperatures that say something of their own: a single species is all atoms."""
    return [name for name in estimates if name == "total" or len(estimates) > 2]


def pair_blocks(runs: list[RunFigures], pair: str) -> F64 | None:
    """Blocks [B, R] of the distribution of a pair of all runs; None if no run has it."""
    return _blocks(runs, "pairs", pair)


def _blocks(runs: list[RunFigures], kind: str, name: str) -> F64 | None:
    """Blocks [B, …] of a distribution of all runs; None if no run has it."""
    blocks = [block for run in runs if name in run.get(kind, {}) for block in run[kind][name]["blocks"]]
    return np.array(blocks) if blocks else None


def _structure(text: str, runs: list[RunFigures], reference: list[RunFigures], floor: float) -> Iterator[Claim]:
    known = next((run for run in [*reference, *runs] if "pairs" in run), None)
    for pair in known["pairs"] if known else []:
        ours, theirs = pair_blocks(runs, pair), pair_blocks(reference, pair)
        name = "g(r)" if known and known["periodic"] else "n(r)"
        quantity = f"{name} of {pair}, largest share of the peak"
        if ours is None or theirs is None:
            yield _without(text, quantity, floor, runs)
            continue
        if not (ours.any() or theirs.any()):
            continue  # never nearer to each other than half of the cell
        height = highest(ours, theirs)
        error = float(np.hypot(_error(ours), _error(theirs)).max()) / height
        probability = chance(ours, theirs)
        value = float(np.abs(ours.mean(0) - theirs.mean(0)).max()) / height
        freedom = len(ours) + len(theirs) - 2.0
        judged = verdict(Estimate(value, error, freedom), floor, probability >= BY_CHANCE)
        yield Claim(text, quantity, value, error, floor, judged, f"by chance with probability {probability:.2g}")


def _dihedrals(text: str, runs: list[RunFigures], reference: list[RunFigures], floor: float) -> Iterator[Claim]:
    for kind in ("dihedrals", "dihedral_maps"):
        for name in next((run[kind] for run in [*reference, *runs] if kind in run), {}):
            ours, theirs = _blocks(runs, kind, name), _blocks(reference, kind, name)
            quantity = f"Jensen–Shannon divergence of {name}, bits"
            if ours is None or theirs is None:
                yield _without(text, quantity, floor, runs)
                continue
            value, error, probability = divergence(_flat(ours), _flat(theirs), SPLITS)
            freedom = len(ours) + len(theirs) - 2.0
            judged = verdict(Estimate(value, error, freedom), floor, probability >= BY_CHANCE)
            yield Claim(text, quantity, value, error, floor, judged, f"by chance with probability {probability:.2g}")


def _flat(blocks: F64) -> F64:
    flat: F64 = blocks.reshape(len(blocks), -1)
    return flat


def highest(ours: F64, theirs: F64) -> float:
    """Highest peak of the reference, whose share differences are; ours where it has none at all."""
    return float(theirs.mean(0).max() or ours.mean(0).max())


def _without(text: str, quantity: str, floor: float, runs: list[RunFigures]) -> Claim:
    """The claim of a figure that runs do not have, because they ended early or were too short."""
    lasted = all(map(completed, runs))
    note = "the runs are too short" if lasted else "no run lasted to its end"
    return Claim(text, quantity, float("nan"), None, floor, UNDECIDED if lasted else NOT_MET, note)


def _error(blocks: F64) -> F64:
    """Standard error of the mean of blocks [B, R]."""
    error: F64 = blocks.std(0, ddof=1) / len(blocks) ** 0.5
    return error


def chance(ours: F64, theirs: F64) -> float:
    """Probability that blocks of one distribution differ as much as these two sets [B, R].

    A permutation test (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005): the largest difference
    of the means over bins, in units of the blocks' scatter, against that of random splits of all blocks in two.
    """
    together, count = np.concatenate([ours, theirs]), len(ours)
    mean, scatter = together.mean(0), together.std(0)
    kept = (mean > LEAST_SHARE * mean.max()) & (scatter > 0)
    if not kept.any():
        return 1.0
    scaled = (together[:, kept] - mean[kept]) / scatter[kept]
    weights = np.where(np.arange(len(together)) < count, 1 / count, -1 / len(theirs))
    splits = np.random.default_rng(0).permuted(np.tile(weights, (SPLITS, 1)), axis=1)
    observed, *others = np.abs(np.vstack([weights, splits]) @ scaled).max(1)
    return (1 + int(np.sum(np.array(others) >= observed - 1e-12))) / (1 + SPLITS)


def diffusion_estimates(runs: list[RunFigures]) -> dict[str, Estimate]:
    """Diffusion coefficients over starts by species, 1e-5 cm²/s."""
    species: dict[str, Any] = next((run["diffusion"] for run in runs if "diffusion" in run), {})
    found = {symbol: over_starts(run.get("diffusion", {}).get(symbol) for run in runs) for symbol in species}
    return {symbol: estimate for symbol, estimate in found.items() if estimate is not None}


def _diffusion(text: str, runs: list[RunFigures], reference: list[RunFigures], floor: float) -> Iterator[Claim]:
    ours = diffusion_estimates(runs)
    lags = [max((run["lags_ps"][-1] for run in each if "lags_ps" in run), default=1.0) for each in (runs, reference)]
    for symbol, theirs in diffusion_estimates(reference).items():
        quantity = f"D of {symbol}, share of the reference's"
        if symbol not in ours:
            yield _without(text, quantity, floor, runs)
            continue
        off, scale = difference(ours[symbol], theirs), abs(theirs.mean)
        error = None if off.error is None else off.error / scale
        inside = off.error is not None and abs(off.mean) <= off.half_width()
        note = f"{ours[symbol].text(3)} against {theirs.text(3)}, 1e-5 cm²/s"
        judged = verdict(Estimate(off.mean / scale, error, off.freedom), floor, inside)
        if max(lags) > LIKE_LAGS * min(lags):
            judged, note = UNDECIDED, f"{note}, over lags up to {lags[0]:.0f} against {lags[1]:.0f} ps"
        yield Claim(text, quantity, off.mean / scale, error, floor, judged, note)
