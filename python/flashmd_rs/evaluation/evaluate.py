"""The evaluation: models and integrators side by side, in NVE without any filter and in weak baths.

Total energies are the reference's (OpenMM, ASE), never a model's own. Each run is one JSON file, so that a rerun
continues; page and summary are written from these files alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from flashmd_rs._engine.workers import worker_pool
from flashmd_rs.evaluation.claims import Floors, claims
from flashmd_rs.evaluation.integrators.by_name import parse_integrator
from flashmd_rs.evaluation.page.page import write_page
from flashmd_rs.evaluation.protocol import FEWEST_STARTS, EvaluationProtocol
from flashmd_rs.evaluation.results import load_results
from flashmd_rs.evaluation.runs import Job, keep_start, measure_mean_energy, run_job
from flashmd_rs.evaluation.summary import summary
from flashmd_rs.writers.atomic_write import atomic_write


def evaluate(
    integrators: list[str],
    protocol: EvaluationProtocol,
    folder: Path,
    workers: int = 2,
    floors: Floors | None = None,
    command: str | None = None,
) -> Path:
    """Run what is missing in ``folder``, and write ``evaluation.md`` and ``evaluation.json``.

    Args:
        integrators: texts as :func:`~flashmd_rs.evaluation.integrators.by_name.parse_integrator` reads them; the first
            that is velocity Verlet of the reference is what the others are compared with.
        protocol: the runs.
        folder: folder of results, figures and page; made if it does not exist.
        workers: processes, of one thread each.
        floors: what is claimed; None for no claims.
        command: the command that made the page, to be printed on it.

    Returns:
        The path of the page. What :func:`~flashmd_rs.evaluation.summary.summary` returns is beside it in
        ``evaluation.json``.

    Raises:
        ValueError: an integrator cannot be read, cannot move this system, or none has an ensemble that is asked for.
    """
    known = {text: parse_integrator(text) for text in integrators}
    reference = protocol.system.reference()
    for integrator in known.values():
        integrator.check(reference)
    jobs = [
        Job(text, protocol, ensemble, seed, folder)
        for seed in range(protocol.seeds)
        for ensemble in protocol.ensembles
        for text, integrator in known.items()
        if ensemble in integrator.ensembles
    ]
    if not jobs:
        raise ValueError(f"none of {', '.join(integrators)} runs in {' or '.join(protocol.ensembles)}")
    folder.mkdir(parents=True, exist_ok=True)
    with_bath = protocol.nve_ps and protocol.seeds >= FEWEST_STARTS
    with worker_pool(workers) as pool:
        for made in [pool.submit(keep_start, protocol, seed, folder) for seed in range(protocol.seeds)]:
            made.result()
        bath = [pool.submit(measure_mean_energy, protocol, folder)] if with_bath else []
        list(pool.map(run_job, jobs))
        for done in bath:
            done.result()
    results = {text: load_results(folder, integrator, protocol) for text, integrator in known.items()}
    judged = claims(results, protocol, floors or Floors())
    with atomic_write(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(summary(results, protocol, judged), indent=1) + "\n")
    return write_page(results, protocol, judged, folder, command)
