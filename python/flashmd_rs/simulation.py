"""A simulation: structures, a model, and all that acts on them, moved stride by stride."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flashmd_rs import _checks
from flashmd_rs._engine.signals import between_strides, leaving_on_notice
from flashmd_rs._engine.view import StateView
from flashmd_rs._engine.wall_time import WallTime
from flashmd_rs.errors import InputError
from flashmd_rs.options import PathLike

# The machinery is imported with the first simulation, so that importing the package stays cheap.
if TYPE_CHECKING:
    from typing import Unpack

    import ase

    from flashmd_rs._engine.plan import Plan
    from flashmd_rs._engine.run import Run
    from flashmd_rs._engine.settings import ContinuationOptions, RunOptions
    from flashmd_rs.model import Model


class Simulation:
    """Molecular dynamics in the long strides of a learned model, in the hands of its caller.

    Nothing is written before the first stride, or before frames or a checkpoint are asked for. The loop itself runs in
    Rust, without Python and with the GIL released.

    Args:
        atoms: start structure, or a list of them, which run as replicas in one call of the network per stride. They are
            not changed.
        model: a model file, a bundled or fetched name (``"water"``), or an open :class:`Model`.
        options: those of :func:`flashmd_rs.rollout`, under the same names. ``steps`` or ``time_ps`` plan the length of
            the run, and may be left out: frames are then kept every 100 strides unless ``interval`` says otherwise.

    Raises:
        InputError: an argument or the structure is not usable.
        ModelError: the model is not one, or does not know the structure's species or masses.
        RuntimeLibraryError: ONNX Runtime is missing, or CUDA was asked for and is not usable.
        CheckpointError: the checkpoint to go on from is damaged, of other atoms, or of another model.
        OSError: a file cannot be read or written.

    Example:
        >>> import flashmd_rs
        >>> water = flashmd_rs.load_structure("water258")
        >>> with flashmd_rs.Simulation(water, "water", temperature_K=300, trajectory="run.extxyz") as simulation:
        ...     simulation.step(10)
        ...     print(simulation.state.temperature_K["total"])
        ...     trajectory = simulation.run(time_ps=1)
    """

    _run: Run

    def __init__(
        self, atoms: ase.Atoms | Sequence[ase.Atoms], model: PathLike | Model, **options: Unpack[RunOptions]
    ) -> None:
        from flashmd_rs._engine.plan import as_checkpoint, plan_run
        from flashmd_rs._engine.settings import Arguments

        _check_names("Simulation", options, Arguments)
        arguments = Arguments(**options)
        checkpoint = as_checkpoint(arguments.checkpoint)
        path = None if checkpoint is None else checkpoint.path
        self._open(path, lambda: plan_run(atoms, model, arguments))

    @classmethod
    def load(cls, checkpoint: PathLike, **options: Unpack[ContinuationOptions]) -> Simulation:
        """A simulation that goes on from a checkpoint, which knows everything about it, to the last bit.

        Its files are cut back to where they were at the checkpoint, and gone on with.

        Args:
            checkpoint: file that a run, or :meth:`save`, left. It goes on being written if the run wrote checkpoints.
            options: those of :func:`flashmd_rs.resume`, under the same names.

        Raises:
            CheckpointError: the checkpoint is damaged or of another model.
            InputError: the run needs what a file cannot hold, or was already longer than asked for.
            OSError: a file cannot be read or written.
        """
        from flashmd_rs._engine.plan import plan_continuation
        from flashmd_rs._engine.settings import Continuation

        _check_names("Simulation.load", options, Continuation)
        wanted = Continuation(**options)
        simulation = cls.__new__(cls)
        simulation._open(checkpoint, lambda: plan_continuation(checkpoint, wanted))
        return simulation

    def _open(self, checkpoint: PathLike | None, plan: Callable[[], Plan]) -> None:
        """Lock the checkpoint and set up the run."""
        from flashmd_rs._engine.checkpoint import locked
        from flashmd_rs._engine.run import Run

        self._signals = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(locked(checkpoint))
            self._run = Run(plan())
            self._run.hold(stack.pop_all())

    def __repr__(self) -> str:
        systems = len(self._run.recorders)
        replicas = f"{systems} replicas, " if systems > 1 else ""
        stride_fs = self._run.plan.settings.stride_fs
        return (
            f"<flashmd_rs.Simulation: {replicas}{self._run.plan.model.name}, {self.time_ps:g} ps in {stride_fs:g} fs>"
        )

    def __reduce__(self) -> Any:
        raise InputError(
            "a Simulation cannot be copied or pickled: save a checkpoint with save(path), and go on from it with "
            "Simulation.load(path)"
        )

    def __enter__(self) -> Self:
        self._signals.enter_context(leaving_on_notice(self._run.saves_checkpoints))
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        with self._signals.pop_all(), between_strides(self._run.saves_checkpoints):
            self.close()

    def __iter__(self) -> Iterator[Any]:
        """Kept frames from the first on; where a length is planned, the simulation advances as they are asked for.

        It ends with the last frame at the planned end, or where an observer ends the run. A frame is an ``ase.Atoms``,
        or for replicas a list of them, in which one that has failed stays at its last frame.
        """
        run, planned = self._run, self._run.plan.settings.steps
        run.begin()
        index, over = 0, run.ended
        while True:
            over = over or (planned is not None and self.nsteps >= planned)
            if over:
                run.finish()
            if index < run.frames_kept(last=over):
                yield self._one(run.frames(index))
                index += 1
            elif over or planned is None:
                return
            else:
                interval = run.plan.settings.interval
                over = not run.advance(min(interval - self.nsteps % interval, planned - self.nsteps))

    @property
    def ended(self) -> bool:
        """True if an observer ended the run at the last stride, or no system is left."""
        return self._run.ended

    @property
    def nsteps(self) -> int:
        """Strides done since the start of the run."""
        return self._run.step

    @property
    def time_ps(self) -> float:
        """Simulated time since the start of the run, ps."""
        return self._run.step * self._run.plan.settings.stride_fs / 1000.0

    @property
    def atoms(self) -> Any:
        """The structure as it is now, a copy with momenta; a list for replicas."""
        return self._one([view.atoms for view in self._run.views()])

    @atoms.setter
    def atoms(self, atoms: ase.Atoms | Sequence[ase.Atoms]) -> None:
        """Go on from positions, momenta and cell of other ``ase.Atoms``, a list of them for replicas.

        Atoms, masses, periodic axes and constraints are those of the run. Where energies are rescaled, what the change
        brings counts as work and is kept. Momenta that are not there are zero.

        Raises:
            InputError: other atoms, or numbers that are not finite.
        """
        if not self._single and not isinstance(atoms, Sequence):
            raise InputError(f"got {type(atoms).__name__} for atoms, wanted a list of ase.Atoms, one for each replica")
        self._run.place([atoms] if self._single else list(atoms))  # type: ignore[list-item]

    @property
    def state(self) -> Any:
        """The state as it is now, a :class:`StateView`; a list for replicas."""
        return self._one(self._run.views())

    @property
    def report(self) -> Any:
        """Settings, versions, timings and counters, a dict; a list for replicas."""
        return self._one(self._run.reports())

    @property
    def trajectory(self) -> Any:
        """Everything kept so far, a :class:`Trajectory`; its last frame is the state as it is. A list for replicas.

        Files are brought to disk whole; the next stride opens them again, and frames of an earlier trajectory that are
        still to be read from them are then lost to it. Frames in memory are shared: copy what you change.
        """
        return self._one(self._run.trajectories())

    def step(self, strides: int = 1) -> bool:
        """Move by so many strides; False if an observer ended the run before, or no system is left.

        Raises:
            StabilityError: the simulation of a single structure left the numbers it can go on from.
            InputError: not a whole number of at least 1, or the simulation is closed.
        """
        return self._run.advance(_checks.whole("strides", strides, "strides"))

    def run(
        self,
        *,
        steps: int | None = None,
        time_ps: float | None = None,
        progress: bool = True,
        wall_time_s: float | None = None,
    ) -> Any:
        """Move by so many strides, or so much time, or, with neither, to the planned end.

        Args:
            steps: strides from here on.
            time_ps: time from here on, ps, rounded up to whole strides.
            progress: show how far it is, as in :func:`flashmd_rs.rollout`.
            wall_time_s: end before so much wall time is over, s, as in :func:`flashmd_rs.rollout`.

        Returns:
            :attr:`trajectory`.

        Raises:
            StabilityError: the simulation of a single structure left the numbers it can go on from. ``last_good`` holds
                the last sound frame, which is also written beside the trajectory's file if there is one.
            InputError: no length is given and none was planned, or the simulation is closed.
        """
        from flashmd_rs._engine.settings import count_steps

        wall_time = None if wall_time_s is None else WallTime(wall_time_s)
        return self._go(count_steps(steps, time_ps, self._run.plan.settings.stride_fs), progress, wall_time)

    def _go(self, strides: int | None, progress: bool, wall_time: WallTime | None) -> Any:
        """Move by so many strides, or to the planned end."""
        if strides is None:
            planned = self._run.plan.settings.steps
            if planned is None:
                raise InputError("no length was planned: give steps (strides) or time_ps (ps)")
            strides = max(0, planned - self.nsteps)
        self._run.advance(strides, progress, wall_time)
        return self.trajectory

    def save(self, path: PathLike) -> None:
        """Save a checkpoint to go on from with :meth:`load`; one that this run saved there before is kept beside it.

        Raises:
            InputError: there is a file at ``path`` that is not this run's own checkpoint.
            OSError: the file cannot be written.
        """
        self._run.save(path)

    def close(self) -> None:
        """Keep the last frame, save the last checkpoint, finish the files and let other runs have them.

        What was measured can still be asked for.
        """
        self._run.close()

    @property
    def _single(self) -> bool:
        return self._run.plan.description.single

    def _one(self, values: list[Any]) -> Any:
        return values[0] if self._single else values


def _check_names(what: str, options: Mapping[str, Any], known: type[Any]) -> None:
    """Raise what Python raises for a keyword that a function does not take."""
    unknown = set(options) - set(known.__dataclass_fields__)
    if unknown:
        names = ", ".join(known.__dataclass_fields__)
        raise TypeError(f"{what} got an unexpected option {min(unknown)!r}; it takes {names}")


__all__ = ["Simulation", "StateView"]
