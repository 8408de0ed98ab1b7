"""Plan of a run, from its arguments or its checkpoint: every argument found good before anything is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs import _checks
from flashmd_rs._engine.checkpoint import (
    PROGRAM,
    RunDescription,
    SavedRun,
    check_checkpoint_path,
    checkpoint_files,
    previous,
    quarantine,
    read_checkpoint,
)
from flashmd_rs._engine.recorder import FileOffsets, Files
from flashmd_rs._engine.settings import (
    IRREVERSIBLE,
    Arguments,
    Continuation,
    Observer,
    Settings,
    changed,
    check_observers,
    default_checkpoint_interval,
    given_interval,
    validate,
)
from flashmd_rs._engine.system_input import SystemInput, by_replica, system_inputs
from flashmd_rs._warn import warn
from flashmd_rs.describe import drift_at_export
from flashmd_rs.energies.sources import EnergySource, energy_source, has_virial, reference_energy_model
from flashmd_rs.errors import CheckpointError, InputError, ModelError
from flashmd_rs.model import Model
from flashmd_rs.options import Checkpoint, EnergyRescaling, Guard, Option, Output, PathLike
from flashmd_rs.writers import check_trajectory_path, check_writable, last_good_file

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
        model: moves the atoms.
        energy: gives potential energies, or None.
        bias: gives the forces that act around each stride, or None.
        settings: the same for every system.
        structures: by replica.
        inputs: the same as the core takes them, in the same order.
        outputs: files by replica.
        keeps_frames: False keeps the last frame alone, where there is no file for them.
        observers: pairs of a callable and the strides between two calls.
        checkpoint: file that checkpoints go to, or None.
        description: what stays the same in every checkpoint.
        warning: said when the run begins, or None.
        saved: the checkpoint that the run goes on from, or None for a new run.
        offsets: of each system, where the files of a run to be continued ended; empty for a new one.
    """

    model: Model
    energy: EnergySource | None
    bias: EnergySource | None
    settings: Settings
    structures: dict[int, ase.Atoms]
    inputs: list[SystemInput]
    outputs: dict[int, Files]
    keeps_frames: bool
    observers: list[Observer]
    checkpoint: Path | None
    description: RunDescription
    warning: str | None
    saved: SavedRun | None
    offsets: list[FileOffsets]


def plan_run(atoms: ase.Atoms | Sequence[ase.Atoms], model: PathLike | Model, arguments: Arguments) -> Plan:
    """The plan of a run from its arguments, or of going on with it from its checkpoint where they say so.

    Raises:
        InputError, ModelError, RuntimeLibraryError, CheckpointError, OSError: as :func:`flashmd_rs.rollout`.
    """
    structures = by_replica(atoms, arguments.replica)
    observers = check_observers(arguments.observers)
    checkpoint = as_checkpoint(arguments.checkpoint)
    files = _files(arguments)
    outputs = {replica: _check_outputs(files, replica, len(structures) > 1) for replica in structures}
    check_distinct(None if checkpoint is None else Path(checkpoint.path), outputs)
    saved = _find_checkpoint(checkpoint, arguments.resume)
    opened = model if isinstance(model, Model) else Model(model)
    if saved is not None:
        assert checkpoint is not None
        _check_model(saved, opened, checkpoint.allow_other_model)
        _check_structures(saved, structures)
        if saved.replica != min(structures):
            raise InputError(f"{saved.path} begins with replica {saved.replica}, got replica={min(structures)}")
        arguments = _defaults_of(saved, arguments)
    settings = validate(opened, len(structures), arguments)
    inputs = system_inputs(structures, settings, None if saved is None else saved.step)
    if saved is None and settings.guard.policy != "off":
        for system in inputs:
            opened._check_start(system)
    energy = None
    if arguments.energy_model is not None:
        energy = energy_source(arguments.energy_model, structures, opened)
    bias = _bias_of(saved, arguments.bias, structures, opened)
    energy, rescaling, warning = _choose_energy(opened, settings, energy, arguments.rescale_energy == "auto")
    settings = replace(settings, rescale_energy=rescaling)
    _check_stress(settings, energy, structures)
    if saved is not None:
        assert checkpoint is not None
        _check_continuation(saved, settings, energy, checkpoint.allow_other_model)
    offsets = [] if saved is None else _offsets(saved, files)
    _check_files(saved, settings, outputs, offsets)
    interval = None
    if checkpoint is not None:
        interval = checkpoint.interval or default_checkpoint_interval(settings.steps)
    description = RunDescription(
        settings=settings,
        model=opened,
        energy=energy,
        bias=bias,
        files=files,
        interval=interval,
        structures=[structure.copy() for structure in structures.values()],  # what becomes of the user's is not ours
        replica=min(structures),
        single=not isinstance(atoms, Sequence),
        molecules=settings.uses_molecules or (saved is not None and saved.molecules),
    )
    return Plan(
        model=opened,
        energy=energy,
        bias=bias,
        settings=settings,
        structures=structures,
        inputs=inputs,
        outputs=outputs,
        keeps_frames=not isinstance(arguments.trajectory, Output),
        observers=observers,
        checkpoint=None if checkpoint is None else Path(checkpoint.path).absolute(),
        description=description,
        warning=warning,
        saved=saved,
        offsets=offsets,
    )


def plan_continuation(path: PathLike, wanted: Continuation) -> Plan:
    """The plan of going on with a run from its checkpoint, which knows everything about it.

    Raises:
        InputError, ModelError, RuntimeLibraryError, CheckpointError, OSError: as :func:`flashmd_rs.resume`.
    """
    observers = check_observers(wanted.observers)
    given = _given_files(wanted.trajectory, wanted.logfile)
    checked = check_checkpoint_path(path, resume=True)
    saved = _read(checked)
    opened = _reopen(saved, wanted.model)
    _check_model(saved, opened, wanted.allow_other_model)
    structures = by_replica(saved.structures, saved.replica)
    energy = _energy_of(saved, wanted.energy_model, structures, opened)
    bias = _bias_of(saved, wanted.bias, structures, opened)
    settings = changed(replace(saved.settings, steps=_planned(saved)), opened, len(structures), wanted)
    if settings.stress and energy is None:
        energy = reference_energy_model(opened)
    _check_continuation(saved, settings, energy, wanted.allow_other_model)
    _check_stress(settings, energy, structures)
    files = replace(saved.files, **given)
    outputs = {replica: _check_outputs(files, replica, len(structures) > 1) for replica in structures}
    check_distinct(saved.path, outputs)
    offsets = _begun_anew(_offsets(saved, files), outputs, given)
    _check_files(saved, settings, outputs, offsets)
    description = RunDescription(
        settings=settings,
        model=opened,
        energy=energy,
        bias=bias,
        files=files,
        interval=saved.interval,
        structures=saved.structures,
        replica=saved.replica,
        single=saved.single,
        molecules=saved.molecules,
    )
    return Plan(
        model=opened,
        energy=energy,
        bias=bias,
        settings=settings,
        structures=structures,
        inputs=system_inputs(structures, settings, saved.step),
        outputs=outputs,
        keeps_frames=not isinstance(wanted.trajectory, Output),
        observers=observers,
        checkpoint=saved.path if saved.interval is not None else None,
        description=description,
        warning=None,
        saved=saved,
        offsets=offsets,
    )


def as_checkpoint(wanted: Any) -> Checkpoint | None:
    """The ``checkpoint`` argument as an option."""
    return wanted if wanted is None or isinstance(wanted, Checkpoint) else Checkpoint(wanted)


def _files(arguments: Arguments) -> Files:
    """What the run writes, by the arguments that name it."""
    guard = arguments.guard
    violations_file = guard.violations_file if isinstance(guard, Guard) else None
    named = {} if violations_file is None else {"violations_file": _fixed(violations_file)}
    return Files(**_given_files(arguments.trajectory, arguments.logfile), **named)


def _given_files(trajectory: Any, logfile: Any) -> dict[str, str]:
    """The files that were named, by the arguments that name them."""
    if isinstance(trajectory, Output):
        trajectory = trajectory.path
    given = {name: path for name, path in (("trajectory", trajectory), ("logfile", logfile)) if path is not None}
    for name, path in given.items():
        if not isinstance(path, str | os.PathLike):
            kind = "an Option" if isinstance(path, Option) else type(path).__name__
            raise InputError(f"got {kind} for {name}, wanted a path")
        if not os.fspath(path):
            raise InputError(f"got an empty text for {name}, wanted a path")
    return {name: _fixed(path) for name, path in given.items()}


def _fixed(path: PathLike) -> str:
    """A path that stays the same wherever the program goes meanwhile."""
    return "-" if path == "-" else os.path.abspath(path)


def _check_outputs(files: Files, replica: int, several: bool) -> Files:
    """The files of one replica; nothing is written, but everything is known to be writable."""

    def frames(path: PathLike | None) -> Path | None:
        return None if path is None else check_trajectory_path(_expand(path, replica, several)).absolute()

    log = files.logfile
    if log is not None and log != "-":
        log = Path(_expand(log, replica, several)).absolute()
        check_writable(log, "log file")
    return Files(frames(files.trajectory), log, frames(files.violations_file))


def _expand(path: PathLike, replica: int, several: bool) -> str:
    """``path`` with the replica's number in it, which it must have if there are several."""
    text = os.fspath(path)
    if several and "{replica}" not in text:
        raise InputError(f"several replicas would write the same file {text!r}: put {{replica}} into its name")
    return text.replace("{replica}", str(replica))


def check_distinct(checkpoint: Path | None, outputs: dict[int, Files]) -> None:
    """Refuse two outputs in one file, by whatever names.

    Raises:
        InputError: there are two.
    """
    paths = [] if checkpoint is None else checkpoint_files(checkpoint)
    for files in outputs.values():
        paths += [Path(path) for path in asdict(files).values() if path is not None and path != "-"]
        if files.trajectory is not None:
            paths.append(last_good_file(Path(files.trajectory)))
    taken: set[object] = set()
    for path in paths:
        name, found = os.path.realpath(path), path.stat() if path.is_file() else None
        names = {name} if found is None else {name, (found.st_dev, found.st_ino)}
        if names & taken:
            raise InputError(f"two outputs of the run are the same file: {path}")
        taken |= names


def _find_checkpoint(checkpoint: Checkpoint | None, resume: bool | str) -> SavedRun | None:
    """The checkpoint to go on from, if there is one to go on from."""
    resume = _checks.plain(resume)
    if not isinstance(resume, bool | str) or resume not in (True, False, "auto"):
        raise InputError(f"got resume={resume!r}, wanted True, False or 'auto'")
    if checkpoint is None:
        if resume:
            raise InputError("resume needs the checkpoint to go on from: give checkpoint")
        return None
    target = check_checkpoint_path(checkpoint.path, bool(resume))
    if not resume or (resume == "auto" and not any(file.exists() for file in (target, previous(target)))):
        return None
    return _read(target)


def _read(path: Path) -> SavedRun:
    """The checkpoint at ``path``; one that is damaged is said and set aside."""
    saved = read_checkpoint(path)
    if saved.passed_over is not None:
        warn(saved.passed_over)
        quarantine(path)
    return saved


def _defaults_of(saved: SavedRun, arguments: Arguments) -> Arguments:
    """The arguments of a run that goes on, filled in from its checkpoint where they say nothing."""
    filled: dict[str, Any] = {}
    if arguments.steps is None and arguments.time_ps is None:
        filled["steps"] = _planned(saved)
    if arguments.seed is None:
        filled["seed"] = saved.settings.seed
    if given_interval(arguments.interval, arguments.trajectory) is None:
        filled["interval"] = saved.settings.interval
    if arguments.stride_fs is None:
        filled["stride_fs"] = saved.settings.stride_fs
    return replace(arguments, **filled)


def _planned(saved: SavedRun) -> int | None:
    """The planned end of a run, or where it is if it was taken further."""
    return None if saved.settings.steps is None else max(saved.settings.steps, saved.step)


def _reopen(saved: SavedRun, model: PathLike | Model | None) -> Model:
    """The model of a checkpoint, on its device, or another that is given."""
    if isinstance(model, Model):
        return model
    opened = {name: saved.model[name] for name in ("device", "threads", "kernels")}
    return Model(model or saved.model["file"], **opened)


def _energy_of(saved: SavedRun, given: Any, structures: dict[int, ase.Atoms], model: Model) -> EnergySource | None:
    """The energy of a checkpoint, or another that is given."""
    wanted = saved.energy_model if given is None else given
    if isinstance(wanted, str) and wanted.startswith(PROGRAM):
        raise InputError(
            f"the run takes its energies from {wanted.removeprefix(PROGRAM)}, which no file can hold: go on with it "
            "from Python, flashmd_rs.resume(checkpoint, energy_model=…)"
        )
    return None if wanted is None else energy_source(wanted, structures, model)


def _bias_of(saved: SavedRun | None, given: Any, structures: dict[int, ase.Atoms], model: Model) -> EnergySource | None:
    """The bias that is given, or that of the checkpoint that a run goes on from."""
    wanted = saved.bias if given is None and saved is not None else given
    if isinstance(wanted, str) and wanted.startswith(PROGRAM):
        raise InputError(
            f"the run has a bias by {wanted.removeprefix(PROGRAM)}, which no file can hold: go on with it from Python, "
            "flashmd_rs.resume(checkpoint, bias=…)"
        )
    source = None if wanted is None else energy_source(wanted, structures, model, "bias")
    if saved is not None and isinstance(source, Model) and saved.bias_sha256 not in (None, source.sha256):
        raise CheckpointError(
            f"{saved.path} was made with the bias of SHA-256 {saved.bias_sha256}, {source.name} is {source.sha256}: "
            "give that file"
        )
    return source


def _kernels_of(version: int | None) -> str:
    return "without kernels" if version is None else f"with kernels of version {version}"


def _check_model(saved: SavedRun, model: Model, allow_other: bool) -> None:
    before, now = saved.model["kernel_version"], model.kernel_version
    if before != now:
        warn(
            f"{saved.path} was made {_kernels_of(before)} and goes on {_kernels_of(now)}: not to the last bit as if it "
            "had not stopped"
        )
    if saved.model_sha256 != model.sha256 and not allow_other:
        raise CheckpointError(
            f"{saved.path} was made with the model of SHA-256 {saved.model_sha256} ({saved.model['file']}), "
            f"{model.name} is {model.sha256}: give that model, or allow_other_model=True"
        )


def _check_structures(saved: SavedRun, structures: dict[int, ase.Atoms]) -> None:
    """Name other atoms than those of the checkpoint; the core looks at the rest."""
    held, got = (", ".join(str(a.symbols) for a in some) for some in (saved.structures, structures.values()))
    if held != got:
        raise CheckpointError(f"{saved.path} holds {held:.100}, got {got:.100}: give the structure it was started with")


def _check_continuation(saved: SavedRun, settings: Settings, energy: EnergySource | None, allow_other: bool) -> None:
    """Refuse what a checkpoint cannot be continued to."""
    if settings.steps is not None and settings.steps < saved.step:
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


def _offsets(saved: SavedRun, files: Files) -> list[FileOffsets]:
    """Where the files ended that the run goes on with; others begin anew."""
    before = asdict(saved.files)
    given = asdict(files).items()
    others = {name for name, path in given if path is None or before[name] != _absolute(path)}
    return [offsets | dict.fromkeys(others) for offsets in saved.offsets]


def _begun_anew(offsets: list[FileOffsets], outputs: dict[int, Files], given: dict[str, str]) -> list[FileOffsets]:
    """The offsets less those of files that were named again after somebody took them away."""
    return [
        offset | {name: None for name in given if not os.path.exists(str(getattr(files, name)))}
        for offset, files in zip(offsets, outputs.values(), strict=True)
    ]


def _check_files(
    saved: SavedRun | None, settings: Settings, outputs: dict[int, Files], offsets: list[FileOffsets]
) -> None:
    """Refuse to go on with files that are not there, or not on another beat."""
    for files, offset in zip(outputs.values(), offsets, strict=False):
        for name, path in asdict(files).items():
            if offset[name] and any(offset[name].values()) and not os.path.exists(path):
                what = name.replace("_", " ").replace("logfile", "log file")
                remedy = "" if name == "violations_file" else f", or write another ({name}=…, --{name} FILE)"
                reason = f"cannot go on with the {what}: there is no such file; put it back{remedy}"
                raise FileNotFoundError(errno.ENOENT, reason, str(path))
        same_beat = saved is None or settings.interval == saved.settings.interval
        if not same_beat and offset["trajectory"] and str(files.trajectory).lower().endswith(".dcd"):
            raise InputError(
                f"{files.trajectory} has evenly spaced times, as every DCD file: for another interval, write another "
                "trajectory"
            )


def _absolute(path: PathLike) -> str:
    """A file as a checkpoint gives it back."""
    return "-" if path == "-" else os.path.realpath(path)


def _choose_energy(
    model: Model, settings: Settings, energy: EnergySource | None, automatic: bool
) -> tuple[EnergySource | None, EnergyRescaling | None, str | None]:
    """The energy to use, the rescaling by it, and what the user should be warned of.

    Args:
        model: moves the atoms.
        settings: of the run.
        energy: what was given, or None.
        automatic: rescaling is left to us: on in NVE with a direct model whose energy is known.
    """
    rescaling = settings.rescale_energy
    needs = {
        "a barostat": settings.barostat is not None,
        "metropolis": settings.metropolis,
        "guard='fallback'": settings.guard.policy == "fallback",
        "rescale_energy": rescaling is not None,
        "stress": settings.stress,
    }
    if any(needs.values()):
        energy = energy or reference_energy_model(model)
        if energy is None:
            what = next(name for name, needed in needs.items() if needed)
            raise InputError(f"{what} needs an energy, and {model.name} names no energy model: give energy_model")
    if not automatic or settings.thermostat is not None or model.kind not in IRREVERSIBLE:
        return energy, rescaling, None
    try:
        energy = energy or reference_energy_model(model)
    except ModelError as error:
        return None, None, _drift_warning(model, f" ({error})")
    if energy is None:
        return None, None, _drift_warning(model, "")
    return energy, EnergyRescaling(), None


def _check_stress(settings: Settings, energy: EnergySource | None, structures: dict[int, ase.Atoms]) -> None:
    """Refuse to keep a stress that there is not."""
    if not settings.stress:
        return
    if energy is None or not has_virial(energy):
        name = "this run" if energy is None else energy.name
        raise InputError(f"stress=True needs an energy that has one, and {name} has none: give another energy_model")
    for atoms in structures.values():
        if not atoms.pbc.all():
            raise InputError(
                f"stress=True needs a volume, and a cell with pbc={atoms.pbc.tolist()} has none: leave stress out"
            )


def _drift_warning(model: Model, why: str) -> str:
    return (
        f"NVE with {model.name}, a direct model, without an energy model{why}: its energy drifts "
        f"({drift_at_export(model.metadata)}). Give temperature_K for a thermostat, "
        "or energy_model to rescale energies."
    )
