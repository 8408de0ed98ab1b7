"""One run: the core at work between the files it reads from and those it writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _core
from flashmd_rs.checkpoint import Checkpoint, Saving, text
from flashmd_rs.companion import EnergySource
from flashmd_rs.describe import run_header, versions
from flashmd_rs.errors import StabilityError
from flashmd_rs.model import Model
from flashmd_rs.progress import Progress, ns_per_day
from flashmd_rs.recorder import Files, Marks, Recorder
from flashmd_rs.settings import BAROSTAT_OPTIONS, Settings
from flashmd_rs.signals import between_strides
from flashmd_rs.structure import Start, with_state
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import open_frames

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class Plan:
    """What is to be run, every argument found good.

    Attributes:
        model: moves the atoms.
        energy: gives potential energies, or None.
        settings: the same for every system.
        structures: by replica.
        starts: the same as arrays, in the same order.
        outputs: files by replica.
        warning: said when the run begins, or None.
        marks: of each system, where the files of a run to be continued ended; empty for a new one.
    """

    model: Model
    energy: EnergySource | None
    settings: Settings
    structures: dict[int, ase.Atoms]
    starts: list[Start]
    outputs: dict[int, Files]
    warning: str | None
    marks: list[Marks]


@dataclass(frozen=True)
class Calls:
    """What the core calls.

    Attributes:
        on_begin: once everything was found good, before the first frame.
        on_frame: with each frame to keep.
        on_flag: with what the guard found.
        on_stride: between strides; what it raises ends the run, after its checkpoint is saved.
        on_progress: with the step and the temperature (K), a few times a second and at the end.
    """

    on_begin: Callable[[], None]
    on_frame: Callable[[dict[str, Any]], None]
    on_flag: Callable[[dict[str, Any]], None]
    on_stride: Callable[[], None]
    on_progress: Callable[[int, float], None]


@dataclass(frozen=True)
class Keeper:
    """Keeps checkpoints of a run.

    Attributes:
        path: the file.
        interval: strides between two of them.
        recorded: what is the same in each.
    """

    path: Path
    interval: int
    recorded: dict[str, Any]

    def saving(self, recorders: list[Recorder]) -> Saving:
        """What the core is told."""
        return Saving(
            str(self.path), self.interval, lambda: text(self.recorded, [recorder.marks() for recorder in recorders])
        )


def execute(plan: Plan, keeper: Keeper | None, saved: Checkpoint | None, progress: bool) -> list[Trajectory]:
    """Run the plan, from its beginning or from a checkpoint."""
    settings = plan.settings
    reports = [_settings_report(plan, start) for start in plan.starts]
    recorders = [
        Recorder(plan.structures[start.replica], plan.outputs[start.replica], run_header(report), start.replica)
        for start, report in zip(plan.starts, reports, strict=True)
    ]
    recorders[0].warning = plan.warning
    energy = plan.energy

    def begin() -> None:
        for recorder, marks in zip_longest(recorders, plan.marks):
            recorder.begin(marks)

    with ExitStack() as stack:
        bar = Progress(settings.steps, settings.stride_fs, progress, first=0 if saved is None else saved.step)
        stack.callback(bar.close)
        for recorder in recorders:
            stack.callback(recorder.close)
        done = _core.rollout(
            plan.model._core,
            plan.starts,
            settings,
            energy=energy._core if isinstance(energy, Model) else energy,
            calls=Calls(
                on_begin=begin,
                on_frame=lambda frame: recorders[frame["system"]](frame),
                on_flag=lambda flag: recorders[flag["system"]].flag(flag),
                on_stride=stack.enter_context(between_strides(terminate=keeper is not None)),
                on_progress=bar,
            ),
            saving=None if keeper is None else keeper.saving(recorders),
            resume=None if saved is None else str(saved.path),
        )
    accounts = done.pop("systems")
    trajectories = []
    for recorder, report, account in zip(recorders, reports, accounts, strict=True):
        failure = account.pop("failure")
        if failure is not None:
            failure = _with_last_good(failure, recorder.atoms, recorder.path)
        report |= done | account
        if report["guard"] is not None:
            report["guard"] |= {"strides": dict(report["guard"]["strides"]), "first": recorder.flags}
            report["guard"]["policy"] = settings.guard
        if report["barostat"] is not None:
            report["barostat"]["kind"] = settings.barostat
        report["time_ps"] = max(recorder.time_ps, 0.0 if saved is None else saved.step * settings.stride_fs / 1000.0)
        report["ns_per_day"] = ns_per_day(report["steps"] * settings.stride_fs / 1000.0, report["seconds"])
        trajectories.append(recorder.trajectory(settings.seed, report, failure))
    return trajectories


def _settings_report(plan: Plan, start: Start) -> dict[str, Any]:
    model, settings, energy = plan.model, plan.settings, plan.energy
    bath, coupled = settings.thermostat != "none", settings.barostat != "none"
    chosen = asdict(settings)
    del chosen["steps"]
    return {
        "model": model.name,
        "kind": model.kind,
        "sha256": model.sha256,
        "device": model.device,
        "threads": model.threads,
        **{name: value for name, value in chosen.items() if coupled or name not in BAROSTAT_OPTIONS},
        "barostat": settings.barostat,
        "replica": start.replica,
        "temperature_K": start.temperature_K if bath else None,
        "time_constant_fs": settings.time_constant_fs if bath else None,
        "rescale_energy": settings.rescale_scope or False,
        "energy_model": None if energy is None else energy.name,
        "energy_model_sha256": energy.sha256 if isinstance(energy, Model) else None,
        "versions": versions(),
    }


def _with_last_good(error: StabilityError, atoms: ase.Atoms, trajectory: Path | None) -> StabilityError:
    """The core's error with its last good frame as ``ase.Atoms``, saved beside the trajectory if there is one."""
    good: Any = error.last_good
    if not isinstance(good, dict):
        return error
    frame = with_state(atoms, good["positions"], good["momenta"], good["cell"])
    details = {"step": error.step, "time_ps": error.time_ps, "atoms": error.atoms, "quantity": error.quantity}
    message = str(error)
    saved_to = None
    if trajectory is not None:
        target = trajectory.with_name(f"{trajectory.stem}.last_good.extxyz")
        try:
            writer = open_frames(target)
            writer.write(frame)
            writer.close()
        except OSError as failure:
            message += f"; the last good frame could not be saved to {target}: {failure.strerror}"
        else:
            saved_to = str(target)
            message += f"; the last good frame is in {target}"
    return StabilityError(message, **details, last_good=frame, saved_to=saved_to)
