"""What Python keeps in a checkpoint beside the core's state: settings, structures, and where the run's files end.

The file itself, its atomic writing and the one kept before it are the core's (``rust/flashmd/src/run/checkpoint.rs``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs import _core
from flashmd_rs._engine.recorder import FileOffsets, Files
from flashmd_rs._engine.settings import Settings
from flashmd_rs._structure import F64, with_state
from flashmd_rs._warn import warn
from flashmd_rs.bundled import MODELS, bundled_file
from flashmd_rs.energies.sources import EnergySource
from flashmd_rs.errors import CheckpointError, InputError
from flashmd_rs.model import Model
from flashmd_rs.options import check_path
from flashmd_rs.writers import check_replaceable, locks
from flashmd_rs.writers.baggage import left_out

if TYPE_CHECKING:
    import ase

PROGRAM = "python:"  # opens the name of an energy that only its program can give again


@dataclass(frozen=True)
class CheckpointWriter:
    """Where and how often the core saves a checkpoint.

    Attributes:
        path: the file.
        interval: strides between two of them.
        describe: called before each; brings the run's files to disk and returns the text to keep in it.
    """

    path: str
    interval: int
    describe: Callable[[], str]


@dataclass(frozen=True)
class RunDescription:
    """What stays the same in every checkpoint of a run.

    Attributes:
        settings: what the run does.
        model: moves the atoms.
        energy: gives potential energies, or None.
        bias: acts around each stride, or None.
        files: what it writes, with ``{replica}`` where there are several.
        interval: strides between checkpoints, or None where only ``save`` makes them.
        structures: what frames are copies of, in the order of their replicas.
        replica: number of the first.
        single: True for a run of one structure that was not in a list.
        molecules: True if molecules were looked for, now or before.
    """

    settings: Settings
    model: Model
    energy: EnergySource | None
    bias: EnergySource | None
    files: Files
    interval: int | None
    structures: list[ase.Atoms]
    replica: int
    single: bool
    molecules: bool

    @cached_property
    def _packed(self) -> list[str]:
        """The structures as text; labels that would not come back as they are stay out of it, with a warning."""
        frames = [with_state(atoms, atoms.positions, atoms.get_momenta()) for atoms in self.structures]
        left = [left_out(atoms, _packed_and_unpacked) for atoms in frames]
        names = dict.fromkeys(name for labels in left for name in labels.names())
        if names:
            warn(f"a checkpoint cannot keep {', '.join(names)}: a run that goes on from it does so without")
        return [_pack(labels.of(atoms)) for labels, atoms in zip(left, frames, strict=True)]

    def record(self, folder: Path) -> dict[str, Any]:
        """The description as plain data, files named relative to ``folder``, so that it can be moved as a whole."""
        model = self.model
        opened = {"device": model.device, "threads": model.threads, "kernels": model.kernels}
        return {
            "settings": self.settings.as_dict(),
            "model": {"file": _portable(model, folder), **opened, "kernel_version": model.kernel_version},
            "energy_model": _portable(self.energy, folder),
            "bias": _portable(self.bias, folder),
            "bias_sha256": self.bias.sha256 if isinstance(self.bias, Model) else None,
            "energy_sha256": self.energy.sha256 if isinstance(self.energy, Model) else None,
            "files": {name: _portable(file, folder) for name, file in asdict(self.files).items()},
            "interval": self.interval,
            "structures": self._packed,
            "replica": self.replica,
            "single": self.single,
            "molecules": self.molecules,
        }


def checkpoint_text(record: dict[str, Any], offsets: list[FileOffsets]) -> str:
    """The JSON text of a checkpoint: the description of its run, and where the files of each system end."""
    return json.dumps(record | {"offsets": offsets})


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint that was read.

    Attributes:
        path: the file that was asked for.
        step: strides done.
        model_sha256: of the model that moved the atoms.
        settings: what the run does.
        model: file or bundled name, device, threads and kernels of the model; version of the kernels, or None.
        energy_model: file, bundled name, or a program's energy by name; or None.
        energy_sha256: of the energy model, or None.
        bias: file, bundled name, or a program's energy by name; or None.
        bias_sha256: of a bias that is a model, or None.
        files: what the run writes, paths absolute.
        interval: strides between checkpoints, or None.
        structures: the systems as they are now, in the order of their replicas.
        replica: number of the first.
        single: True for a run of one structure that was not in a list.
        molecules: True if molecules were looked for, at the start of the run.
        offsets: where the files of each system ended.
        passed_over: why it was read from the file before it, or None.
    """

    path: Path
    step: int
    model_sha256: str
    settings: Settings
    model: dict[str, Any]
    energy_model: str | None
    energy_sha256: str | None
    bias: str | None
    bias_sha256: str | None
    files: Files
    interval: int | None
    structures: list[ase.Atoms]
    replica: int
    single: bool
    molecules: bool
    offsets: list[FileOffsets]
    passed_over: str | None


def read_checkpoint(path: str | os.PathLike[str]) -> SavedRun:
    """Read a checkpoint, or the one before it where it is missing or damaged.

    Raises:
        CheckpointError: it is no checkpoint, or of another version of flashmd-rs.
        FileNotFoundError: there is none.
    """
    check_path("checkpoint", path)
    target = Path(path).absolute()
    found = _core.read_checkpoint(str(target))
    try:
        run = json.loads(found["run"])
        settings = Settings.from_dict(run["settings"])
        # Checkpoints from before there were kernels go on without.
        model = {"kernels": "off", "kernel_version": None} | run["model"]
        model["file"] = _located(model["file"], target.parent)
        energy_model = _located(run["energy_model"], target.parent)
        # Checkpoints from before there were biases have none.
        bias = _located(run.get("bias"), target.parent)
        files = Files(**{name: _located(file, target.parent) for name, file in run["files"].items()})
        settings = replace(settings, guard=replace(settings.guard, violations_file=files.violations_file))
        kept = ("energy_sha256", "interval", "replica", "single", "molecules", "offsets")
        rest = {name: run[name] for name in kept}
        packed = run["structures"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{target} does not say which run it is of ({error!r}): it cannot be continued") from None
    passed_over = found["passed_over"]
    if passed_over is not None:
        passed_over += f"; going on from the one before it, {found['path']}, at step {found['step']}"
    structures = [with_state(_unpack(atoms), *frame) for atoms, frame in zip(packed, found["frames"], strict=True)]
    return SavedRun(
        path=target,
        step=found["step"],
        model_sha256=found["model_sha256"],
        settings=settings,
        model=model,
        energy_model=energy_model,
        bias=bias,
        bias_sha256=run.get("bias_sha256"),
        files=files,
        structures=structures,
        passed_over=passed_over,
        **rest,
    )


def previous(path: Path) -> Path:
    """The checkpoint before the one at ``path``."""
    return path.with_name(f"{path.name}.previous")


def check_checkpoint_path(path: str | os.PathLike[str], resume: bool) -> Path:
    """A path that checkpoints can be written to; nothing is created yet.

    Raises:
        InputError: there is a checkpoint already, and the run is not to go on from it.
        OSError: its folder cannot be written.
    """
    target = Path(path).absolute()
    found = [file for file in (target, previous(target)) if file.exists()]
    if found and not resume:
        raise InputError(f"there is a checkpoint already, {found[0]}: go on from it with resume=True, or remove it")
    check_replaceable(target, "checkpoint")
    return target


def checkpoint_files(path: Path) -> list[Path]:
    """The files that belong to a checkpoint."""
    return [path, *(path.with_name(f"{path.name}.{end}") for end in ("new", "previous", "damaged", "lock"))]


@contextmanager
def locked(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Keep other processes from the checkpoint at ``path`` as long as a run writes it; None has nothing to keep.

    Raises:
        CheckpointError: another run has it.
    """
    if path is None:
        yield
        return
    check_path("checkpoint", path)
    target = Path(path).absolute()
    check_replaceable(target, "checkpoint")
    lock = checkpoint_files(target)[-1]
    with lock.open("ab") as handle:
        if not _lock(handle.fileno(), lock):
            raise CheckpointError(f"another run is at work with {target}: wait for it, or end it")
        try:
            yield
        finally:
            with suppress(OSError):  # an empty file may stay in a folder that can no longer be written
                lock.unlink()


def _lock(handle: int, path: Path) -> bool:
    """Lock an open file; False if another process has it, or has just let go of it and taken its name away."""
    try:
        locks.lock(handle)
    except BlockingIOError:
        return False
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def quarantine(path: Path) -> None:
    """Rename a checkpoint that cannot be read, so that the good one before it is not replaced by it."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.damaged"))


def _portable(given: Any, folder: Path) -> str | None:
    """A file as ``./…`` from the checkpoint's folder; a bundled model, or a program's energy, by its name."""
    if given is None:
        return None
    if given == "-":
        return "-"
    if isinstance(given, Model):
        if given.path == bundled_file(MODELS, given.name, ".onnx"):
            return given.name
        given = given.path
    if isinstance(given, str | os.PathLike):
        return os.path.join(".", os.path.relpath(os.path.realpath(given), os.path.realpath(folder)))
    return f"{PROGRAM}{given.name}"


def _located(name: str | None, folder: Path) -> str | None:
    """The file that :func:`_portable` was given, or a name as it is."""
    if name is None or not name.startswith("./"):
        return name
    return os.path.normpath(os.path.join(os.path.realpath(folder), name))


def _pack(atoms: ase.Atoms) -> str:
    """A structure less what the core keeps, as ASE's JSON."""
    from ase.io.jsonio import encode

    kept = atoms.todict()
    for name in ("positions", "momenta"):
        kept.pop(name, None)
    return str(encode({"atoms": kept, "order": list(atoms.arrays)}))


def _packed_and_unpacked(atoms: ase.Atoms) -> ase.Atoms:
    return with_state(_unpack(_pack(atoms)), atoms.positions, atoms.get_momenta())


def _unpack(packed: str) -> ase.Atoms:
    """The structure again, its arrays in the order in which formats write them as columns."""
    import ase
    from ase.io.jsonio import decode

    unpacked = decode(packed)
    atoms: ase.Atoms = ase.Atoms.fromdict(unpacked["atoms"] | {"positions": _zeros(unpacked["atoms"])})
    arrays = {"momenta": _zeros(unpacked["atoms"]), **atoms.arrays}
    atoms.arrays = {name: arrays[name] for name in unpacked["order"]}
    return atoms


def _zeros(kept: dict[str, Any]) -> F64:
    return np.zeros((len(kept["numbers"]), 3))
