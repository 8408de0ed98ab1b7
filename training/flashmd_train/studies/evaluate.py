"""The ruler: models and integrators side by side in NVE without any filter, and in a weak bath.

Total energies are the reference's (OpenMM, ASE), never a model's own. Each part is one JSON file, so that a rerun goes
on; the page is written from these alone.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ase import Atoms, units
from scipy.stats import sem

from flashmd_train.data.recipe import Recipe
from flashmd_train.data.reference import Reference
from flashmd_train.studies.defects import reversibility, symplecticity
from flashmd_train.studies.movers import Bath, Mover, Network, Run, mover
from flashmd_train.studies.nve import figures
from flashmd_train.studies.observables import diffusion, highest, mean_square_displacement, vibrations
from flashmd_train.studies.stretches import stretch_excess
from flashmd_train.whole import whole

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


@dataclass(frozen=True)
class Course:
    """What every mover is put through.

    Attributes:
        system, size: see `flashmd-train generate`. temperature_K: of the starts and of the weak bath.
        nve_ps, nvt_ps: length of a run; 0 leaves the ensemble out. seeds: runs from different starts.
        equilibration_ps: in the reference's own bath before each.
        bath_ps: in that bath after the first, for the mean energy; only with bonds and enough starts for a regression.
    """

    system: str = "water"
    size: int | None = None
    temperature_K: float = 300.0
    nve_ps: float = 20.0
    nvt_ps: float = 0.0
    seeds: int = 1
    equilibration_ps: float = 15.0
    bath_ps: float = 100.0

    @property
    def starts(self) -> str:
        """What tells one course's starts from another's, for the names of files."""
        return f"{self.system}-{self.size}-{self.temperature_K:g}K-{self.equilibration_ps:g}ps"


def evaluate(movers: list[str], course: Course, folder: Path, workers: int) -> Path:
    """Run what is not there yet into ``folder`` and write ``evaluation.md``; returns its path.

    Args:
        movers: as :func:`~flashmd_train.studies.movers.mover` reads them.
        course: the runs. folder: results, figures, page. workers: processes, of one thread each.

    Raises:
        ValueError: the system is not one that is known here, no ensemble is asked for, or a mover cannot be read.
    """
    from flashmd_train.studies.evaluation_page import FEWEST_STARTS, write_page

    if course.system not in SHOWN:
        raise ValueError(f"got system {course.system!r}, wanted one of {', '.join(SHOWN)}")
    if not course.nve_ps and not course.nvt_ps:
        raise ValueError("got 0 ps of NVE and 0 ps of NVT, wanted some of either")
    known = {text: mover(text) for text in movers}
    folder.mkdir(parents=True, exist_ok=True)
    ensembles = [name for name, time_ps in (("nve", course.nve_ps), ("nvt", course.nvt_ps)) if time_ps]
    jobs = [
        (text, course, ensemble, seed, folder)
        for seed in range(course.seeds)
        for ensemble in ensembles
        for text, moved in known.items()
        if ensemble in moved.ensembles
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        bath = [pool.submit(_bath, course, folder)] if course.nve_ps and course.seeds >= FEWEST_STARTS else []
        list(pool.map(_job, jobs))
        for done in bath:
            done.result()
    results = {text: _results(folder, moved.key, course) for text, moved in known.items()}
    return write_page(results, course, folder)


def _place(folder: Path, key: str, course: Course, ensemble: str, seed: int) -> Path:
    time_ps = course.nve_ps if ensemble == "nve" else course.nvt_ps
    return folder / f"{course.starts}-{key}-{ensemble}-{time_ps:g}ps-{seed}.json"


def _results(folder: Path, key: str, course: Course) -> dict[str, list[dict]]:
    found = {e: [_place(folder, key, course, e, seed) for seed in range(course.seeds)] for e in ("nve", "nvt")}
    results = {
        e: [json.loads(path.read_text()) | dict(start=seed) for seed, path in enumerate(paths) if path.exists()]
        for e, paths in found.items()
    }
    if _bath_path(folder, course).exists():
        potential = np.load(_bath_path(folder, course))
        results["nve"] = [run | _beyond_the_mean(run, potential, course.temperature_K) for run in results["nve"]]
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


def _job(job: tuple[str, Course, str, int, Path]) -> None:
    text, course, ensemble, seed, folder = job
    moved = mover(text)
    path = _place(folder, moved.key, course, ensemble, seed)
    if path.exists():
        return
    reference = start(course, seed, folder)
    if ensemble == "nve":
        result = _nve(moved, reference, course, seed)
        if isinstance(moved, Network) and seed == 0:
            result |= _defects(moved, start(course, seed, folder))
    else:
        bath = Bath(course.temperature_K, WEAK_BATH_FS)
        interval = 1000 * course.nvt_ps / FRAMES
        run = moved.run(reference, 1000 * course.nvt_ps, interval, bath, seed)
        result = _common(run, reference, course.nvt_ps) | _structure(run.frames, course.system)
    with whole(path) as temporary:
        temporary.write_text(json.dumps(result | dict(name=moved.name, step_fs=moved.step_fs)))


def start(course: Course, seed: int, folder: Path) -> Reference:
    """The system after its equilibration, kept in ``folder``/starts for the next mover."""
    reference = Recipe.of(course.system, size=course.size).build()
    path = folder / "starts" / f"{course.starts}-{seed}.npz"
    reference.equilibrate_once(path, course.temperature_K, np.random.default_rng(100 + seed), course.equilibration_ps)
    return reference


def _bath_path(folder: Path, course: Course) -> Path:
    return folder / "starts" / f"{course.starts}-bath-{course.bath_ps:g}ps.npy"


def _bath(course: Course, folder: Path) -> None:
    """Potential energies (eV) of a system with bonds in the reference's own bath, kept beside the starts."""
    path, reference = _bath_path(folder, course), start(course, 0, folder)
    step = reference.equilibration_timestep_fs
    if path.exists() or stretch_excess(reference, course.temperature_K, step) is None:
        return
    rng, energies = np.random.default_rng(99), []
    for _ in range(round(1000 * course.bath_ps / BATH_SPACING_FS)):
        reference.langevin(BATH_SPACING_FS, course.temperature_K, rng, timestep_fs=step)
        energies.append(reference.get().energy)
    with whole(path) as temporary:
        np.save(temporary, energies)


def _common(run: Run, reference: Reference, time_ps: float) -> dict:
    """Energies, temperatures and cost; see :func:`~flashmd_train.studies.nve.figures`."""
    result = figures(run.frames, run.times_ps.tolist(), reference)
    moved_ps = max(run.times_ps[-1], 1e-9)
    return result | dict(
        stopped=run.stopped,
        wanted_ps=time_ps,
        evaluations_per_ps=run.evaluations / moved_ps,
        ms_per_ps=1000 * run.seconds / moved_ps,
        accepted=run.accepted,
    )


def _nve(moved: Mover, reference: Reference, course: Course, seed: int) -> dict:
    excess = stretch_excess(reference, course.temperature_K, reference.equilibration_timestep_fs)
    run = moved.run(reference, 1000 * course.nve_ps, 1000 * course.nve_ps / FRAMES, None, seed)
    result = _common(run, reference, course.nve_ps) | dict(stretch_excess_K=excess)
    if run.stopped is None and not result["exploded"]:
        symbol, _, beyond = SHOWN[course.system]
        lags, msd = mean_square_displacement(run.frames, run.times_ps, symbol)
        last = run.frames[-1]
        reference.set(last.positions, last.get_momenta())
        after = moved.run(reference, min(SPECTRUM_FS, 1000 * course.nve_ps), SPECTRUM_SPACING_FS, None, seed)
        wavenumber, density = vibrations(after.frames, 1000 * (after.times_ps[1] - after.times_ps[0]))
        result |= dict(
            lags_ps=lags.tolist(),
            msd_A2=msd.tolist(),
            diffusion=diffusion(lags, msd),
            wavenumber_per_cm=wavenumber.tolist(),
            spectrum=density.tolist(),
            peak_per_cm=highest(wavenumber, density, beyond),
            **_structure(run.frames, course.system),
        )
    return result


def _structure(frames: list[Atoms], system: str) -> dict:
    """g(r) of the second half."""
    from flashmd_rs.analysis import first_peak, radial_distribution

    _, pair, _ = SHOWN[system]
    late = frames[len(frames) // 2 :: max(1, len(frames) // 100)]
    r, g = radial_distribution(late, pair, r_max_A=min(8.0, 0.5 * frames[0].cell.lengths().min()))
    return dict(r_A=r.tolist(), g=g.tolist(), g_peak_A=first_peak(r, g)[0], g_peak=first_peak(r, g)[1])


def _defects(network: Network, reference: Reference) -> dict:
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
