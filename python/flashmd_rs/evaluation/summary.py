"""An evaluation as plain data, for programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flashmd_rs.evaluation.claims import Claim, density_estimate, diffusion_estimates, temperature_estimates
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import Results, RunFigures, baseline

MS_PER_DAY = 86_400_000
PS_PER_NS = 1000


def ns_per_day(runs: list[RunFigures]) -> float:
    """Simulated time per wall time on this machine, one thread, ns/day."""
    return MS_PER_DAY / float(np.mean([run["ms_per_ps"] for run in runs])) / PS_PER_NS


def summary(results: Results, protocol: EvaluationProtocol, claims: list[Claim]) -> dict[str, Any]:
    """What was found, by integrator as the user wrote it.

    Returns:
        ``system``, ``temperature_K`` (of the bath), ``reference`` (the integrator that others are compared with, or
        None); ``integrators``, by text: ``name``, ``step_fs``, and by ensemble (``nve``, ``nvt``, ``npt``)
        ``temperature_K``: by name (``total`` and species) mean, standard error and the bath's temperature (None without
        one), K; ``diffusion_1e-5_cm2_per_s``: by species mean and standard error; ``density_g_per_cm3``: mean and
        standard error, in NpT; ``ns_per_day``; ``stable_ps``, of the shortest run, and ``wanted_ps``; ``violations`` of
        the domain by quantity, over all runs.
        ``claims``: fields of :class:`~flashmd_rs.evaluation.claims.Claim`. What is not known is None.
    """
    known = {text: ensembles for text, ensembles in results.items() if any(ensembles.values())}
    return {
        "system": protocol.title,
        "temperature_K": protocol.temperature_K,
        "reference": baseline(known),
        "integrators": {text: _integrator(ensembles, protocol) for text, ensembles in known.items()},
        "claims": [{k: _known(v) for k, v in claim._asdict().items()} for claim in claims],
    }


def _integrator(ensembles: dict[str, list[RunFigures]], protocol: EvaluationProtocol) -> dict[str, Any]:
    first = next(runs for runs in ensembles.values() if runs)[0]
    found = {ensemble: _ensemble(ensemble, runs, protocol) for ensemble, runs in ensembles.items() if runs}
    return {"name": first["name"], "step_fs": first["step_fs"], **found}


def _ensemble(ensemble: str, runs: list[RunFigures], protocol: EvaluationProtocol) -> dict[str, Any]:
    bath = None if ensemble == "nve" else protocol.temperature_K
    density = density_estimate(runs) if ensemble == "npt" else None
    counted = [run["violations"] for run in runs if run.get("violations") is not None]
    return {
        "temperature_K": {k: [e.mean, e.error, bath] for k, e in temperature_estimates(runs).items()},
        "diffusion_1e-5_cm2_per_s": {k: [e.mean, e.error] for k, e in diffusion_estimates(runs).items()},
        "density_g_per_cm3": None if density is None else [density.mean, density.error],
        "ns_per_day": ns_per_day(runs),
        "stable_ps": min(run["stable_ps"] for run in runs),
        "wanted_ps": min(run["wanted_ps"] for run in runs),
        "violations": {name: sum(c.get(name, 0) for c in counted) for name in sorted(set().union(*counted))},
    }


def _known(value: Any) -> Any:
    """None for a number that is not one: JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
