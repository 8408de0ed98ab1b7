"""The runs of an evaluation, each a job of its own whose figures are one JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from flashmd_rs.evaluation.integrators.by_name import parse_integrator
from flashmd_rs.evaluation.integrators.integrator import Bath, Integrator, RunResult
from flashmd_rs.evaluation.integrators.model_integrator import ModelIntegrator
from flashmd_rs.evaluation.measures.bond_energy import stretch_excess
from flashmd_rs.evaluation.measures.figures import motion_figures, rounded, structure_figures
from flashmd_rs.evaluation.measures.nve import measure_bath, measure_run, settled_frames
from flashmd_rs.evaluation.measures.observables import species_of, vibrations
from flashmd_rs.evaluation.measures.symplecticity import reversibility, symplecticity
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.evaluation.results import RunFigures, bath_path, result_path, start_path
from flashmd_rs.reference.base import Reference
from flashmd_rs.writers.atomic_write import atomic_write

# A second run after that of NVE, for the spectrum: long enough for 10 cm⁻¹, frames dense enough for an OH stretch.
SPECTRUM_FS, SPECTRUM_SPACING_FS = 4000.0, 2.0
# A run of fewer frames, once it has settled, has temperatures only.
FEWEST_FRAMES = 20
# Time between potential energies in the reference's own bath.
BATH_SPACING_FS = 100.0
# Least atoms of the free cluster on which a stride is differentiated.
CLUSTER = 9


class Job(NamedTuple):
    """One run of one integrator."""

    text: str
    protocol: EvaluationProtocol
    ensemble: str
    seed: int
    folder: Path


def start(protocol: EvaluationProtocol, seed: int, folder: Path) -> Reference:
    """The system at the end of its equilibration, which is kept in ``folder``/starts for the next integrator."""
    reference = protocol.system.reference()
    path, rng = start_path(folder, protocol, seed), np.random.default_rng(100 + seed)
    reference.equilibrate_once(
        path, protocol.temperature_K, rng, protocol.equilibration_ps, protocol.anneal_K, structure=seed
    )
    return reference


def keep_start(protocol: EvaluationProtocol, seed: int, folder: Path) -> None:
    """Equilibrate a start whose file does not exist yet."""
    if not start_path(folder, protocol, seed).exists():
        start(protocol, seed, folder)


def measure_mean_energy(protocol: EvaluationProtocol, folder: Path) -> None:
    """Write potential energies (eV) in the reference's own bath beside the starts; none for a system without bonds."""
    path, reference = bath_path(folder, protocol), start(protocol, 0, folder)
    if path.exists() or stretch_excess(reference, protocol.temperature_K, reference.timestep_fs) is None:
        return
    rng, energies = np.random.default_rng(99), []
    for _ in range(round(1000 * protocol.bath_ps / BATH_SPACING_FS)):
        reference.langevin(BATH_SPACING_FS, protocol.temperature_K, rng)
        energies.append(reference.get().energy)
    with atomic_write(path) as temporary:
        np.save(temporary, energies)


def run_job(job: Job) -> None:
    """Run a job whose file does not exist yet."""
    integrator = parse_integrator(job.text)
    path = result_path(job.folder, integrator, job.protocol, job.ensemble, job.seed)
    if path.exists():
        return
    reference = start(job.protocol, job.seed, job.folder)
    if job.ensemble == "nve":
        result = _nve(integrator, reference, job.protocol, job.seed)
        if isinstance(integrator, ModelIntegrator) and job.seed == 0:
            result |= _stride_properties(integrator, start(job.protocol, job.seed, job.folder))
    else:
        result = _bath(integrator, reference, job.protocol, job.ensemble, job.seed)
    result |= {"name": integrator.name, "step_fs": integrator.step_fs}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(result))


def _nve(integrator: Integrator, reference: Reference, protocol: EvaluationProtocol, seed: int) -> RunFigures:
    """Figures of a run of NVE, and of a second, shorter one for the spectrum if the first was stable."""
    excess = stretch_excess(reference, protocol.temperature_K, reference.timestep_fs)
    time_fs = 1000 * protocol.time_ps("nve", integrator.by_reference)
    run = integrator.run(reference, time_fs, time_fs / protocol.frames, None, seed)
    result = measure_run(run.frames, run.times_ps.tolist(), reference, protocol.temperature_K)
    result |= _cost(run, time_fs) | {"stretch_excess_K": excess}
    late = run.frames[len(run.frames) // 2 :]
    if run.stopped is not None or result["exploded"] or len(late) < FEWEST_FRAMES:
        return result
    last = run.frames[-1]
    reference.set(last.positions, last.get_momenta())
    after = integrator.run(reference, min(SPECTRUM_FS, time_fs), SPECTRUM_SPACING_FS, None, seed)
    return (
        result
        | motion_figures(run.frames, run.times_ps)
        | _spectra(after)
        | structure_figures(late, protocol.dihedrals)
    )


def _bath(
    integrator: Integrator, reference: Reference, protocol: EvaluationProtocol, ensemble: str, seed: int
) -> RunFigures:
    """Figures of a run in the weak bath."""
    tau_fs = 1000 * protocol.time_constant_ps
    bath = Bath(protocol.temperature_K, tau_fs, protocol.pressure_bar if ensemble == "npt" else None)
    time_fs = 1000 * protocol.time_ps(ensemble, integrator.by_reference)
    run = integrator.run(reference, time_fs, time_fs / protocol.frames, bath, seed, protocol.system.potential)
    result = measure_bath(run, protocol.temperature_K, protocol.time_constant_ps) | _cost(run, time_fs)
    late = settled_frames(run, result["settled_from_ps"], result["stable_ps"])
    if run.stopped is not None or result["exploded"] or len(late) < FEWEST_FRAMES:
        return result
    motion = motion_figures(late, run.times_ps[-len(late) :]) if ensemble == "nvt" else {}
    return result | motion | structure_figures(late, protocol.dihedrals)


def _cost(run: RunResult, wanted_fs: float) -> RunFigures:
    """How a run ended, and what it cost."""
    done_ps = max(run.samples.times_ps[-1], 1e-9)
    return {
        "stopped": run.stopped,
        "wanted_ps": 1e-3 * wanted_fs,
        "evaluations_per_ps": run.evaluations / done_ps,
        "ms_per_ps": 1000 * run.seconds / done_ps,
        "accepted": run.accepted,
        "violations": run.violations,
    }


def _spectra(run: RunResult) -> RunFigures:
    """Vibrational density of states by species."""
    spacing_fs = 1000 * (run.times_ps[1] - run.times_ps[0])
    momenta, masses = np.array([frame.get_momenta() for frame in run.frames]), run.frames[0].get_masses()
    spectra = {}
    for symbol, mask in species_of(run.frames[0]).items():
        wavenumber, density = vibrations(momenta[:, mask], masses[mask], spacing_fs)
        spectra[symbol] = rounded(density)
    return {"wavenumber_per_cm": rounded(wavenumber), "spectrum": spectra}


def _stride_properties(integrator: ModelIntegrator, reference: Reference) -> RunFigures:
    """Reversibility of a stride of the whole system, and symplecticity of one of a small free cluster."""
    atoms = reference.atoms()
    cluster = _cluster(atoms, reference)
    return {
        "reversibility": reversibility(integrator.model, atoms),
        "symplecticity": symplecticity(integrator.model, cluster),
    }


def _cluster(atoms: Atoms, reference: Reference) -> Atoms:
    """The molecules nearest to the first atom, of at least ``CLUSTER`` atoms if there are so many, without a cell."""
    periodic = bool(atoms.pbc.any())
    by_distance = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=periodic))
    molecules = list(dict.fromkeys(reference.molecules[by_distance].tolist()))
    chosen: list[int] = []
    while len(chosen) < CLUSTER and molecules:
        chosen += np.flatnonzero(reference.molecules == molecules.pop(0)).tolist()
    cluster: Atoms = atoms[chosen]
    cluster.positions = atoms.positions[0] + atoms.get_distances(0, chosen, mic=periodic, vector=True)
    cluster.pbc = False
    return cluster
