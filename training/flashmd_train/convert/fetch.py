"""Universal models: downloaded, converted with proof, and put into the user's cache.

Everything is written into a folder beside its place and renamed, so that a fetch that is killed leaves nothing that
counts. What lies in the cache and comes from the same checkpoints, by the same converter, is not converted again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flashmd_rs.errors import ModelError
from flashmd_rs.fetched import CURRENT, UNIVERSAL, cache_folder, published_strides, stride_name
from flashmd_rs.model import read_metadata
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.convert.conversion import CONVERTER, convert_checkpoint
from flashmd_train.convert.errors import ConversionError
from flashmd_train.convert.hub import REPOSITORY, Download, download
from flashmd_train.convert.memory import peak_memory_MB

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """A model to fetch.

    Attributes:
        name: in the cache.
        file: of its checkpoint, in the repository.
        kind: of the contract.
        stride_fs: None for an energy.
    """

    name: str
    file: str
    kind: str
    stride_fs: int | None = None


@dataclass(frozen=True)
class Fetched:
    """A model in the cache.

    Attributes:
        file: of the model.
        checkpoint_sha256: of the checkpoint it was made from.
    """

    file: Path
    checkpoint_sha256: str

    @property
    def reference(self) -> dict[str, str]:
        """How a model names this one as its energy."""
        return {"name": self.file.stem, "sha256": _sha256(self.file)}


def fetch(energy: str, stride_fs: int, revision: str = "main", tell: Tell = print) -> list[Path]:
    """Fetch an energy, FlashMD of a stride in its dynamics and, where there is one, symplectic FlashMD.

    Args:
        energy: name of the energy, one of `UNIVERSAL`.
        stride_fs: fs.
        revision: branch, tag or commit of the repository.
        tell: is given a line on every model.

    Returns:
        The model files, the energy's first.

    Raises:
        ConversionError: a file cannot be had or imported, or there is no such model.
        OSError: the cache cannot be written.
    """
    first, *others = wanted(energy, stride_fs)
    checkpoints = [download(first.file, revision)]
    # All of one commit, even if the branch moves on meanwhile.
    checkpoints += [download(other.file, checkpoints[0].revision) for other in others]
    with _locked(cache_folder(), energy, tell):
        made = [_settle(first, checkpoints[0], None, tell)]
        made += [_settle(other, found, made[0], tell) for other, found in zip(others, checkpoints[1:])]
        # Only now, so that a fetch that fails changes nothing of what runs by name.
        for each in made:
            _make_current(each, checkpoints[0].revision)
    return [each.file for each in made]


def wanted(energy: str, stride_fs: int) -> list[Wanted]:
    """What there is of an energy and a stride, the energy first.

    Raises:
        ConversionError: nothing of that name or stride is published.
    """
    if energy not in UNIVERSAL:
        raise ConversionError(f"there is no universal model {energy!r}; there are {', '.join(UNIVERSAL)}")
    if stride_fs not in UNIVERSAL[energy].strides_fs:
        raise ConversionError(f"got a stride of {stride_fs} fs; {published_strides(energy)}")
    end = f"{energy}_{stride_fs}fs.ckpt"
    found = [
        Wanted(energy, f"mlip_{energy}.ckpt", "energy"),
        Wanted(stride_name(energy, stride_fs), f"flashmd_{end}", "direct", stride_fs),
    ]
    if stride_fs in UNIVERSAL[energy].symplectic_fs:
        name = stride_name(energy, stride_fs, symplectic=True)
        found.append(Wanted(name, f"flashmd-symplectic_{end}", "action", stride_fs))
    return found


def _settle(model: Wanted, source: Download, energy: Fetched | None, tell: Tell) -> Fetched:
    """Have a model in the cache: what was made of the same checkpoint before, or what is made of it now."""
    sha256, home = _sha256(source.path), cache_folder() / model.name
    folder = _converted(home, sha256, energy)
    if folder is None:
        folder = home / f"{source.revision:.12}-{sha256:.12}-{CONVERTER}"
        with _whole_folder(folder) as temporary:
            _convert(model, source, energy, temporary, tell)
    else:
        tell(f"{model.name}: converted before")
    return Fetched(folder / f"{model.name}.onnx", sha256)


def _make_current(model: Fetched, revision: str) -> None:
    """Let a model be the one that its name stands for."""
    folder = model.file.parent
    record = dict(
        folder=folder.name, repository=REPOSITORY, revision=revision, checkpoint_sha256=model.checkpoint_sha256
    )
    with atomic_write(folder.parent / CURRENT) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _convert(model: Wanted, source: Download, energy: Fetched | None, folder: Path, tell: Tell) -> None:
    """Convert a checkpoint into ``folder``, where its energy is put beside it."""
    start, file = time.monotonic(), folder / f"{model.name}.onnx"
    origin = dict(repository=REPOSITORY, revision=source.revision, converter=CONVERTER)
    also = dict(provenance=origin) | ({} if energy is None else dict(energy_model=energy.reference))
    metadata = convert_checkpoint(source.path, file, also=also)
    found = metadata["kind"], metadata.get("stride_fs")
    if found != (model.kind, model.stride_fs):
        raise ConversionError(
            f"{source.path} is of kind {found[0]!r} with a stride of {found[1]} fs, wanted {model.kind!r} with "
            f"{model.stride_fs} fs, which its name says"
        )
    if energy is not None:
        _link(energy.file, folder / energy.file.name)
    errors = ", ".join(f"{name} {figure:.1e}" for name, figure in metadata["validation"].items())
    tell(
        f"{model.name}: {model.kind}, {len(metadata['species'])} species, {_megabytes(source.path)} MB of {model.file}"
        f" made {_megabytes(file)} MB in {time.monotonic() - start:.0f} s, peak memory {peak_memory_MB():.0f} MB; "
        f"off by {errors}"
    )


def _converted(home: Path, sha256: str, energy: Fetched | None) -> Path | None:
    """A folder with what this converter makes of the same checkpoints; None if there is none, or it is damaged."""
    for folder in sorted(home.glob(f"*-{sha256:.12}-{CONVERTER}")):
        try:
            metadata = read_metadata(folder / f"{home.name}.onnx")
            same = metadata["provenance"]["checkpoint_sha256"] == sha256
            if same and energy is not None:
                beside, named = folder / energy.file.name, metadata["energy_model"]["sha256"]
                theirs = read_metadata(beside)["provenance"]["checkpoint_sha256"]
                same = theirs == energy.checkpoint_sha256 and named == _sha256(beside)
        except (ModelError, OSError, KeyError, TypeError):
            continue
        if same:
            return folder
    return None


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill instead of ``folder``; it is renamed to that at the end, or removed after an error."""
    for left in folder.parent.glob(".new-*"):  # of a fetch that was killed: nobody else is at work here
        shutil.rmtree(left)
    temporary = folder.with_name(f".new-{folder.name}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(cache: Path, energy: str, tell: Tell) -> Iterator[None]:
    """Wait until no other process is at work with an energy, and keep them from it."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / f".{energy}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(f"another process is fetching {energy}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _link(file: Path, copy: Path) -> None:
    """The same file under another name; a copy where the file system has no links."""
    try:
        os.link(file, copy)
    except OSError:
        shutil.copyfile(file, copy)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.3g}"
