"""The last look of a run at its model: beside its reference, in a weak bath, for as long as the time allows."""

from __future__ import annotations

from pathlib import Path

from flashmd_rs.evaluation.claims import Floors
from flashmd_rs.evaluation.evaluate import evaluate
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.reference.system import System
from flashmd_train.workflow.costs import ms_per_stride

# Longest run, ps: of 1 ns the temperature of a hundred atoms is known to about 2 K.
LONGEST_PS, LONGEST_NVE_PS = 1000.0, 50.0
# Shares of the time: the model in the bath, its reference there, and both without a bath.
MODEL_SHARE, REFERENCE_SHARE = 0.45, 0.35
# Furthest from the bath that a temperature may be, K, and a g(r), of its highest peak.
FLOORS = Floors(temperature_K=5.0, rdf=0.05)


def evaluate_model(
    folder: Path,
    system: System,
    model: Path,
    temperature_K: float,
    reference_step: tuple[float, float],
    seconds: float,
    asked_ps: float | None,
    workers: int,
    anneal_K: float = 0.0,
) -> Path:
    """Evaluate a model beside velocity Verlet of its reference.

    Args:
        folder: of the results; what is there is kept.
        system: with its reference.
        model: ONNX file.
        temperature_K: of the bath, K.
        reference_step: time step of the reference, fs, and its wall time, ms.
        seconds: wall time that this may take, s.
        asked_ps: length of the run in the bath, ps; None for as long as the time allows.
        workers: processes.
        anneal_K: the first third of the equilibration is at least this hot, K.

    Returns:
        The page.
    """
    step_fs, step_ms = reference_step
    stride_ms, stride_fs = ms_per_stride(model, system.structures[0], temperature_K)
    # Model and reference run side by side where there are two processors.
    seconds *= min(workers, 2) / 2
    model_ps = seconds * MODEL_SHARE * 2 / stride_ms * stride_fs
    reference_ps = seconds * REFERENCE_SHARE * 2 / step_ms * step_fs
    nvt_ps = asked_ps or min(LONGEST_PS, _round(model_ps))
    protocol = EvaluationProtocol(
        system=system,
        temperature_K=temperature_K,
        nve_ps=min(LONGEST_NVE_PS, _round(0.1 * nvt_ps)),
        nvt_ps=nvt_ps,
        reference_ps=min(nvt_ps, _round(reference_ps)),
        equilibration_ps=min(5.0, _round(0.2 * reference_ps)),
        anneal_K=anneal_K,
    )
    return evaluate([str(model), f"verlet:{step_fs:g}"], protocol, folder, workers, FLOORS)


def _round(time_ps: float) -> float:
    """A time to two digits, at least a tenth of a picosecond."""
    return max(0.1, float(f"{time_ps:.2g}"))
