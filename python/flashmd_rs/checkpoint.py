"""What Python keeps in a checkpoint beside the core's state: the call that made the run, and where its files end.

The file itself, its atomic writing and the one kept before it are the core's (``rust/flashmd/src/checkpoint.rs``).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs import _core
from flashmd_rs.bundled import MODELS, bundled_file
from flashmd_rs.errors import CheckpointError, InputError
from flashmd_rs.model import Model
from flashmd_rs.structure import F64, with_state
from flashmd_rs.writers import check_replaceable

if TYPE_CHECKING:
    import ase

    from flashmd_rs.recorder import Marks

PROGRAM = "python:"  # opens the name of an energy that only its program can give again
_FILES = ("model", "energy_model", "trajectory", "logfile", "collected")


@dataclass(frozen=True)
class Saving:
    """Where and how often the core saves a checkpoint.

    Attributes:
        path: the file.
        interval: strides between two of them.
        on_save: called before each, returns the text to keep in it.
    """

    path: str
    interval: int
    on_save: Callable[[], str]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: the file that was asked for.
        step: strides done.
        model_sha256: of the model that moved the atoms.
        arguments: the call of :func:`flashmd_rs.rollout` that made it, paths absolute.
        structures: the systems as they are now, in the order of their replicas.
        single: True if that call was given one structure and not a list.
        marks: where the files of each system ended.
        molecules: True if molecules were looked for, at the start of the run.
        energy_sha256: of the energy model, or None.
        passed_over: why it was read from the file before it, or None.
    """

    path: Path
    step: int
    model_sha256: str
    arguments: dict[str, Any]
    structures: list[ase.Atoms]
    single: bool
    marks: list[Marks]
    molecules: bool
    energy_sha256: str | None
    passed_over: str | None


def record(
    arguments: dict[str, Any], path: Path, structures: list[ase.Atoms], *, single: bool, molecules: bool
) -> dict[str, Any]:
    """What stays the same in every checkpoint of a run.

    Args:
        arguments: of the call of :func:`flashmd_rs.rollout`; models and energies as they were opened.
        path: the checkpoint; files beside it are named relative to it, so that a folder can be moved as a whole.
        structures: what frames are copies of.
        single: True for a call with one structure.
        molecules: True if molecules were looked for, now or before.
    """
    energy = arguments["energy_model"]
    return {
        "arguments": arguments | {name: _portable(arguments[name], path.parent) for name in _FILES},
        "structures": [_pack(atoms) for atoms in structures],
        "single": single,
        "molecules": molecules,
        "energy_sha256": energy.sha256 if isinstance(energy, Model) else None,
    }


def text(recorded: dict[str, Any], marks: list[Marks]) -> str:
    """The JSON text of one checkpoint."""
    return json.dumps(recorded | {"marks": marks})


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint, or the one before it where it is missing or damaged.

    Raises:
        CheckpointError: it is no checkpoint, or of another version of flashmd-rs.
        FileNotFoundError: there is none.
    """
    target = Path(path).absolute()
    found = _core.read_checkpoint(str(target))
    try:
        run = json.loads(found["run"])
        arguments = run["arguments"]
        arguments |= {name: _found(arguments[name], target.parent) for name in _FILES}
        rest = {name: run[name] for name in ("single", "marks", "molecules", "energy_sha256")}
        packed = run["structures"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{target} does not say which run it is of ({error!r}): it cannot be continued") from None
    passed_over = found["passed_over"]
    if passed_over is not None:
        passed_over += f"; going on from the one before it, {found['path']}, at step {found['step']}"
    structures = [with_state(_unpack(atoms), *frame) for atoms, frame in zip(packed, found["frames"], strict=True)]
    return Checkpoint(
        path=target,
        step=found["step"],
        model_sha256=found["model_sha256"],
        arguments=arguments,
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


def siblings(path: Path) -> list[Path]:
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
    target = Path(path).absolute()
    check_replaceable(target, "checkpoint")
    lock = siblings(target)[-1]
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
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks does without
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def set_aside(path: Path) -> None:
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


def _found(name: str | None, folder: Path) -> str | None:
    """The argument that :func:`_portable` was given, or one as good."""
    return (
        os.path.normpath(os.path.join(os.path.realpath(folder), name))
        if name is not None and name.startswith("./")
        else name
    )


def _pack(atoms: ase.Atoms) -> str:
    """A structure less what the core keeps, as ASE's JSON; what JSON cannot hold of its ``info`` is left out."""
    from ase.io.jsonio import encode

    kept = atoms.todict()
    for name in ("positions", "momenta"):
        kept.pop(name, None)
    if "info" in kept:
        kept["info"] = {key: value for key, value in kept["info"].items() if _is_plain(value)}
    return str(encode({"atoms": kept, "order": list(atoms.arrays)}))


def _is_plain(value: Any) -> bool:
    from ase.io.jsonio import encode

    try:
        encode(value)
    except TypeError:
        return False
    return True


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
