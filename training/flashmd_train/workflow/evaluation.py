"""The last look of a run at its model: beside its reference, in a weak bath, for as long as the time allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from flashmd_rs.evaluation.claims import Floors
from flashmd_rs.evaluation.evaluate import evaluate
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.reference.system import System
from flashmd_train.workflow.costs import ms_per_stride
from flashmd_train.workflow.run_folder import write_json

# Longest run, ps: of 1 ns the temperature of a hundred atoms is known to about 2 K.
LONGEST_PS, LONGEST_NVE_PS, LONGEST_EQUILIBRATION_PS = 1000.0, 50.0, 5.0
# Shares of the processors' time: the model in the bath, and its reference there and without a bath.
MODEL_SHARE, REFERENCE_SHARE = 0.45, 0.35
# A run without a bath, and an equilibration, as shares of the runs in the bath of model and reference.
NVE_SHARE, EQUILIBRATION_SHARE = 0.1, 0.2
# Furthest from the bath that a temperature may be, K, and a g(r), of its highest peak.
FLOORS = Floors(temperature_K=5.0, rdf=0.05)


class Lengths(NamedTuple):
    """Lengths of the runs, ps.

    Attributes:
        nvt_ps: of the model in the bath.
        nve_ps: without a bath.
        reference_ps: longest one of the reference.
        equilibration_ps: of the reference, before both.
    """

    nvt_ps: float
    nve_ps: float
    reference_ps: float
    equilibration_ps: float


def run_lengths(
    seconds: float, *, model_ps_per_s: float, reference_ps_per_s: float, asked_ps: float | None = None
) -> Lengths:
    """What fits into a time.

    Args:
        seconds: processor time, s.
        model_ps_per_s: speed of the model.
        reference_ps_per_s: speed of the reference.
        asked_ps: length of the model's run in the bath; None for as long as the time allows.
    """
    nvt = asked_ps or min(LONGEST_PS, _round(MODEL_SHARE * seconds * model_ps_per_s))
    nve = min(LONGEST_NVE_PS, _round(NVE_SHARE * nvt))
    # The reference runs in the bath and without; the latter run is cut to the length of the former.
    both = REFERENCE_SHARE * seconds * reference_ps_per_s
    reference = min(nvt, _round(max(both - nve, both / 2)))
    return Lengths(nvt, nve, reference, min(LONGEST_EQUILIBRATION_PS, _round(EQUILIBRATION_SHARE * reference)))


def evaluate_model(
    folder: Path,
    system: System,
    model: Path,
    *,
    temperature_K: float,
    timestep_fs: float,
    reference_ms_per_step: float,
    seconds: float,
    asked_ps: float | None,
    workers: int,
    anneal_K: float,
) -> Path:
    """Evaluate a model beside velocity Verlet of its reference.

    Args:
        folder: of the results; what is there is kept.
        system: with its reference.
        model: ONNX file.
        temperature_K: of the bath, K.
        timestep_fs: time step of the reference, fs.
        reference_ms_per_step: wall time of that, ms.
        seconds: wall time that this may take, s.
        asked_ps: length of the run in the bath, ps; None for as long as the time allows.
        workers: processes.
        anneal_K: the first third of the equilibration is at least this hot, K.

    Returns:
        The page.
    """
    path = folder / "lengths.json"
    if not path.exists():
        stride_ms, stride_fs = ms_per_stride(model, system.structures[0], temperature_K)
        chosen = run_lengths(
            # Model and reference run side by side where there are two processors.
            seconds * min(workers, 2),
            # fs per ms are ps per s.
            model_ps_per_s=stride_fs / stride_ms,
            reference_ps_per_s=timestep_fs / reference_ms_per_step,
            asked_ps=asked_ps,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, chosen._asdict())
    lengths = Lengths(**json.loads(path.read_text()))
    protocol = EvaluationProtocol(system=system, temperature_K=temperature_K, anneal_K=anneal_K, **lengths._asdict())
    return evaluate([str(model), f"verlet:{timestep_fs:g}"], protocol, folder, workers, FLOORS)


def _round(time_ps: float) -> float:
    """A time to two digits, at least a tenth of a picosecond."""
    return max(0.1, float(f"{time_ps:.2g}"))
