"""The main call: structures and a model in, trajectories out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from flashmd_rs.checkpoint import (
    PROGRAM,
    Checkpoint,
    check_checkpoint_path,
    locked,
    previous,
    read_checkpoint,
    record,
    set_aside,
    siblings,
)
from flashmd_rs.companion import EnergySource, companion_model, energy_source
from flashmd_rs.describe import drift_at_export
from flashmd_rs.errors import CheckpointError, FlashMDWarning, InputError, ModelError
from flashmd_rs.model import Model, check_device, check_threads
from flashmd_rs.recorder import Files, Marks
from flashmd_rs.run import Keeper, Plan, execute
from flashmd_rs.settings import Settings, settle, settle_checkpoint_interval
from flashmd_rs.structure import Start, constraints, geometry, momenta
from flashmd_rs.temperature import draw_momenta, internal_momenta
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import check_trajectory_path, check_writable

if TYPE_CHECKING:
    import ase

PathLike = str | os.PathLike[str]


@overload
def rollout(atoms: ase.Atoms, model: PathLike | Model, **options: Any) -> Trajectory: ...
@overload
def rollout(atoms: Sequence[ase.Atoms], model: PathLike | Model, **options: Any) -> list[Trajectory]: ...
def rollout(  # type: ignore[misc]  # the overloads leave the options to this signature
    atoms: ase.Atoms | Sequence[ase.Atoms],
    model: PathLike | Model,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    temperature_K: float | Sequence[float] | None = None,
    thermostat: str | None = None,
    time_constant_fs: float = 100,
    metropolis: bool = False,
    pressure_bar: float | None = None,
    barostat: str | None = None,
    barostat_time_constant_fs: float = 2000,
    barostat_interval: int = 10,
    barostat_coupling: str = "isotropic",
    compressibility_per_bar: float = 4.5e-5,
    rescale_energy: bool | str = "auto",
    rescale_fallback: str = "stop",
    rescale_limit: float = 0.25,
    guard: str = "warn",
    guard_fallback_strides: int = 1,
    guard_timestep_fs: float = 0.5,
    collected: PathLike | None = None,
    random_rotation: bool | str = "auto",
    seed: int | None = None,
    replica: int = 0,
    energy_model: Any = None,
    trajectory: PathLike | None = None,
    interval: int | None = None,
    logfile: PathLike | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_interval: int | None = None,
    resume: bool | str = False,
    allow_other_model: bool = False,
    progress: bool = True,
    stride_fs: float | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Trajectory | list[Trajectory]:
    """Run molecular dynamics in the long strides of a learned model.

    The loop runs in Rust, without Python and with the GIL released. ``atoms`` is not changed. ``FixAtoms`` and
    ``FixCom`` on it are honoured; other constraints are refused.

    Args:
        atoms: start structure, with any mix of periodic axes. Momenta are taken from it if it has them. A list of
            structures runs as replicas in one call of the network per stride; one that fails leaves the others alone.
        model: a model file, a bundled name (``"water"``), or an open :class:`Model`.
        steps: number of strides. Give exactly one of ``steps`` and ``time_ps``.
        time_ps: simulated time in ps, rounded up to whole strides.
        temperature_K: temperature of the thermostat in K, or one per replica. If ``atoms`` has no momenta, they are
            drawn at this temperature, without net momentum.
        thermostat: None is Langevin if ``temperature_K`` is given, else none (NVE); ``"langevin"``; ``"bussi"``
            (stochastic velocity rescaling); ``"none"`` forces NVE.
        time_constant_fs: relaxation time of the thermostat, fs.
        metropolis: accept each stride with min(1, exp(−ΔH/k_B·T)), H by the energy model, and otherwise take it back
            and reverse the momenta (generalized hybrid Monte Carlo, Horowitz 1991): with a thermostat, the canonical
            distribution of that energy without bias, whatever the model is. For models of kind splitting, hybrid and
            action. Rejections disturb the dynamics; their count is in ``report["metropolis"]``.
        pressure_bar: pressure of the barostat, bar; None keeps the cell. It needs a thermostat and an energy model.
        barostat: None is ``"cell_rescaling"`` (stochastic) if ``pressure_bar`` is given; ``"monte_carlo"`` needs
            energies only; ``"none"``. Both move whole molecules, found once by covalent radii.
        barostat_time_constant_fs: relaxation time of the volume under cell rescaling, fs.
        barostat_interval: strides between moves of the barostat.
        barostat_coupling: ``"isotropic"``, or ``"anisotropic"``: the lengths along x, y and z change independently.
        compressibility_per_bar: isothermal compressibility, 1/bar, from which the barostat takes its step; the default
            is that of water. A wrong one changes how fast the volume moves, not where it goes.
        rescale_energy: keep the conserved energy by rescaling momenta after each stride: True or ``"global"``,
            ``"species"``, ``"molecule"``, or False. ``"auto"``: global, in NVE with a direct model whose energy model
            is known.
        rescale_fallback: what happens where a stride cannot be rescaled: ``"stop"`` raises, ``"skip"`` leaves it,
            ``"clamp"`` goes to the limit; what is left is corrected later. Each is counted in the report.
        rescale_limit: largest |α − 1| of a stride's factor α on the momenta.
        guard: what becomes of a state that the model's metadata does not cover (pair distances, momenta, neighbour
            counts, density, temperature, the model's own uncertainty) or that explodes, freezes or evaporates:
            ``"warn"`` says it once per quantity and goes on; ``"collect"`` also keeps the structure in ``collected``
            for relabelling; ``"stop"`` raises; ``"fallback"`` takes the stride back and does it and the next by
            velocity Verlet with the energy model; ``"off"`` looks at nothing but numbers that are not finite. All are
            counted in ``report["guard"]``.
        guard_fallback_strides: strides done by velocity Verlet after a stride out of bounds.
        guard_timestep_fs: its time step, fs.
        collected: file for the structures of ``guard="collect"``, one each time a quantity leaves its bounds; formats
            and ``{replica}`` as for ``trajectory``.
        random_rotation: turn the model's frame at random each stride. ``"auto"``: for direct models that are not
            equivariant.
        seed: of everything random; None draws one, kept in the result.
        replica: number of the (first) replica: replica r of a list is reproduced alone with ``replica=r``.
        energy_model: energy model file, bundled name, :class:`Model`, ASE calculator or OpenMM ``Context``. Its
            energies are recorded with each frame; None uses the companion named by the model's metadata where one is
            needed.
        trajectory: file for the frames as they come, in the format of its suffix (see :mod:`flashmd_rs.writers`). An
            existing file is replaced, after every argument was found good. ``{replica}`` in it becomes the replica's
            number.
        interval: strides between kept frames, default ``max(1, steps // 1000)``; the first and the last frame are
            always kept.
        logfile: file for one line per kept frame (replaced if it exists), ``"-"`` for standard output; ``{replica}`` as
            in ``trajectory``.
        checkpoint: file (safetensors) to restart from, saved at the start, every ``checkpoint_interval`` strides, at
            the end, and, in the main thread, on Ctrl-C and SIGTERM (which then exits with 143). Always whole; the one
            before it is kept as ``NAME.previous``. One that exists already is never replaced by a run that does not go
            on from it.
        checkpoint_interval: strides between checkpoints, default ``min(1000, max(1, steps // 10))``.
        resume: True goes on from ``checkpoint``; ``"auto"`` does if there is one, and starts anew if not. The same
            arguments then give the same bits as a run that was never stopped: trajectory and log are cut back to the
            checkpoint. ``steps`` and ``time_ps`` are those of the whole run, by default what was planned; ``seed`` and
            ``interval`` are by default those of the checkpoint. What is returned begins with the first frame after it.
        allow_other_model: go on with another model, or energy model, than the checkpoint was made with.
        progress: show a progress bar where standard error is a terminal.
        stride_fs: only checked against the model, whose stride it is.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: threads of the network on the CPU; None uses every core.

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
    check_device(device)
    check_threads(threads)
    structures = _structures(atoms, replica)
    if (guard == "collect") != (collected is not None):
        raise InputError(
            "guard='collect' and collected, the file for the structures, go together: give both or neither"
        )
    files = Files(trajectory, logfile, collected)
    outputs = {r: _check_outputs(files, r, len(structures) > 1) for r in structures}
    _check_distinct(checkpoint, outputs)
    with locked(checkpoint):
        saved = _find_checkpoint(checkpoint, resume)
        opened = _open(model, device, threads)
        if saved is not None:
            _check_model(saved, opened, allow_other_model)
            if steps is None and time_ps is None:
                steps = saved.arguments["steps"]
            seed = saved.arguments["seed"] if seed is None else seed
            interval = saved.arguments["interval"] if interval is None else interval
            stride_fs = saved.arguments["stride_fs"] if stride_fs is None else stride_fs
        settings = settle(
            opened,
            len(structures),
            steps=steps,
            time_ps=time_ps,
            temperature_K=temperature_K,
            thermostat=thermostat,
            time_constant_fs=time_constant_fs,
            metropolis=metropolis,
            pressure_bar=pressure_bar,
            barostat=barostat,
            barostat_time_constant_fs=barostat_time_constant_fs,
            barostat_interval=barostat_interval,
            barostat_coupling=barostat_coupling,
            compressibility_per_bar=compressibility_per_bar,
            rescale_energy=rescale_energy,
            rescale_fallback=rescale_fallback,
            rescale_limit=rescale_limit,
            guard=guard,
            guard_fallback_strides=guard_fallback_strides,
            guard_timestep_fs=guard_timestep_fs,
            random_rotation=random_rotation,
            seed=seed,
            interval=interval,
            stride_fs=stride_fs,
        )
        every = settle_checkpoint_interval(checkpoint_interval, settings.steps)
        starts = _starts(structures, settings)
        energy = energy_source(energy_model, structures, opened) if energy_model is not None else None
        energy, scope, warning = _decide_energy(opened, settings, energy)
        settings = replace(settings, rescale_scope=scope)
        marks = [] if saved is None else _marks(saved, files)
        plan = Plan(opened, energy, settings, structures, starts, outputs, warning, marks)
        if saved is not None:
            _check_continuation(saved, settings, energy, allow_other_model)
        single = not isinstance(atoms, Sequence)
        keeper = None
        if checkpoint is not None:
            arguments = settings.arguments() | {
                "model": opened,
                "energy_model": energy,
                **asdict(files),
                "checkpoint_interval": every,
                "replica": min(structures),
                "stride_fs": settings.stride_fs,
                "device": opened.device,
                "threads": opened.threads,
            }
            target = Path(checkpoint).absolute()
            molecules = settings.uses_molecules or (saved is not None and saved.molecules)
            recorded = record(arguments, target, list(structures.values()), single=single, molecules=molecules)
            keeper = Keeper(target, every, recorded)
        return _result(execute(plan, keeper, saved, progress), single)


def resume(
    checkpoint: PathLike,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    seed: int | None = None,
    model: PathLike | Model | None = None,
    allow_other_model: bool = False,
    energy_model: Any = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Trajectory | list[Trajectory]:
    """Go on with a run from its checkpoint, which knows everything about it.

    Args:
        checkpoint: the file.
        steps: strides of the whole run; None (and no ``time_ps``) is the end that was planned.
        time_ps: simulated time of the whole run, ps.
        seed: another seed from here on.
        model: the model's file, if it has moved.
        allow_other_model: go on with another model than the checkpoint was made with.
        energy_model: as in :func:`rollout`; needed where it was an ASE calculator or an OpenMM ``Context``.
        device: as in :func:`rollout`, by default what the run was given.
        threads: as in :func:`rollout`, by default what the run was given.
        progress: show a progress bar where standard error is a terminal.

    Returns:
        As :func:`rollout`, from the first frame after the checkpoint on.

    Raises:
        CheckpointError: the checkpoint is damaged or of another model.
        InputError: the run needs what a file cannot hold, or was already longer than asked for.
        OSError: a file cannot be read or written.
    """
    saved = read_checkpoint(checkpoint)
    given = {"seed": seed, "model": model, "energy_model": energy_model, "device": device, "threads": threads}
    arguments = saved.arguments | {name: value for name, value in given.items() if value is not None}
    if steps is not None or time_ps is not None:
        arguments |= {"steps": steps, "time_ps": time_ps}
    energy = arguments["energy_model"]
    if isinstance(energy, str) and energy.startswith(PROGRAM):
        raise InputError(
            f"the run takes its energies from {energy.removeprefix(PROGRAM)}, which no file can hold: go on with it "
            "from Python, flashmd_rs.resume(checkpoint, energy_model=…)"
        )
    return rollout(
        saved.structures[0] if saved.single else saved.structures,
        **arguments,
        checkpoint=checkpoint,
        resume=True,
        allow_other_model=allow_other_model,
        progress=progress,
    )


def _check_distinct(checkpoint: PathLike | None, outputs: dict[int, Files]) -> None:
    """Refuse two outputs in one file."""
    seen = set() if checkpoint is None else {os.path.realpath(path) for path in siblings(Path(checkpoint))}
    for path in (path for files in outputs.values() for path in asdict(files).values()):
        if path is None or path == "-":
            continue
        if os.path.realpath(path) in seen:
            raise InputError(f"two outputs of the run are the same file: {path}")
        seen.add(os.path.realpath(path))


def _find_checkpoint(checkpoint: PathLike | None, resume: bool | str) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one to go on from."""
    if not isinstance(resume, bool) and resume != "auto":
        raise InputError(f"got resume={resume!r}, wanted True, False or 'auto'")
    if checkpoint is None:
        if resume:
            raise InputError("resume needs the checkpoint to go on from: give checkpoint")
        return None
    target = check_checkpoint_path(checkpoint, bool(resume))
    if not resume or (resume == "auto" and not any(file.exists() for file in (target, previous(target)))):
        return None
    saved = read_checkpoint(target)
    if saved.passed_over is not None:
        warnings.warn(saved.passed_over, FlashMDWarning, stacklevel=3)
        set_aside(target)
    return saved


def _check_model(saved: Checkpoint, model: Model, allow_other: bool) -> None:
    if saved.model_sha256 != model.sha256 and not allow_other:
        raise CheckpointError(
            f"{saved.path} was made with the model of SHA-256 {saved.model_sha256}, {model.name} is {model.sha256}: "
            "give that model, or allow_other_model=True"
        )


def _check_continuation(saved: Checkpoint, settings: Settings, energy: EnergySource | None, allow_other: bool) -> None:
    """Refuse what a checkpoint cannot be continued to."""
    if settings.steps < saved.step:
        raise InputError(
            f"{saved.path} is at step {saved.step}, beyond the {settings.steps} strides asked for: steps and time_ps "
            "are those of the whole run"
        )
    sha256 = energy.sha256 if isinstance(energy, Model) else None
    if None not in (sha256, saved.energy_sha256) and sha256 != saved.energy_sha256 and not allow_other:
        raise CheckpointError(
            f"{saved.path} was made with the energy model of SHA-256 {saved.energy_sha256}, this one is {sha256}: give "
            "that model, or allow_other_model=True"
        )
    if settings.uses_molecules and not saved.molecules:
        raise InputError(
            f"{saved.path} is of a run that did not look for molecules, which a barostat and rescaling per molecule "
            "need from the start: begin a new run from its last frame"
        )


def _marks(saved: Checkpoint, files: Files) -> list[Marks]:
    """Where the files ended that the run goes on with; others begin anew."""
    given = asdict(files).items()
    others = {name for name, path in given if path is None or saved.arguments[name] != os.path.realpath(path)}
    return [marks | dict.fromkeys(others) for marks in saved.marks]


def _result(trajectories: list[Trajectory], single: bool) -> Trajectory | list[Trajectory]:
    """One trajectory, or all of them with a warning of those that failed."""
    if single:
        if trajectories[0].failure is not None:
            raise trajectories[0].failure from None
        return trajectories[0]
    for run in trajectories:
        if run.failure is not None:
            message = f"replica {run.report['replica']} ended early: {run.failure}"
            warnings.warn(message, FlashMDWarning, stacklevel=3)
    return trajectories


def _structures(atoms: ase.Atoms | Sequence[ase.Atoms], first: int) -> dict[int, ase.Atoms]:
    """The structures of a run by replica."""
    if isinstance(first, bool) or not hasattr(first, "__index__") or not 0 <= first < 2**63:
        raise InputError(f"got replica={first!r}, wanted a whole number, at least 0")
    if not isinstance(atoms, Sequence):
        return {int(first): atoms}
    if not atoms:
        raise InputError("got an empty list of structures: wanted at least one ase.Atoms")
    return {int(first) + k: structure for k, structure in enumerate(atoms)}


def _starts(structures: dict[int, ase.Atoms], settings: Settings) -> list[Start]:
    kelvin: Sequence[float | None] = settings.temperature_K or [None] * len(structures)
    return [_start(atoms, r, t, settings.seed) for (r, atoms), t in zip(structures.items(), kelvin, strict=True)]


def _start(atoms: ase.Atoms, replica: int, temperature_K: float | None, seed: int) -> Start:
    from ase.data import covalent_radii

    where = geometry(atoms)
    held = constraints(atoms)
    start = momenta(atoms)
    if start is None:
        if temperature_K is None:
            raise InputError(
                "the structure has no momenta and no temperature was given: set temperature_K, or momenta on the "
                "structure"
            )
        start = draw_momenta(where.masses, temperature_K, seed, replica=replica, fixed=held.fixed)
    if held.centre_of_mass:
        start = internal_momenta(start, where.masses)
    radii = covalent_radii[np.clip(where.numbers, 0, len(covalent_radii) - 1)]
    parts = {name: getattr(where, name) for name in where.__dataclass_fields__}
    return Start(
        **parts,
        momenta=start,
        fixed=held.fixed,
        bond_radii=radii,
        replica=replica,
        temperature_K=temperature_K,
    )


def _open(model: str | os.PathLike[str] | Model, device: str, threads: int | None) -> Model:
    if not isinstance(model, Model):
        return Model(model, device=device, threads=threads)
    if device not in ("auto", model.device):
        raise InputError(f"got device={device!r}, but {model.name} is open on {model.device!r}: open it there instead")
    if threads is not None and threads != model.threads:
        raise InputError("threads is chosen when a Model is opened: Model(path, threads=…)")
    return model


def _check_outputs(files: Files, replica: int, several: bool) -> Files:
    """The files of one replica; nothing is written, but everything is known to be writable."""

    def frames(path: PathLike | None) -> Path | None:
        return None if path is None else check_trajectory_path(_expand(path, replica, several)).absolute()

    log = files.logfile
    if log is not None and log != "-":
        log = Path(_expand(log, replica, several)).absolute()
        check_writable(log, "log file")
    return Files(frames(files.trajectory), log, frames(files.collected))


def _expand(path: PathLike, replica: int, several: bool) -> str:
    """``path`` with the replica's number in it, which it must have if there are several."""
    text = os.fspath(path)
    if several and "{replica}" not in text:
        raise InputError(f"several replicas would write the same file {text!r}: put {{replica}} into its name")
    return text.replace("{replica}", str(replica))


def _decide_energy(
    model: Model, settings: Settings, energy: EnergySource | None
) -> tuple[EnergySource | None, str | None, str | None]:
    """The energy to use, the scope of rescaling by it, and what the user should be warned of."""
    scope = settings.rescale_scope
    needs = {
        "a barostat": settings.barostat != "none",
        "metropolis": settings.metropolis,
        "guard='fallback'": settings.guard == "fallback",
        "rescale_energy": scope not in (None, "auto"),
    }
    if any(needs.values()):
        energy = energy or companion_model(model)
        if energy is None:
            what = next(name for name, needed in needs.items() if needed)
            raise InputError(f"{what} needs an energy, and {model.name} names no energy model: give energy_model")
    if scope != "auto":
        return energy, scope, None
    if settings.thermostat != "none" or model.kind != "direct":
        return energy, None, None
    try:
        energy = energy or companion_model(model)
    except ModelError as error:
        return None, None, _drift_warning(model, f" ({error})")
    return (energy, "global", None) if energy is not None else (None, None, _drift_warning(model, ""))


def _drift_warning(model: Model, why: str) -> str:
    return (
        f"NVE with {model.name}, a direct model, without an energy model{why}: its energy drifts "
        f"({drift_at_export(model.metadata)}). Give temperature_K for a thermostat, "
        "or energy_model to rescale energies."
    )
