"""Errors and warnings as the command line shows them: one line each, and an exit code."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
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
