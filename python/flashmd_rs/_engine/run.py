"""Run of a plan: the core at work between the files it reads from and those it writes."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs import _core
from flashmd_rs._engine.checkpoint import CheckpointWriter, checkpoint_text, locked
from flashmd_rs._engine.memory import check_memory
from flashmd_rs._engine.plan import Plan, check_distinct
from flashmd_rs._engine.progress import Progress
from flashmd_rs._engine.recorder import FileOffsets, Recorder, left_out_warning
from flashmd_rs._engine.refused_atoms import with_label
from flashmd_rs._engine.report import run_report, settings_report, with_last_good
from flashmd_rs._engine.signals import between_strides
from flashmd_rs._engine.view import StateView
from flashmd_rs._engine.wall_time import WallTime
from flashmd_rs._structure import check_same_atoms
from flashmd_rs._warn import warn
from flashmd_rs.describe import run_header
from flashmd_rs.errors import InputError, ModelError, StabilityError
from flashmd_rs.model import Model
from flashmd_rs.options import check_path
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import check_replaceable

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of the core.

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
    """Run of a plan. Nothing is written before the first stride.

    Args:
        plan: what is to be run.

    Attributes:
        plan: the same.
        recorders: of the systems, in their order.
        ended: True if an observer ended the run, or no system is left.
        out_of_time: True if its wall time ended the last :meth:`advance`.

    Raises:
        ModelError: the model does not know a species or a mass.
        InputError: structures and options contradict each other.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._settings_reports = [settings_report(plan, system) for system in plan.inputs]
        self.recorders = [
            Recorder(
                plan.structures[system.replica],
                plan.outputs[system.replica],
                run_header(report),
                system.replica,
                pressure=report["has_virial"],
                stress=plan.settings.stress,
                keeps_frames=plan.keeps_frames,
            )
            for system, report in zip(plan.inputs, self._settings_reports, strict=True)
        ]
        self.recorders[0].warning = plan.warning
        self._open = ExitStack()
        self._begun = self._closed = self.ended = self.out_of_time = False
        self._own_checkpoints = {path for path in (self._locked_checkpoint(),) if path is not None}
        self._lock = threading.Lock()
        self._pauses: list[_Pause] | None = None
        self._failures: dict[int, StabilityError] = {}
        self._check_signals: Callable[[], None] = _nothing
        self._wall_time: WallTime | None = None
        self._checked_bytes = 0
        self._show: Callable[[int, float], None] = _ignore
        try:
            self._core = self._open_core()
        except ModelError as error:
            raise with_label(error, plan.structures.values(), plan.model) from None
        for message in dict.fromkeys(message for system in plan.inputs for message in system.warnings):
            warn(message)

    def _open_core(self) -> _core.Simulation:
        plan = self.plan
        saved, energy, bias = plan.saved, plan.energy, plan.bias
        return _core.Simulation(
            plan.model._core,
            plan.inputs,
            plan.settings,
            energy=energy._core if isinstance(energy, Model) else energy,
            bias=bias._core if isinstance(bias, Model) else bias,
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

    @property
    def saves_checkpoints(self) -> bool:
        """True if the run saves checkpoints as it goes."""
        return self.plan.checkpoint is not None

    def hold(self, open_files: ExitStack) -> None:
        """Keep what has to stay open as long as the run is at work: the lock on its checkpoint."""
        self._open = open_files

    @property
    def step(self) -> int:
        """Strides done."""
        return self._core.step

    def advance(self, strides: int, progress: bool = False, wall_time: WallTime | None = None) -> bool:
        """Move every system; False if an observer ended the run or no system is left.

        Raises:
            StabilityError: the only system failed.
            KeyboardInterrupt, SystemExit: Ctrl-C and the notices of batch systems, after the checkpoint was saved.
            InputError: the simulation was closed, or its frames do not fit into memory.
            OSError: a file cannot be written.
        """
        if self._closed:
            raise InputError("the simulation is closed: go on from a checkpoint with Simulation.load")
        if self._begun and strides == 0:
            return not self.ended
        with self._at_work():
            self._check_memory(strides)
            self._resume_files()
            self._wall_time, self.out_of_time, target = wall_time, False, self.step + strides
            try:
                with ExitStack() as stack:
                    if progress:
                        self._show = _shown(stack, self.plan, self.step, strides)
                        stack.callback(setattr, self, "_show", _ignore)
                    self._check_signals = stack.enter_context(between_strides(self.saves_checkpoints))
                    try:
                        if wall_time is not None:
                            wall_time.begin()
                        if not self._begun:
                            self._core.start()
                            self._begun = True
                        self._check_time()
                        self.ended = not self._core.advance(strides)
                    except _OutOfTime:
                        self.out_of_time = self.step < target
                    except BaseException:
                        # Notices are still held: the next one must not end the program while files are closed.
                        self._suspend()
                        raise
                    if progress:
                        self._show_where_it_is()
            except BaseException:
                self._suspend()
                raise
        self._collect_failures()
        return not self.ended

    def _check_memory(self, strides: int) -> None:
        """Say what the frames will take, or refuse; where the run is stepped, again at twice as much."""
        new, energies = strides // self.plan.settings.interval + 2, self.plan.energy is not None
        needed = sum((len(recorder) + new) * recorder.frame_bytes(energies) for recorder in self.recorders)
        if needed > self._checked_bytes:
            in_memory = self.recorders[0].keeps_frames
            remedy = "give trajectory=FILE, Output(None), which keeps the last alone, or " if in_memory else "give "
            check_memory(needed, f"{remedy}a larger interval than {self.plan.settings.interval}")
            self._checked_bytes = 2 * needed

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
                for recorder in self.recorders:
                    recorder.release()
                self._open.close()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save a checkpoint at ``path``, where there is none yet but this run's own."""
        check_path("checkpoint", path)
        target = Path(os.path.realpath(path))
        check_replaceable(target, "checkpoint")
        check_distinct(target, self.plan.outputs)
        if target.exists() and target not in self._own_checkpoints:
            raise InputError(f"there is a file already, {target}: save to another, or remove it")
        self.begin()
        with ExitStack() as stack:
            stack.enter_context(self._at_work())
            if self._closed or target != self._locked_checkpoint():
                stack.enter_context(locked(target))
            self._core.save(str(target), self._describe(self.plan.description.record(target.parent)))
        self._own_checkpoints.add(target)

    def _locked_checkpoint(self) -> Path | None:
        """The checkpoint that is locked as long as the run is open."""
        path = self.plan.checkpoint if self.plan.saved is None else self.plan.saved.path
        return None if path is None else Path(os.path.realpath(path))

    def views(self) -> list[StateView]:
        """The state of every system."""
        return [self._view(self._core.state(index)) for index in range(len(self.recorders))]

    def place(self, structures: list[ase.Atoms]) -> None:
        """Put every system where a host program has moved it.

        Raises:
            InputError: they are other atoms than those of the run, or cannot be placed so.
        """
        if len(structures) != len(self.recorders):
            raise InputError(f"got {len(structures)} structures, wanted one for each of {len(self.recorders)} replicas")
        for atoms, recorder in zip(structures, self.recorders, strict=True):
            check_same_atoms(atoms, recorder.atoms)
        with self._at_work():
            for index, atoms in enumerate(structures):
                if index in self._failures:  # it stays at its last good frame
                    continue
                self._core.place(
                    index,
                    np.ascontiguousarray(atoms.positions, dtype=np.float64),
                    np.ascontiguousarray(atoms.get_momenta(), dtype=np.float64),
                    np.ascontiguousarray(atoms.cell.array, dtype=np.float64),
                    np.array(atoms.pbc, dtype=bool),
                )

    @property
    def failures(self) -> Mapping[int, StabilityError]:
        """What ended systems before the others, by their number."""
        return self._failures

    def reports(self) -> list[dict[str, Any]]:
        """Settings and what was done, of every system."""
        done = self._core.statistics() | {"ended": self.ended, "out_of_time": self.out_of_time}
        return [
            run_report(self._settings_reports[index], done, index, self._core.state(index)["step"], recorder.violations)
            | {"failure": self._failures.get(index)}
            for index, recorder in enumerate(self.recorders)
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
        """The core found everything good: open the files, none before all of them are this run's."""
        warning = left_out_warning(self.recorders)
        if warning is not None:
            warn(warning)
        offsets: list[FileOffsets] | list[None] = self.plan.offsets or [None] * len(self.recorders)
        for recorder, ends in zip(self.recorders, offsets, strict=True):
            recorder.lock(ends)
        for recorder, ends in zip(self.recorders, offsets, strict=True):
            recorder.begin(ends)

    def _where(self) -> list[_Pause]:
        return [_Pause(recorder.offsets(), len(recorder)) for recorder in self.recorders]

    def _close_files(self, pauses: list[_Pause]) -> None:
        self._pauses = pauses
        with ExitStack() as stack:
            for recorder in self.recorders:
                if not self._begun:
                    stack.callback(recorder.release)
                stack.callback(recorder.close)

    def _suspend(self) -> None:
        """Close the files where they are, after an error."""
        if self._pauses is None:
            self._close_files(self._where())

    def _resume_files(self) -> None:
        """Open the files again where :meth:`finish` or an error closed them; a last frame off the beat is cut off."""
        if self._pauses is None:
            return
        if self._begun:
            try:
                for recorder, pause in zip(self.recorders, self._pauses, strict=True):
                    recorder.lock(pause.offsets)
                for recorder, pause in zip(self.recorders, self._pauses, strict=True):
                    recorder.go_on(pause.offsets, pause.frames)
            except BaseException:
                self._close_files(self._pauses)
                raise
        self._pauses = None

    # ------------------------------------------------------------------------------------------ checkpoints

    def _writer(self) -> CheckpointWriter | None:
        path, interval = self.plan.checkpoint, self.plan.description.interval
        if path is None or interval is None:
            return None
        describe, record = _weak(self._describe), self.plan.description.record(path.parent)
        return CheckpointWriter(str(path), interval, lambda: describe(record))

    def _describe(self, record: dict[str, Any]) -> str:
        """The text of a checkpoint, once the files are on disk."""
        if self._pauses is None:
            offsets = [recorder.sync() for recorder in self.recorders]
        else:
            offsets = [pause.offsets for pause in self._pauses]
        return checkpoint_text(record, offsets)

    # ------------------------------------------------------------------------------------------ what the core calls

    def _record(self, frame: dict[str, Any]) -> None:
        if self._kept_before(frame["step"]):
            return
        self.recorders[frame["system"]](frame)

    def _record_violations(self, report: dict[str, Any]) -> None:
        self.recorders[report["system"]].on_violations(report)

    def _kept_before(self, step: int) -> bool:
        """True for the frame of the checkpoint gone on from, if it was kept; the interval may be another by now."""
        saved = self.plan.saved
        return saved is not None and step == saved.step and step % saved.settings.interval == 0

    def _after_stride(self) -> None:
        self._check_signals()
        self._check_time()

    def _check_time(self) -> None:
        if self._wall_time is not None and self._wall_time.is_up():
            raise _OutOfTime

    def _report_progress(self, step: int, temperature_K: float) -> None:
        self._show(step, temperature_K)

    def _view(self, state: dict[str, Any]) -> StateView:
        recorder = self.recorders[state["system"]]
        return StateView.of(state, recorder.atoms, recorder.replica)

    def _observe(self, state: dict[str, Any]) -> bool:
        """Call the observers that are due; True if one of them ends the run."""
        view = self._view(state)
        results = [observe(view) for observe, interval in self.plan.observers if view.step % interval == 0]
        # Conditions on arrays are numpy's booleans.
        return any(isinstance(result, bool | np.bool_) and bool(result) for result in results)

    # ------------------------------------------------------------------------------------------ failures and reports

    def _collect_failures(self) -> None:
        """Take new failures of the core, with their last good frame, and warn of those that leave others running."""
        for index, statistics in enumerate(self._core.statistics()["systems"]):
            error, recorder = statistics["failure"], self.recorders[index]
            if error is None or index in self._failures:
                continue
            self._failures[index] = with_last_good(error, recorder.atoms, recorder.path)
            if not self.plan.description.single:
                message = f"replica {recorder.replica} ended early: {self._failures[index]}"
                warn(message)
        if self.plan.description.single and 0 in self._failures:
            self.finish()
            for recorder in self.recorders:
                recorder.release()
            raise self._failures[0] from None


class _OutOfTime(Exception):
    """Ends the core's loop as an interrupt does, its checkpoint saved."""


def _shown(stack: ExitStack, plan: Plan, step: int, strides: int) -> Callable[[int, float], None]:
    """What shows the progress, and is closed with ``stack``."""
    shown = Progress(step + strides, plan.settings.stride_fs, first=step)
    stack.callback(shown.close)
    return shown


def _weak(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method without a hold on its object: a run that nobody has any more lets go of its checkpoint at once."""
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
