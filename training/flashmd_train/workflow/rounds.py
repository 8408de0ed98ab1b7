"""Rounds of a run: data that are added to a finished one, and the weights that its next training begins from.

A round begins by renames alone, in an order in which a rerun goes on after any of them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

# What a round makes anew; the data, the plan and the choices stay.
MADE = ("*.yaml", "energy", "direct", "splitting", "*.log", "*.onnx", "evaluation-*", "card.*", "clock.json")
# Folder of the data of a round that is about to begin, and then of what the round before made.
NEXT = "next-round"


def added_files(folder: Path) -> list[Path]:
    """Data files that were added to a run, in order."""
    return sorted(folder.glob("added-*.h5"), key=_number)


def rounds(folder: Path) -> list[Path]:
    """Folders of the rounds before the current one, in order."""
    return sorted(folder.glob("round-*"), key=_number)


def last_checkpoint(folder: Path, kind: str) -> Path | None:
    """Checkpoint of the training ``kind`` of the round before; None in the first one."""
    before = rounds(folder)
    return before[-1] / kind / "checkpoint.pt" if before else None


def holds(folder: Path, digest: str) -> bool:
    """True if the data of that hash was added."""
    return any(path.stem.endswith(digest) for path in added_files(folder))


def begin_round(folder: Path, data: list[Path], digest: str) -> None:
    """Add data to a finished run, and set what the round before made aside.

    Args:
        folder: of the run.
        data: HDF5 files of segments, which are copied.
        digest: hash of what they were made from.
    """
    prepared = folder / f".{NEXT}"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir()
    first = len(added_files(folder))
    for number, path in enumerate(data, first):
        shutil.copy(path, prepared / f"added-{number}-{digest}.h5")
    prepared.rename(folder / NEXT)
    finish_beginning(folder)


def finish_beginning(folder: Path) -> None:
    """Do what is left to do of :func:`begin_round`."""
    aside = folder / NEXT
    if not aside.exists():
        return
    for pattern in MADE:
        for path in folder.glob(pattern):
            shutil.move(path, aside / path.name)
    for path in aside.glob("added-*.h5"):
        path.rename(folder / path.name)
    aside.rename(folder / f"round-{len(rounds(folder))}")


def _number(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[0])
