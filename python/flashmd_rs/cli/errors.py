"""Errors and warnings as the command line shows them: one line each, and an exit code."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer


def plainly(command: Callable[..., None]) -> Callable[..., None]:
    """The command with errors and warnings as one line on standard error; exit code 1 for an error, 130 for Ctrl-C."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                command(*args, **kwargs)
            except typer.Exit:
                raise
            except KeyboardInterrupt:
                typer.echo("interrupted", err=True)
                raise typer.Exit(130) from None
            except Exception as error:
                if os.environ.get("FLASHMD_TRACEBACK"):
                    raise
                typer.echo(f"error: {_one_line(error)}", err=True)
                raise typer.Exit(1) from None

    return wrapped


@contextmanager
def says_how_to_go_on(checkpoint: Path | None) -> Iterator[None]:
    """Say how to go on with a run that Ctrl-C or SIGTERM ended, if it has saved its checkpoint."""
    before = _stamp(checkpoint)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if _stamp(checkpoint) != before:
            typer.echo(f"saved: go on with `flashmd-rs resume {checkpoint}`", err=True)
        raise


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Changes when a file is replaced; None where there is none."""
    if path is None or not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


def _one_line(error: Exception) -> str:
    from flashmd_rs.errors import FlashMDError

    if isinstance(error, OSError) and error.strerror:
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{file}"
    if isinstance(error, FlashMDError | OSError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error} (unexpected; FLASHMD_TRACEBACK=1 shows where it came from)"
