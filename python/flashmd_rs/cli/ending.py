"""How a run ended: what the command says of it, and its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from flashmd_rs.trajectory import Trajectory

# Exit code of a run that its wall time ended: EX_TEMPFAIL of sysexits, "try again later". A complete run exits with 0.
TO_BE_GONE_ON_WITH = 75


@contextmanager
def says_how_to_go_on(checkpoint: Path | None) -> Iterator[None]:
    """Say how to go on with a run that Ctrl-C or a batch system ended, if it has saved its checkpoint."""
    before = _stamp(checkpoint)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _stamp(checkpoint) != before:
            with suppress(OSError):  # the terminal may be what went away
                typer.echo(f"saved: {_how(checkpoint)}", err=True)
        raise


def tell_end(runs: list[Trajectory], checkpoint: Path | None, err: bool, kept: str | None = None) -> None:
    """Sum the runs up; of one that its wall time ended say so, and exit with :data:`TO_BE_GONE_ON_WITH`.

    Args:
        runs: replicas of one run.
        checkpoint: of it.
        err: print on standard error, because the log has standard output.
        kept: a line that says where the frames are.
    """
    from flashmd_rs.describe import summary

    report = runs[0].report
    if report["steps"] == 0 and not report["out_of_time"]:
        typer.echo(f"complete    the run of {checkpoint} was at its end, {report['time_ps']:g} ps, before", err=err)
        return
    for run in runs:
        typer.echo(summary(run), err=err)
    if kept is not None:
        typer.echo(kept, err=err)
    if report["out_of_time"]:
        typer.echo(f"wall time over at {report['time_ps']:g} ps, saved: {_how(checkpoint)}", err=True)
        raise typer.Exit(TO_BE_GONE_ON_WITH)


def _how(checkpoint: Path | None) -> str:
    return f"go on with `flashmd-rs resume {checkpoint}`, or with the same command and --resume auto"


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Changes when a file is replaced; None where there is none."""
    if path is None or not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
