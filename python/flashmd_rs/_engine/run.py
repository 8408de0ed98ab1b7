"""One run: the core at work between the files it reads from and those it writes."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _core
from flashmd_rs._engine.checkpoint import CheckpointWriter, locked
from flashmd_rs._engine.plan import Plan, check_distinct
from flashmd_rs._engine.progress import Progress, ns_per_day
from flashmd_rs._engine.recorder import FileOffsets, Recorder
from flashmd_rs._engine.signals import between_strides
from flashmd_rs._engine.system_input import SystemInput
from flashmd_rs._engine.view import StateView
from flashmd_rs._structure import with_state
from flashmd_rs._warn import warn
from flashmd_rs.describe import run_header, versions
from flashmd_rs.errors import InputError, StabilityError
from flashmd_rs.model import Model
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import check_replaceable, open_frames

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class Callbacks:
    """What the core calls.

    Attributes:
        on_begin: once everything was found good, before the first frame.
        on_frame: with each frame to keep.
        on_violations: with what the guard found out of bounds.
        on_stride: between strides; what it raises ends the run, after its checkpoint is saved.
        on_progress: with the step and the temperature (K), a few times a second and at the end.
        on_observe: with the state of each system, where an observer is due; True ends the run.
        observe_intervals: strides between two calls of each observer.
    """

    on_begin: Callable[[], None]
    on_frame: Callable[[dict[str, Any]], None]
    on_violations: Callable[[dict[str, Any]], None]
    on_stride: Callable[[], None]
    on_progress: Callable[[int, float], None]
    on_observe: Callable[[dict[str, Any]], bool]
    observe_intervals: list[int]


@dataclass(frozen=True)
class _Pause:
    """Where the files of a system were closed: the offsets, and the frames kept by then."""

    offsets: FileOffsets
    frames: int


class Run:
    """A plan at work. Nothing is written before the first stride.

    Args:
        plan: what is to be run.

    Raises:
        ModelError: the model does not know a species or a mass.
        InputError: structures and options contradict each other.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._settings_reports = [_settings_report(plan, system) for system in plan.inputs]
        self.recorders = [
            Recorder(plan.structures[system.replica], plan.outputs[system.replica], run_header(report), system.replica)
            for system, report in zip(plan.inputs, self._settings_reports, strict=True)
        ]
        self.recorders[0].warning = plan.warning
        self._open = ExitStack()
        self._begun = self._closed = False
        self._lock = threading.Lock()
        self._pauses: list[_Pause] | None = None
        self._failures: dict[int, StabilityError] = {}
        self._check_signals: Callable[[], None] = _nothing
        self._show: Callable[[int, float], None] = _ignore
        saved, energy = plan.saved, plan.energy
        self._core = _core.Simulation(
            plan.model._core,
            plan.inputs,
            plan.settings,
            energy=energy._core if isinstance(energy, Model) else energy,
            callbacks=Callbacks(
                on_begin=_weak(self._begin),
                on_frame=_weak(self._record),
                on_violations=_weak(self._record_violations),
                on_stride=_weak(self._after_stride),
                on_progress=_weak(self._report_progress),
                on_observe=_weak(self._observe),
                observe_intervals=[interval for _, interval in plan.observers],
            ),
            writer=self._writer(),
            resume=None if saved is None else str(saved.path),
        )

    def hold(self, open_files: ExitStack) -> None:
        """Keep what has to stay open as long as the run is at work: the lock on its checkpoint."""
        self._open = open_files

    @property
    def step(self) -> int:
        """Strides done."""
        return self._core.step

    def advance(self, strides: int, progress: bool = False) -> bool:
        """Move every system; False if an observer ended the run or no system is left.

        Raises:
            StabilityError: the only system failed.
            KeyboardInterrupt, SystemExit: Ctrl-C and SIGTERM, after the checkpoint was saved.
            InputError: the simulation was closed.
            OSError: a file cannot be written.
        """
        if self._closed:
            raise InputError("the simulation is closed: go on from a checkpoint with Simulation.load")
        if self._begun and strides == 0:
            return not self._failures
        with self._at_work():
            self._resume_files()
            try:
                with ExitStack() as stack:
                    if progress:
                        self._show = _shown(stack, self.plan, self.step, strides)
                        stack.callback(setattr, self, "_show", _ignore)
                    terminate = self.plan.checkpoint is not None
                    self._check_signals = stack.enter_context(between_strides(terminate=terminate))
                    if not self._begun:
                        self._core.start()
                        self._begun = True
                    going = self._core.advance(strides)
                    if progress:
                        self._show_where_it_is()
            except BaseException:
                self._suspend()
                raise
        self._collect_failures()
        return going

    def _show_where_it_is(self) -> None:
        """Bring the progress bar to the step that was reached, between two calls of the core."""
        view = max(self.views(), key=lambda view: view.step)
        self._show(view.step, view.temperature_K["total"])

    def begin(self) -> None:
        """Keep the first frame and save the first checkpoint, unless that is done."""
        if not self._begun:
            self.advance(0)

    def finish(self) -> None:
        """Save the checkpoint, keep the last frame and close the files, whole; :meth:`advance` opens them again."""
        with self._at_work():
            self._finish()

    def _finish(self) -> None:
        if not self._begun or self._pauses is not None:
            return
        pauses = self._where()
        try:
            self._core.finish()
        finally:
            self._close_files(pauses)

    def close(self) -> None:
        """Finish, once and for all."""
        with self._at_work():
            try:
                self._finish()
            finally:
                self._closed = True
                self._open.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save a checkpoint at ``path``; whatever was there becomes ``PATH.previous``."""
        target = Path(path).absolute()
        check_replaceable(target, "checkpoint")
        check_distinct(target, self.plan.outputs)
        self.begin()
        with ExitStack() as stack:
            stack.enter_context(self._at_work())
            if target != self.plan.checkpoint:
                stack.enter_context(locked(target))
            self._core.save(str(target), self._describe(target))

    def views(self) -> list[StateView]:
        """The state of every system."""
        return [self._view(self._core.state(index)) for index in range(len(self.recorders))]

    def reports(self) -> list[dict[str, Any]]:
        """Settings and what was done, of every system."""
        done = self._core.statistics()
        systems = done.pop("systems")
        return [
            self._report(index, dict(done), statistics) | {"failure": self._failures.get(index)}
            for index, statistics in enumerate(systems)
        ]

    def trajectories(self) -> list[Trajectory]:
        """What was kept of every system, whole on disk."""
        self.begin()
        self.finish()
        trajectories = []
        for recorder, report in zip(self.recorders, self.reports(), strict=True):
            failure = report.pop("failure")
            trajectories.append(recorder.trajectory(self.plan.settings.seed, report, failure))
        return trajectories

    def frames_kept(self, *, last: bool = False) -> int:
        """Frames of the system with the most; without ``last``, less one off the beat that the next stride cuts off."""
        if last or self._pauses is None:
            return max(len(recorder) for recorder in self.recorders)
        return max(pause.frames for pause in self._pauses)

    def frames(self, index: int) -> list[ase.Atoms]:
        """Copies of a kept frame of every system; of one with fewer, its last."""
        indices = [min(index, len(recorder) - 1) for recorder in self.recorders]
        if any(index < len(recorder) - 1 for index, recorder in zip(indices, self.recorders, strict=True)):
            self.finish()
        return [recorder.frame(index) for index, recorder in zip(indices, self.recorders, strict=True)]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Refuse a call from a callback, or from another thread, before it touches what the call in progress uses."""
        if not self._lock.acquire(blocking=False):
            raise InputError(
                "this simulation is at work: ask it between its strides, not from one of its own callbacks, and not "
                "from another thread meanwhile"
            )
        try:
            yield
        finally:
            self._lock.release()

    # ------------------------------------------------------------------------------------------ files

    def _begin(self) -> None:
        """The core found everything good: open the files."""
        for index, recorder in enumerate(self.recorders):
            recorder.begin(self.plan.offsets[index] if self.plan.offsets else None)

    def _where(self) -> list[_Pause]:
        return [_Pause(recorder.offsets(), len(recorder)) for recorder in self.recorders]

    def _close_files(self, pauses: list[_Pause]) -> None:
        self._pauses = pauses
        with ExitStack() as stack:
            for recorder in self.recorders:
                stack.callback(recorder.close)

    def _suspend(self) -> None:
        """Close the files where they are, after an error."""
        if self._pauses is None:
            self._close_files(self._where())

    def _resume_files(self) -> None:
        """Open the files again where :meth:`finish` or an error closed them; a last frame off the beat is cut off."""
        if self._pauses is None:
            return
        pauses, self._pauses = self._pauses, None
        if self._begun:
            for recorder, pause in zip(self.recorders, pauses, strict=True):
                recorder.go_on(pause.offsets, pause.frames)

    # ------------------------------------------------------------------------------------------ checkpoints

    def _writer(self) -> CheckpointWriter | None:
        path, interval = self.plan.checkpoint, self.plan.description.interval
        if path is None or interval is None:
            return None
        describe = _weak(self._describe)
        return CheckpointWriter(str(path), interval, lambda: describe(path))

    def _describe(self, path: Path) -> str:
        """The text of a checkpoint, once the files are on disk."""
        if self._pauses is None:
            offsets = [recorder.sync() for recorder in self.recorders]
        else:
            offsets = [pause.offsets for pause in self._pauses]
        return self.plan.description.text(path, offsets)

    # ------------------------------------------------------------------------------------------ what the core calls

    def _record(self, frame: dict[str, Any]) -> None:
        self.recorders[frame["system"]](frame)

    def _record_violations(self, report: dict[str, Any]) -> None:
        self.recorders[report["system"]].on_violations(report)

    def _after_stride(self) -> None:
        self._check_signals()

    def _report_progress(self, step: int, temperature_K: float) -> None:
        self._show(step, temperature_K)

    def _view(self, state: dict[str, Any]) -> StateView:
        recorder = self.recorders[state["system"]]
        return StateView.of(state, recorder.atoms, recorder.replica)

    def _observe(self, state: dict[str, Any]) -> bool:
        """Call the observers that are due; True if one of them ends the run."""
        view = self._view(state)
        results = [observe(view) for observe, interval in self.plan.observers if view.step % interval == 0]
        return any(result is True for result in results)

    # ------------------------------------------------------------------------------------------ failures and reports

    def _collect_failures(self) -> None:
        """Take new failures of the core, with their last good frame, and warn of those that leave others running."""
        for index, statistics in enumerate(self._core.statistics()["systems"]):
            error, recorder = statistics["failure"], self.recorders[index]
            if error is None or index in self._failures:
                continue
            self._failures[index] = _with_last_good(error, recorder.atoms, recorder.path)
            if not self.plan.description.single:
                message = f"replica {recorder.replica} ended early: {self._failures[index]}"
                warn(message)
        if self.plan.description.single and 0 in self._failures:
            self.finish()
            raise self._failures[0] from None

    def _report(self, index: int, done: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
        settings, recorder = self.plan.settings, self.recorders[index]
        statistics.pop("failure")
        if statistics["guard"] is not None:
            statistics["guard"]["strides"] = dict(statistics["guard"]["strides"])
            statistics["guard"]["first"] = list(recorder.violations)
        state = self._core.state(index)
        return {
            **self._settings_reports[index],
            **done,
            "time_ps": state["step"] * settings.stride_fs / 1000.0,
            "ns_per_day": ns_per_day(done["steps"] * settings.stride_fs / 1000.0, done["seconds"]),
            "statistics": statistics,
        }


def _settings_report(plan: Plan, system: SystemInput) -> dict[str, Any]:
    model, settings, energy = plan.model, plan.settings, plan.energy
    return {
        "model": model.name,
        "kind": model.kind,
        "sha256": model.sha256,
        "device": model.device,
        "threads": model.threads,
        "stride_fs": settings.stride_fs,
        "interval": settings.interval,
        "seed": settings.seed,
        "replica": system.replica,
        "temperature_K": None if settings.thermostat is None else system.temperature_K,
        "thermostat": settings.thermostat,
        "pressure_bar": None if settings.barostat is None else settings.pressure_bar,
        "barostat": settings.barostat,
        "metropolis": settings.metropolis,
        "rescale_energy": settings.rescale_energy,
        "guard": settings.guard,
        "random_rotation": settings.random_rotation,
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


def _shown(stack: ExitStack, plan: Plan, step: int, strides: int) -> Callable[[int, float], None]:
    """A progress bar that is closed with ``stack``."""
    bar = Progress(step + strides, plan.settings.stride_fs, True, first=step)
    stack.callback(bar.close)
    return bar


def _weak(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method without a hold on its object: the core and the run would otherwise keep each other alive."""
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> Any:
        alive = reference()
        assert alive is not None  # the core is called by its run
        return alive(*arguments)

    return call


def _nothing() -> None:
    pass


def _ignore(step: int, temperature_K: float) -> None:
    pass
