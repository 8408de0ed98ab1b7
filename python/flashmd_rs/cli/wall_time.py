"""Wall time on the command line, as batch systems write it."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

# The clock starts with the command, not with its run: opening a model takes time too.
_STARTED = time.monotonic()

WallTimeOption = Annotated[
    str | None,
    typer.Option(
        "--wall-time",
        help="End in time, checkpoint saved, with exit code 75: D-HH:MM:SS, HH:MM:SS, MM:SS or minutes, as Slurm "
        "writes them.",
        show_default="no limit",
    ),
]
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):(\d+)|(\d+))", re.ASCII)


def seconds_left(wall_time: str | None) -> float | None:
    """What is left of a wall time that began with the command, s; None without one.

    Raises:
        InputError: it is no time.
    """
    if wall_time is None:
        return None
    return max(1e-3, seconds(wall_time) + _STARTED - time.monotonic())


def seconds(wall_time: str) -> float:
    """A wall time in seconds, as Slurm reads it: a bare number is minutes, and ``D-HH`` days and hours.

    Raises:
        InputError: it is no time, or none at all.
    """
    from flashmd_rs.errors import InputError

    total = 0
    if found := _DAYS.fullmatch(wall_time):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    elif found := _CLOCK.fullmatch(wall_time):
        hours, minutes, rest, bare = (int(part or 0) for part in found.groups())
        total = (hours * 60 + minutes + bare) * 60 + rest
    if not 0 < total < 2**31:
        raise InputError(
            f"got --wall-time {wall_time!r}, wanted D-HH:MM:SS, HH:MM:SS, MM:SS or minutes, as Slurm writes them: "
            "23:50:00"
        )
    return float(total)
