"""The evaluation: models and integrators side by side, in NVE without any filter and in a weak bath.

Total energies are the reference's (OpenMM, ASE), never a model's own. Each run is one JSON file, so that a rerun
continues; the page is written from these files alone.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from flashmd_rs.analysis import first_peak, radial_distribution
from flashmd_rs.evaluation.bond_energy import stretch_excess
from flashmd_rs.evaluation.integrators import Integrator, LangevinBath, ModelIntegrator, RunResult, parse_integrator
from flashmd_rs.evaluation.nve import measure_run
from flashmd_rs.evaluation.observables import diffusion, highest_peak, mean_square_displacement, vibrations
from flashmd_rs.evaluation.page import write_page
from flashmd_rs.evaluation.protocol import FEWEST_STARTS, EvaluationProtocol
from flashmd_rs.evaluation.results import RunFigures, bath_path, load_results, result_path, start_path
from flashmd_rs.evaluation.symplecticity import reversibility, symplecticity
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.writers.atomic_write import atomic_write

# Frames of a run.
FRAMES = 1000
# A second run after that of NVE, for the spectrum: long enough for 10 cm⁻¹, frames dense enough for the OH stretch.
SPECTRUM_FS, SPECTRUM_SPACING_FS = 4000.0, 2.0
WEAK_BATH_FS = 1000.0
# Time between potential energies in the reference's own bath.
BATH_SPACING_FS = 100.0
# Least atoms of the free cluster on which a stride is differentiated.
CLUSTER = 9


class Shown(NamedTuple):
    """What is measured of a system.

    Attributes:
        symbol: species whose motion is shown.
        pair: species of g(r).
        peak_beyond_per_cm: wavenumber beyond which the highest peak of the spectrum is looked for, cm⁻¹.
    """

    symbol: str
    pair: tuple[str, str]
    peak_beyond_per_cm: float


SHOWN = {"water": Shown("O", ("O", "O"), 2500.0), "aluminium": Shown("Al", ("Al", "Al"), 50.0)}


class _Job(NamedTuple):
    """One run of one integrator."""

    text: str
    protocol: EvaluationProtocol
    ensemble: str
    seed: int
    folder: Path


def evaluate(integrators: list[str], protocol: EvaluationProtocol, folder: Path, workers: int) -> Path:
    """Run what is missing in ``folder`` and write ``evaluation.md``.

    Args:
        integrators: texts as :func:`~flashmd_rs.evaluation.integrators.parse_integrator` reads them.
        protocol: the runs.
        folder: folder of results, figures and page; made if it does not exist.
        workers: processes, of one thread each.

    Returns:
        The path of the page.

    Raises:
        ValueError: the system is unknown here, no ensemble is asked for, or an integrator cannot be read.
    """
    if protocol.system not in SHOWN:
        raise ValueError(f"got system {protocol.system!r}, wanted one of {', '.join(SHOWN)}")
    if not protocol.ensembles:
        raise ValueError("got 0 ps of NVE and 0 ps of NVT, wanted some of either")
    known = {text: parse_integrator(text) for text in integrators}
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        _Job(text, protocol, ensemble, seed, folder)
        for seed in range(protocol.seeds)
        for ensemble in protocol.ensembles
        for text, integrator in known.items()
        if ensemble in integrator.ensembles
    ]
    with_bath = protocol.nve_ps and protocol.seeds >= FEWEST_STARTS
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        bath = [pool.submit(measure_bath, protocol, folder)] if with_bath else []
        list(pool.map(_run_job, jobs))
        for done in bath:
            done.result()
    results = {text: load_results(folder, integrator.key, protocol) for text, integrator in known.items()}
    return write_page(results, protocol, folder)


def start(protocol: EvaluationProtocol, seed: int, folder: Path) -> Reference:
    """The system at the end of its equilibration, which is kept in ``folder``/starts for the next integrator."""
    reference = Recipe.of(protocol.system, size=protocol.size).build()
    path, rng = start_path(folder, protocol, seed), np.random.default_rng(100 + seed)
    reference.equilibrate_once(path, protocol.temperature_K, rng, protocol.equilibration_ps)
    return reference


def measure_bath(protocol: EvaluationProtocol, folder: Path) -> None:
    """Write potential energies (eV) in the reference's own bath beside the starts; none for a system without bonds."""
    path, reference = bath_path(folder, protocol), start(protocol, 0, folder)
    timestep = reference.equilibration_timestep_fs
    if path.exists() or stretch_excess(reference, protocol.temperature_K, timestep) is None:
        return
    rng, energies = np.random.default_rng(99), []
    for _ in range(round(1000 * protocol.bath_ps / BATH_SPACING_FS)):
        reference.langevin(BATH_SPACING_FS, protocol.temperature_K, rng, timestep_fs=timestep)
        energies.append(reference.get().energy)
    with atomic_write(path) as temporary:
        np.save(temporary, energies)


def _run_job(job: _Job) -> None:
    integrator = parse_integrator(job.text)
    path = result_path(job.folder, integrator.key, job.protocol, job.ensemble, job.seed)
    if path.exists():
        return
    reference = start(job.protocol, job.seed, job.folder)
    if job.ensemble == "nve":
        result = _nve(integrator, reference, job.protocol, job.seed)
        if isinstance(integrator, ModelIntegrator) and job.seed == 0:
            result |= _stride_properties(integrator, start(job.protocol, job.seed, job.folder))
    else:
        result = _nvt(integrator, reference, job.protocol, job.seed)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result | {"name": integrator.name, "step_fs": integrator.step_fs}))


def _nve(integrator: Integrator, reference: Reference, protocol: EvaluationProtocol, seed: int) -> RunFigures:
    """Figures of a run of NVE, and of a second, shorter one for the spectrum if the first was stable."""
    excess = stretch_excess(reference, protocol.temperature_K, reference.equilibration_timestep_fs)
    time_fs = 1000 * protocol.nve_ps
    run = integrator.run(reference, time_fs, time_fs / FRAMES, None, seed)
    result = _common(run, reference, protocol.nve_ps) | {"stretch_excess_K": excess}
    if run.stopped is not None or result["exploded"]:
        return result
    shown = SHOWN[protocol.system]
    lags, msd = mean_square_displacement(run.frames, run.times_ps, shown.symbol)
    last = run.frames[-1]
    reference.set(last.positions, last.get_momenta())
    after = integrator.run(reference, min(SPECTRUM_FS, time_fs), SPECTRUM_SPACING_FS, None, seed)
    wavenumber, density = vibrations(after.frames, 1000 * (after.times_ps[1] - after.times_ps[0]))
    return result | {
        "lags_ps": lags.tolist(),
        "msd_A2": msd.tolist(),
        "diffusion": diffusion(lags, msd),
        "wavenumber_per_cm": wavenumber.tolist(),
        "spectrum": density.tolist(),
        "peak_per_cm": highest_peak(wavenumber, density, shown.peak_beyond_per_cm),
        **_structure(run.frames, shown.pair),
    }


def _nvt(integrator: Integrator, reference: Reference, protocol: EvaluationProtocol, seed: int) -> RunFigures:
    """Figures of a run in the weak bath."""
    bath = LangevinBath(protocol.temperature_K, WEAK_BATH_FS)
    run = integrator.run(reference, 1000 * protocol.nvt_ps, 1000 * protocol.nvt_ps / FRAMES, bath, seed)
    return _common(run, reference, protocol.nvt_ps) | _structure(run.frames, SHOWN[protocol.system].pair)


def _common(run: RunResult, reference: Reference, wanted_ps: float) -> RunFigures:
    """Energies, temperatures and cost; see :func:`~flashmd_rs.evaluation.nve.measure_run`."""
    done_ps = max(run.times_ps[-1], 1e-9)
    return measure_run(run.frames, run.times_ps.tolist(), reference) | {
        "stopped": run.stopped,
        "wanted_ps": wanted_ps,
        "evaluations_per_ps": run.evaluations / done_ps,
        "ms_per_ps": 1000 * run.seconds / done_ps,
        "accepted": run.accepted,
    }


def _structure(frames: list[Atoms], pair: tuple[str, str]) -> RunFigures:
    """g(r) over the second half of a run."""
    late = frames[len(frames) // 2 :: max(1, len(frames) // 100)]
    r, g = radial_distribution(late, pair, r_max_A=min(8.0, 0.5 * frames[0].cell.lengths().min()))
    position, height = first_peak(r, g)
    return {"r_A": r.tolist(), "g": g.tolist(), "g_peak_A": position, "g_peak": height}


def _stride_properties(integrator: ModelIntegrator, reference: Reference) -> RunFigures:
    """Reversibility of a stride of the whole system, and symplecticity of one of a small free cluster."""
    atoms = reference.atoms()
    cluster = _cluster(atoms, reference)
    return {
        "reversibility": reversibility(integrator.model, atoms),
        "symplecticity": symplecticity(integrator.model, cluster),
    }


def _cluster(atoms: Atoms, reference: Reference) -> Atoms:
    """The molecules nearest to the first atom, of at least ``CLUSTER`` atoms, without a cell."""
    by_distance = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True))
    molecules = list(dict.fromkeys(reference.molecules[by_distance].tolist()))
    chosen: list[int] = []
    while len(chosen) < CLUSTER:
        chosen += np.flatnonzero(reference.molecules == molecules.pop(0)).tolist()
    cluster: Atoms = atoms[chosen]
    cluster.positions = atoms.positions[0] + atoms.get_distances(0, chosen, mic=True, vector=True)
    cluster.pbc = False
    return cluster
