"""The main call: structures and a model in, trajectories out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from flashmd_rs._engine.wall_time import WallTime
from flashmd_rs.errors import InputError
from flashmd_rs.options import Barostat, Checkpoint, EnergyRescaling, Guard, Output, PathLike, Thermostat
from flashmd_rs.simulation import Simulation

if TYPE_CHECKING:
    from typing import Unpack

    import ase

    from flashmd_rs._engine.settings import Observer, RunOptions
    from flashmd_rs.model import Model
    from flashmd_rs.trajectory import Trajectory

    class RolloutOptions(RunOptions, total=False):
        """Keyword arguments of :func:`rollout`."""

        progress: bool
        wall_time_s: float | None


@overload
def rollout(atoms: ase.Atoms, model: PathLike | Model, **options: Unpack[RolloutOptions]) -> Trajectory: ...
@overload
def rollout(
    atoms: Sequence[ase.Atoms], model: PathLike | Model, **options: Unpack[RolloutOptions]
) -> list[Trajectory]: ...
def rollout(
    atoms: ase.Atoms | Sequence[ase.Atoms],
    model: PathLike | Model,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    temperature_K: float | Sequence[float] | None = None,
    momenta: str = "auto",
    thermostat: str | Thermostat | None = None,
    pressure_bar: float | None = None,
    barostat: str | Barostat | None = None,
    metropolis: bool = False,
    rescale_energy: bool | str | EnergyRescaling = "auto",
    guard: str | Guard = "warn",
    energy_model: Any = None,
    bias: Any = None,
    random_rotation: bool | str = "auto",
    seed: int | None = None,
    replica: int = 0,
    trajectory: PathLike | Output | None = None,
    interval: int | None = None,
    logfile: PathLike | None = None,
    checkpoint: PathLike | Checkpoint | None = None,
    resume: bool | str = False,
    observers: Sequence[Observer] = (),
    stride_fs: float | None = None,
    progress: bool = True,
    wall_time_s: float | None = None,
) -> Trajectory | list[Trajectory]:
    """Run molecular dynamics in the long strides of a learned model: a :class:`Simulation`, run to its end.

    The loop runs in Rust, without Python and with the GIL released. ``atoms`` is not changed. ``FixAtoms`` and
    ``FixCom`` on it are honoured; other constraints are refused. Device and threads are the :class:`Model`'s.

    Args:
        atoms: start structure, with any mix of periodic axes. A list of
            structures runs as replicas in one call of the network per stride; one that fails leaves the others alone.
        model: a model file, a bundled or fetched name (``"water"``), or an open :class:`Model`.
        steps: number of strides. Give exactly one of ``steps`` and ``time_ps``.
        time_ps: simulated time in ps, rounded up to whole strides.
        temperature_K: temperature of the thermostat and of drawn momenta in K, or one per replica.
        momenta: ``"structure"``: those of ``atoms``; ``"draw"``: drawn at ``temperature_K``, without net momentum;
            ``"auto"``: those of ``atoms`` unless it has none, or none but zeros where a temperature is given, and then
            drawn. ``report["momenta"]`` says where they came from.
        thermostat: None is Langevin if ``temperature_K`` is given, else none (NVE); ``"langevin"`` or
            :class:`Langevin`; ``"bussi"`` or :class:`Bussi`; ``"none"`` forces NVE.
        pressure_bar: pressure of the barostat, bar; None keeps the cell. It needs a thermostat and an energy model.
        barostat: None is ``"cell_rescaling"`` if ``pressure_bar`` is given; that or :class:`CellRescaling`;
            ``"monte_carlo"`` or :class:`MonteCarloBarostat`, which needs energies only; ``"none"``.
        metropolis: accept each stride with min(1, exp(−ΔH/k_B·T)), H by the energy model, and otherwise take it back
            and reverse the momenta (generalized hybrid Monte Carlo, Horowitz 1991): with a thermostat, the canonical
            distribution of that energy without bias, whatever the model is. For models of kind splitting, hybrid and
            action. Rejections disturb the dynamics; they are counted in the report.
        rescale_energy: keep the conserved energy by rescaling momenta after each stride: True or ``"global"``,
            ``"species"``, ``"molecule"``, an :class:`EnergyRescaling`, or False. ``"auto"``: global, in NVE with a
            direct model whose energy model is known.
        guard: what becomes of a state that the model does not know: a policy of :class:`Guard`, or one.
        energy_model: energy model file, bundled name, :class:`Model`, ASE calculator or OpenMM ``Context``. Its
            energies, and pressures where it has a virial, are recorded with each frame; None uses the one named by the
            model's metadata where one is needed.
        bias: whatever ``energy_model`` can be, with forces. These act as an impulse, half of it before each stride and
            half after (Tuckerman, Berne and Martyna, J. Chem. Phys. 97, 1990 (1992)), beside what the model does. Its
            energy is in no record, and its work is not undone by rescaling.
        random_rotation: turn the model's frame at random each stride. ``"auto"``: for direct models that are not
            equivariant.
        seed: of everything random; None draws one, kept in the result.
        replica: number of the (first) replica: replica r of a list is reproduced alone with ``replica=r``.
        trajectory: file for the frames as they come, in the format of its suffix (see :mod:`flashmd_rs.writers`), or an
            :class:`Output`. An existing file is replaced, after every argument was found good. ``{replica}`` in it
            becomes the replica's number.
        interval: strides between kept frames, default ``max(1, steps // 1000)``; the first and the last frame are
            always kept.
        logfile: file for one line per kept frame (replaced if it exists), ``"-"`` for standard output; ``{replica}`` as
            in ``trajectory``.
        checkpoint: file (safetensors) to restart from, or a :class:`Checkpoint`.
        resume: True goes on from ``checkpoint``; ``"auto"`` does if there is one, and starts anew if not. The same
            arguments then give the same bits as a run that was never stopped: trajectory and log are cut back to the
            checkpoint. ``steps`` and ``time_ps`` are those of the whole run, by default what was planned; ``seed`` and
            ``interval`` are by default those of the checkpoint. What is returned begins with the first frame after it.
        observers: pairs of a callable and a number of strides: called every so many strides with a :class:`StateView`
            of each replica; one that returns True ends the run.
        stride_fs: only checked against the model, whose stride it is.
        progress: show how far it is: a bar on a terminal and in a notebook; elsewhere, as in the log of a batch system,
            a line on standard error after 10 s, then ever more rarely, at last every five minutes.
        wall_time_s: end before so much wall time, s, from the call on, is over: between two strides, early enough for
            one more of them and a checkpoint, each as long as the longest so far. ``report["out_of_time"]`` says so.

    Returns:
        The kept frames, unwrapped, with times, temperatures, energies and a report; for a list of structures, a list.
        A replica that failed has its error in ``failure`` and the frames up to then.

    Raises:
        InputError: an argument or the structure is not usable.
        ModelError: the model is not one, or does not know the structure's species or masses.
        StabilityError: the run of a single structure left the numbers it can go on from. ``last_good`` holds the last
            sound frame, which is also written beside ``trajectory`` if that was given.
        RuntimeLibraryError: ONNX Runtime is missing, or CUDA was asked for and is not usable.
        CheckpointError: the checkpoint is damaged, of other atoms, or of another model.
        OSError: a file cannot be read or written.

    Example:
        >>> import flashmd_rs
        >>> water = flashmd_rs.load_structure("water258")
        >>> run = flashmd_rs.rollout(water, "water", time_ps=1, temperature_K=300)
        >>> run.temperature_K["O"].mean()
    """
    if steps is None and time_ps is None and not resume:
        raise InputError("give exactly one of steps (strides) and time_ps (ps)")
    wall_time = None if wall_time_s is None else WallTime(wall_time_s)
    with Simulation(
        atoms,
        model,
        steps=steps,
        time_ps=time_ps,
        temperature_K=temperature_K,
        momenta=momenta,
        thermostat=thermostat,
        pressure_bar=pressure_bar,
        barostat=barostat,
        metropolis=metropolis,
        rescale_energy=rescale_energy,
        guard=guard,
        energy_model=energy_model,
        bias=bias,
        random_rotation=random_rotation,
        seed=seed,
        replica=replica,
        trajectory=trajectory,
        interval=interval,
        logfile=logfile,
        checkpoint=checkpoint,
        resume=resume,
        observers=observers,
        stride_fs=stride_fs,
    ) as simulation:
        result: Trajectory | list[Trajectory] = simulation._go(None, progress, wall_time)
        return result


def resume(
    checkpoint: PathLike,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    temperature_K: float | Sequence[float] | None = None,
    seed: int | None = None,
    trajectory: PathLike | Output | None = None,
    interval: int | None = None,
    logfile: PathLike | None = None,
    model: PathLike | Model | None = None,
    energy_model: Any = None,
    bias: Any = None,
    allow_other_model: bool = False,
    observers: Sequence[Observer] = (),
    progress: bool = True,
    wall_time_s: float | None = None,
) -> Trajectory | list[Trajectory]:
    """Go on with a run from its checkpoint: ``Simulation.load(checkpoint, …).run()``.

    What is given is what later checkpoints hold; with nothing given the run goes on to the last bit as if it had not
    stopped.

    Args:
        checkpoint: file that a run left, which knows everything about it.
        steps: strides of the whole run; None (and no ``time_ps``) is the end that was planned.
        time_ps: simulated time of the whole run, ps.
        temperature_K: another temperature of the thermostat from here on, K, or one per replica. The conserved energy
            goes on without a jump.
        seed: another seed from here on.
        trajectory: another file for the frames from here on, which begins with the first one after the checkpoint; the
            one before is left as it is. An existing file is replaced, as by :func:`rollout`. The old name begins a new
            file if the old one was moved away. ``Output(None)`` goes on with the file that the run has, if any, and
            else keeps the last frame alone.
        interval: another number of strides between kept frames from here on; those at its multiples are kept.
        logfile: another file for the log from here on, as ``trajectory``.
        model: the model's file, if it has moved, or an open :class:`Model`.
        energy_model: as in :func:`rollout`; needed where it was an ASE calculator or an OpenMM ``Context``.
        bias: likewise.
        allow_other_model: go on with another model than the checkpoint was made with.
        observers: as in :func:`rollout`; a checkpoint does not hold them.
        progress: show how far it is, as in :func:`rollout`.
        wall_time_s: end before so much wall time, s, is over, as in :func:`rollout`.

    Returns:
        As :func:`rollout`, from the first frame after the checkpoint on.

    Raises:
        CheckpointError: the checkpoint is damaged or of another model.
        InputError: the run needs what a file cannot hold, or was already longer than asked for.
        OSError: a file cannot be read or written, or the one to go on with is missing.
    """
    wall_time = None if wall_time_s is None else WallTime(wall_time_s)
    with Simulation.load(
        checkpoint,
        steps=steps,
        time_ps=time_ps,
        temperature_K=temperature_K,
        seed=seed,
        trajectory=trajectory,
        interval=interval,
        logfile=logfile,
        model=model,
        energy_model=energy_model,
        bias=bias,
        allow_other_model=allow_other_model,
        observers=observers,
    ) as simulation:
        result: Trajectory | list[Trajectory] = simulation._go(None, progress, wall_time)
        return result
