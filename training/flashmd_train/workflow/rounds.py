"""Rounds of a run: data that are added to a finished one, and the weights that its next training begins from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

# What a round makes anew; the data, the plan and the choices stay.
MADE = ("*.yaml", "energy", "direct", "splitting", "*.log", "*.onnx", "evaluation-*", "card.md", "clock.json")


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


def begin_round(folder: Path, data: Path) -> None:
    """Add a data file to a run, and set what the round before made aside.

    Args:
        folder: of the run.
        data: HDF5 file of segments, which is copied.

    Raises:
        ValueError: the run has not come to a model yet.
    """
    if not (folder / "card.md").exists():
        raise ValueError(f"{folder} holds no finished run to add data to; run fit without --add first")
    aside = folder / f"round-{len(rounds(folder))}"
    aside.mkdir()
    for pattern in MADE:
        for path in folder.glob(pattern):
            shutil.move(path, aside / path.name)
    shutil.copy(data, folder / f"added-{len(added_files(folder))}.h5")


def _number(path: Path) -> int:
    return int(re.findall(r"\d+", path.stem)[-1])
