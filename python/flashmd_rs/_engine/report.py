"""Report of a run: its settings, versions, timings and counters; and the last good frame of one that failed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs._engine.plan import Plan
from flashmd_rs._engine.progress import ns_per_day
from flashmd_rs._engine.system_input import SystemInput
from flashmd_rs._structure import with_state
from flashmd_rs.describe import versions
from flashmd_rs.energies.sources import has_virial
from flashmd_rs.errors import InputError, StabilityError
from flashmd_rs.model import Model
from flashmd_rs.options import Checkpoint, Output
from flashmd_rs.writers import labels_left_out, last_good_file, write_frames

if TYPE_CHECKING:
    import ase


def run_report(
    settings: dict[str, Any], done: dict[str, Any], system: int, step: int, violations: list[dict[str, Any]]
) -> dict[str, Any]:
    """Settings and what was done, of one system.

    Args:
        settings: its :func:`settings_report`.
        done: what the core counted for all of them.
        system: its place among them.
        step: strides it has done.
        violations: the first time each quantity was out of bounds.
    """
    shared = {name: value for name, value in done.items() if name != "systems"}
    statistics = {name: value for name, value in done["systems"][system].items() if name != "failure"}
    if statistics["guard"] is not None:
        counted = dict(statistics["guard"]["strides"])
        statistics["guard"] = statistics["guard"] | {"strides": counted, "first": list(violations)}
    stride_ps = settings["stride_fs"] / 1000.0
    return {
        **settings,
        **shared,
        "time_ps": step * stride_ps,
        "ns_per_day": ns_per_day(shared["steps"] * stride_ps, shared["seconds"]),
        "statistics": statistics,
    }


def settings_report(plan: Plan, system: SystemInput) -> dict[str, Any]:
    """What one system of a run is set to; options as they are."""
    model, settings, energy = plan.model, plan.settings, plan.energy
    trajectory, saved_every = plan.outputs[system.replica].trajectory, plan.description.interval
    return {
        "model": model.name,
        "model_file": str(model.path),
        "kind": model.kind,
        "sha256": model.sha256,
        "device": model.device,
        "threads": model.threads_used,
        "threads_source": model.threads_source,
        "kernels": model.describe_kernels(),
        "stride_fs": settings.stride_fs,
        "interval": settings.interval,
        "seed": settings.seed,
        "replica": system.replica,
        "momenta": system.momenta_source,
        "temperature_K": None if settings.thermostat is None else system.temperature_K,
        "thermostat": settings.thermostat,
        "pressure_bar": None if settings.barostat is None else settings.pressure_bar,
        "barostat": settings.barostat,
        "metropolis": settings.metropolis,
        "rescale_energy": settings.rescale_energy,
        "guard": settings.guard,
        "random_rotation": settings.random_rotation,
        "trajectory": None if trajectory is None else Output(trajectory, settings.interval, settings.stress),
        "checkpoint": None if plan.checkpoint is None else Checkpoint(plan.checkpoint, saved_every),
        "energy_model": None if energy is None else energy.name,
        "bias": None if plan.bias is None else plan.bias.name,
        "has_virial": energy is not None and has_virial(energy),
        "energy_model_sha256": energy.sha256 if isinstance(energy, Model) else None,
        "versions": versions(),
    }


def with_last_good(error: StabilityError, atoms: ase.Atoms, trajectory: Path | None) -> StabilityError:
    """The core's error with its last good frame as ``ase.Atoms``, saved beside the trajectory if there is one."""
    good: Any = error.last_good
    if not isinstance(good, dict):
        return error
    frame = with_state(atoms, good["positions"], good["momenta"], good["cell"])
    details = {"step": error.step, "time_ps": error.time_ps, "atoms": error.atoms, "quantity": error.quantity}
    message = str(error)
    saved_to = None
    if trajectory is not None:
        target = last_good_file(trajectory)
        try:
            left_out = labels_left_out(target, frame)
            write_frames(target, [left_out.of(frame)], "last good frame")
        except (OSError, InputError) as failure:
            reason = failure.strerror if isinstance(failure, OSError) else failure
            message += f"; the last good frame could not be saved to {target}: {reason}"
        else:
            saved_to = str(target)
            message += f"; the last good frame is in {target}"
            message += f", without {', '.join(left_out.names())}" if left_out.items else ""
    return StabilityError(message, **details, last_good=frame, saved_to=saved_to)
