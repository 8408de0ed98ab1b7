"""The results of an evaluation: plain data, one JSON file per run.

``<starts>-<integrator>-<ensemble>-<time>ps-<seed>.json`` holds one run, ``starts/<starts>-<seed>.npz`` the frame it
began from, ``starts/<starts>-bath-<time>ps.npy`` potential energies in the reference's own bath.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from scipy.stats import sem

from flashmd_rs._structure import F64
from flashmd_rs.evaluation.protocol import ENSEMBLES, EvaluationProtocol

if TYPE_CHECKING:
    from flashmd_rs.evaluation.integrators.integrator import Integrator

# Figures of one run by name, as :func:`~flashmd_rs.evaluation.measures.nve.measure_run` and the evaluation make them.
RunFigures = dict[str, Any]
# Runs of one ensemble by integrator (as written by the user), one per start.
Runs = dict[str, list[RunFigures]]
# Runs by integrator and ensemble (``nve``, ``nvt``, ``npt``), one per start.
Results = dict[str, dict[str, list[RunFigures]]]
# Blocks of the potential energies in the bath whose means give the standard error of their mean.
BATH_BLOCKS = 10


def result_path(folder: Path, integrator: Integrator, protocol: EvaluationProtocol, ensemble: str, seed: int) -> Path:
    """File of one run."""
    time_ps = protocol.time_ps(ensemble, integrator.by_reference)
    conditions = {
        "nve": "",
        "nvt": f"-{protocol.time_constant_ps:g}ps",
        "npt": f"-{protocol.time_constant_ps:g}ps-{protocol.pressure_bar:g}bar",
    }[ensemble]
    asked = "".join("-dihedral" + "_".join(map(str, dihedral)) for dihedral in protocol.dihedrals)
    run = f"{ensemble}{conditions}-{time_ps:g}ps-{protocol.frames}{asked}-{seed}"
    return folder / f"{protocol.starts_name}-{integrator.key}-{run}.json"


def start_path(folder: Path, protocol: EvaluationProtocol, seed: int) -> Path:
    """File of the equilibrated frame from which all integrators begin."""
    return folder / "starts" / f"{protocol.starts_name}-{seed}.npz"


def bath_path(folder: Path, protocol: EvaluationProtocol) -> Path:
    """File of the potential energies (eV) in the reference's own bath."""
    return folder / "starts" / f"{protocol.starts_name}-bath-{protocol.bath_ps:g}ps.npy"


def load_results(folder: Path, integrator: Integrator, protocol: EvaluationProtocol) -> dict[str, list[RunFigures]]:
    """Runs of one integrator by ensemble, those that exist.

    Every run gets its ``start`` (the seed); runs of NVE also ``energy_excess_K`` and its error if the energies of the
    reference's bath are known.
    """
    results: dict[str, list[RunFigures]] = {ensemble: [] for ensemble in ENSEMBLES}
    for ensemble in protocol.ensembles:
        paths = {seed: result_path(folder, integrator, protocol, ensemble, seed) for seed in range(protocol.seeds)}
        results[ensemble] = [
            json.loads(path.read_text()) | {"start": seed} for seed, path in paths.items() if path.exists()
        ]
    bath = bath_path(folder, protocol)
    if bath.exists():
        potential = np.load(bath)
        results["nve"] = [run | energy_excess(run, potential, protocol.temperature_K) for run in results["nve"]]
    return results


def baseline(integrators: Iterable[str]) -> str | None:
    """The integrator that others are compared with: the first that is the reference's Verlet; None without."""
    return next((text for text in integrators if text.startswith("verlet:") and "@" not in text), None)


def energy_excess(run: RunFigures, potential_eV: F64, temperature_K: float) -> dict[str, float]:
    """Total energy of a start beyond the bath's mean, and the standard error of that mean, in K per each of 3N modes.

    Args:
        run: a run of NVE; its first energy is that of its start.
        potential_eV: successive potential energies in the bath, eV.
        temperature_K: temperature of the bath, K.
    """
    # Without net momentum there are 3N − 3 momenta, of k_B T/2 each.
    mean = potential_eV.mean() + 1.5 * (run["atoms"] - 1) * units.kB * temperature_K
    error = sem([block.mean() for block in np.array_split(potential_eV, BATH_BLOCKS)])
    per_mode = 3 * run["atoms"] * units.kB
    return {
        "energy_excess_K": (run["trace"]["energy_eV"][0] - mean) / per_mode,
        "energy_excess_error_K": error / per_mode,
    }
