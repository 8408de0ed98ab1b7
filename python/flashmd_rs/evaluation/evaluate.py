"""The ruler: models and integrators side by side in NVE without any filter, and in a weak bath.

Total energies are the reference's (OpenMM, ASE), never a model's own. Each part is one JSON file, so that a rerun goes
on; the page is written from these alone.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ase import Atoms, units
from scipy.stats import sem

from flashmd_rs.evaluation.bond_energy import stretch_excess
from flashmd_rs.evaluation.integrators import Integrator, LangevinBath, ModelIntegrator, RunResult, parse_integrator
from flashmd_rs.evaluation.nve import measure_run
from flashmd_rs.evaluation.observables import diffusion, highest, mean_square_displacement, vibrations
from flashmd_rs.evaluation.page import write_page
from flashmd_rs.evaluation.protocol import FEWEST_STARTS, EvaluationProtocol
from flashmd_rs.evaluation.symplecticity import reversibility, symplecticity
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.writers.atomic_write import atomic_write

FRAMES = 1000
# After the run, for the spectrum, but no longer than that: long enough for 10 cm⁻¹, close enough for the stretch of OH.
SPECTRUM_FS, SPECTRUM_SPACING_FS = 4000.0, 2.0
WEAK_BATH_FS = 1000.0
# Between energies of the reference's bath; over so many blocks of them their mean has its error.
BATH_SPACING_FS, BATH_BLOCKS = 100.0, 10
# Atoms of the free cluster on which a stride is differentiated.
CLUSTER = 9
# Species whose motion is shown, pair of g(r), and beyond which wavenumber the highest peak is looked for.
SHOWN = {"water": ("O", ("O", "O"), 2500.0), "aluminium": ("Al", ("Al", "Al"), 50.0)}


def evaluate(integrators: list[str], protocol: EvaluationProtocol, folder: Path, workers: int) -> Path:
    """RunResult what is not there yet into ``folder`` and write ``evaluation.md``; returns its path.

    Args:
        integrators: as :func:`~flashmd_rs.evaluation.integrators.parse_integrator` reads them.
        protocol: the runs. folder: results, figures, page. workers: processes, of one thread each.

    Raises:
        ValueError: the system is not one that is known here, no ensemble is asked for, or an integrator cannot be read.
    """
    if protocol.system not in SHOWN:
        raise ValueError(f"got system {protocol.system!r}, wanted one of {', '.join(SHOWN)}")
    if not protocol.nve_ps and not protocol.nvt_ps:
        raise ValueError("got 0 ps of NVE and 0 ps of NVT, wanted some of either")
    known = {text: parse_integrator(text) for text in integrators}
    folder.mkdir(parents=True, exist_ok=True)
    ensembles = [name for name, time_ps in (("nve", protocol.nve_ps), ("nvt", protocol.nvt_ps)) if time_ps]
    jobs = [
        (text, protocol, ensemble, seed, folder)
        for seed in range(protocol.seeds)
        for ensemble in ensembles
        for text, moved in known.items()
        if ensemble in moved.ensembles
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        bath = [pool.submit(_bath, protocol, folder)] if protocol.nve_ps and protocol.seeds >= FEWEST_STARTS else []
        list(pool.map(_job, jobs))
        for done in bath:
            done.result()
    results = {text: _results(folder, moved.key, protocol) for text, moved in known.items()}
    return write_page(results, protocol, folder)


def _place(folder: Path, key: str, protocol: EvaluationProtocol, ensemble: str, seed: int) -> Path:
    time_ps = protocol.nve_ps if ensemble == "nve" else protocol.nvt_ps
    return folder / f"{protocol.starts}-{key}-{ensemble}-{time_ps:g}ps-{seed}.json"


def _results(folder: Path, key: str, protocol: EvaluationProtocol) -> dict[str, list[dict]]:
    found = {e: [_place(folder, key, protocol, e, seed) for seed in range(protocol.seeds)] for e in ("nve", "nvt")}
    results = {
        e: [json.loads(path.read_text()) | dict(start=seed) for seed, path in enumerate(paths) if path.exists()]
        for e, paths in found.items()
    }
    if _bath_path(folder, protocol).exists():
        potential = np.load(_bath_path(folder, protocol))
        results["nve"] = [run | _beyond_the_mean(run, potential, protocol.temperature_K) for run in results["nve"]]
    return results


def _beyond_the_mean(run: dict, potential: np.ndarray, temperature_K: float) -> dict[str, float]:
    """What a start's energy is beyond that of the bath, and the error of the latter, in K for each of 3N modes."""
    # Without net momentum there are 3N − 3 momenta.
    mean = potential.mean() + 1.5 * (run["atoms"] - 1) * units.kB * temperature_K
    error = sem([block.mean() for block in np.array_split(potential, BATH_BLOCKS)])
    per_mode = 3 * run["atoms"] * units.kB
    return dict(
        energy_excess_K=(run["trace"]["energy_eV"][0] - mean) / per_mode, energy_excess_error_K=error / per_mode
    )


def _job(job: tuple[str, EvaluationProtocol, str, int, Path]) -> None:
    text, protocol, ensemble, seed, folder = job
    moved = parse_integrator(text)
    path = _place(folder, moved.key, protocol, ensemble, seed)
    if path.exists():
        return
    reference = start(protocol, seed, folder)
    if ensemble == "nve":
        result = _nve(moved, reference, protocol, seed)
        if isinstance(moved, ModelIntegrator) and seed == 0:
            result |= _defects(moved, start(protocol, seed, folder))
    else:
        bath = LangevinBath(protocol.temperature_K, WEAK_BATH_FS)
        interval = 1000 * protocol.nvt_ps / FRAMES
        run = moved.run(reference, 1000 * protocol.nvt_ps, interval, bath, seed)
        result = _common(run, reference, protocol.nvt_ps) | _structure(run.frames, protocol.system)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result | dict(name=moved.name, step_fs=moved.step_fs)))


def start(protocol: EvaluationProtocol, seed: int, folder: Path) -> Reference:
    """The system after its equilibration, kept in ``folder``/starts for the next integrator."""
    reference = Recipe.of(protocol.system, size=protocol.size).build()
    path = folder / "starts" / f"{protocol.starts}-{seed}.npz"
    reference.equilibrate_once(
        path, protocol.temperature_K, np.random.default_rng(100 + seed), protocol.equilibration_ps
    )
    return reference


def _bath_path(folder: Path, protocol: EvaluationProtocol) -> Path:
    return folder / "starts" / f"{protocol.starts}-bath-{protocol.bath_ps:g}ps.npy"


def _bath(protocol: EvaluationProtocol, folder: Path) -> None:
    """Potential energies (eV) of a system with bonds in the reference's own bath, kept beside the starts."""
    path, reference = _bath_path(folder, protocol), start(protocol, 0, folder)
    step = reference.equilibration_timestep_fs
    if path.exists() or stretch_excess(reference, protocol.temperature_K, step) is None:
        return
    rng, energies = np.random.default_rng(99), []
    for _ in range(round(1000 * protocol.bath_ps / BATH_SPACING_FS)):
        reference.langevin(BATH_SPACING_FS, protocol.temperature_K, rng, timestep_fs=step)
        energies.append(reference.get().energy)
    with atomic_write(path) as temporary:
        np.save(temporary, energies)


def _common(run: RunResult, reference: Reference, time_ps: float) -> dict:
    """Energies, temperatures and cost; see :func:`~flashmd_rs.evaluation.nve.measure_run`."""
    result = measure_run(run.frames, run.times_ps.tolist(), reference)
    moved_ps = max(run.times_ps[-1], 1e-9)
    return result | dict(
        stopped=run.stopped,
        wanted_ps=time_ps,
        evaluations_per_ps=run.evaluations / moved_ps,
        ms_per_ps=1000 * run.seconds / moved_ps,
        accepted=run.accepted,
    )


def _nve(moved: Integrator, reference: Reference, protocol: EvaluationProtocol, seed: int) -> dict:
    excess = stretch_excess(reference, protocol.temperature_K, reference.equilibration_timestep_fs)
    run = moved.run(reference, 1000 * protocol.nve_ps, 1000 * protocol.nve_ps / FRAMES, None, seed)
    result = _common(run, reference, protocol.nve_ps) | dict(stretch_excess_K=excess)
    if run.stopped is None and not result["exploded"]:
        symbol, _, beyond = SHOWN[protocol.system]
        lags, msd = mean_square_displacement(run.frames, run.times_ps, symbol)
        last = run.frames[-1]
        reference.set(last.positions, last.get_momenta())
        after = moved.run(reference, min(SPECTRUM_FS, 1000 * protocol.nve_ps), SPECTRUM_SPACING_FS, None, seed)
        wavenumber, density = vibrations(after.frames, 1000 * (after.times_ps[1] - after.times_ps[0]))
        result |= dict(
            lags_ps=lags.tolist(),
            msd_A2=msd.tolist(),
            diffusion=diffusion(lags, msd),
            wavenumber_per_cm=wavenumber.tolist(),
            spectrum=density.tolist(),
            peak_per_cm=highest(wavenumber, density, beyond),
            **_structure(run.frames, protocol.system),
        )
    return result


def _structure(frames: list[Atoms], system: str) -> dict:
    """g(r) of the second half."""
    from flashmd_rs.analysis import first_peak, radial_distribution

    _, pair, _ = SHOWN[system]
    late = frames[len(frames) // 2 :: max(1, len(frames) // 100)]
    r, g = radial_distribution(late, pair, r_max_A=min(8.0, 0.5 * frames[0].cell.lengths().min()))
    return dict(r_A=r.tolist(), g=g.tolist(), g_peak_A=first_peak(r, g)[0], g_peak=first_peak(r, g)[1])


def _defects(network: ModelIntegrator, reference: Reference) -> dict:
    atoms = reference.atoms()
    # The molecules nearest to the first atom, as a free cluster.
    near = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True))
    molecules = list(dict.fromkeys(reference.molecules[near].tolist()))
    chosen: list[int] = []
    while len(chosen) < CLUSTER:
        chosen += np.flatnonzero(reference.molecules == molecules.pop(0)).tolist()
    cluster = atoms[chosen]
    cluster.positions = atoms.positions[0] + atoms.get_distances(0, chosen, mic=True, vector=True)
    cluster.pbc = False
    return dict(reversibility=reversibility(network.model, atoms), symplecticity=symplecticity(network.model, cluster))
