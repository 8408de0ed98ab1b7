"""Universal models that ``flashmd-rs fetch`` has put into the user's cache, by name.

A name is ``pet-omatpes-v2@16fs`` for FlashMD, ``pet-omatpes@16fs-symplectic`` for symplectic FlashMD, and
``pet-omatpes-v2`` for the energy that both belong to. The file of a name is
``CACHE/NAME/REVISION-SHA256-CONVERTER/NAME.onnx``; beside one that moves atoms lies its energy. ``current.json`` in
``CACHE/NAME`` says which folder counts. A copy of ``CACHE/NAME``, or of the files alone, works elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

CURRENT = "current.json"


@dataclass(frozen=True)
class Universal:
    """What is published beside an energy.

    Attributes:
        strides_fs: of FlashMD, fs.
        symplectic_fs: strides of symplectic FlashMD, fs.
    """

    strides_fs: tuple[int, ...]
    symplectic_fs: tuple[int, ...] = ()


_STRIDES_FS = (1, 2, 4, 8, 16, 32, 64, 128)
UNIVERSAL = {
    "pet-omatpes": Universal(_STRIDES_FS, (2, 16)),
    "pet-omatpes-v2": Universal(_STRIDES_FS),
}
"""Energies by name, as flashmd 0.3.0 lists them."""


def cache_folder() -> Path:
    """The folder of fetched models: ``FLASHMD_CACHE``, or ``flashmd-rs`` in the user's folder of caches."""
    if own := os.environ.get("FLASHMD_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored, says the standard that names it.
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "flashmd-rs"


def stride_name(energy: str, stride_fs: int, symplectic: bool = False) -> str:
    """The name of the model that strides in the dynamics of an energy."""
    return f"{energy}@{stride_fs}fs" + ("-symplectic" if symplectic else "")


def published_names() -> list[str]:
    """Names of all models that can be fetched, energies first."""
    strides = [stride_name(energy, fs) for energy, made in UNIVERSAL.items() for fs in made.strides_fs]
    symplectic = [stride_name(energy, fs, True) for energy, made in UNIVERSAL.items() for fs in made.symplectic_fs]
    return [*UNIVERSAL, *strides, *symplectic]


def fetched_names() -> list[str]:
    """Names of the models that are in the cache."""
    try:
        folders = [path.parent.name for path in cache_folder().glob(f"*/{CURRENT}")]
    except RuntimeError:  # nobody has a home
        return []
    return sorted(name for name in folders if fetched_file(name))


def fetched_file(name: str) -> Path | None:
    """The file of a model in the cache, its name given with or without ``.onnx``; None if there is none."""
    name = name.removesuffix(".onnx")
    if not re.fullmatch(r"\w[\w.@+-]*", name):
        return None
    try:
        home = cache_folder() / name
        folder = json.loads((home / CURRENT).read_text())["folder"]
        file = home / Path(folder).name / f"{name}.onnx"
        return file if file.is_file() else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # the last where nobody has a home
        return None


def not_fetched(name: str) -> str | None:
    """Why the model of a universal name is not in the cache, and what to do; None for any other name."""
    name = name.removesuffix(".onnx")
    energy, _, rest = name.partition("@")
    if energy not in UNIVERSAL:
        return None
    if name not in published_names():
        return f"no universal model {name!r}: {published_strides(energy)}"
    stride = f" --stride-fs {rest.partition('fs')[0]}" if rest else ""
    return (
        f"the universal model {name!r} is not in the cache, {cache_folder()}; fetch it: "
        f"`flashmd-rs fetch {energy}{stride}`"
    )


def published_strides(energy: str) -> str:
    """What there is of an energy, in words."""
    made = UNIVERSAL[energy]
    strides, symplectic = (", ".join(map(str, fs)) for fs in (made.strides_fs, made.symplectic_fs))
    return f"{energy} has strides of {strides} fs" + (f", symplectic ones of {symplectic} fs" if symplectic else "")
