"""``--config`` and ``--save-config``: a TOML file in place of flags, and flags as such a file."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

# What says how a command is run, not what it runs.
_OWN = ("config", "save_config", "dry_run", "json_summary")


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Take the entries of a file for options that are not given."""
    if path is not None:
        context.default_map = _entries(context, path)
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        is_eager=True,
        callback=_read,
        help="TOML file with arguments and options by name, such as time_ps = 10; what is given beside it wins.",
    ),
]
SaveConfig = Annotated[
    Path | None,
    typer.Option(
        "--save-config",
        help="TOML file for --config, written with what this command was given; replaced if it exists.",
    ),
]


def write_config(context: typer.Context, path: Path) -> None:
    """Write all that a command was given, by its flags or by a file, as a file for ``--config``.

    Raises:
        OSError: the file cannot be written.
    """
    import tomli_w

    from flashmd_rs.writers.atomic_write import atomic_write

    given = {
        name: os.fspath(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name not in _OWN and value is not None and _is_given(context, name)
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(tomli_w.dumps(given).encode())


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "DEFAULT_MAP")


def _entries(context: typer.Context, path: Path) -> dict[str, Any]:
    """The entries of a file by the names of the command's parameters.

    Raises:
        BadParameter: the file is missing, no TOML, or has an entry that is no option of the command.
    """
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise typer.BadParameter(f"{error.strerror}: {path}") from None
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not TOML: {error}") from None
    known = [str(parameter.name) for parameter in context.command.params if parameter.name not in _OWN]
    entries: dict[str, Any] = {}
    for name, value in found.items():
        parameter = name.replace("-", "_").lower()
        if parameter not in known or isinstance(value, dict):
            near = difflib.get_close_matches(parameter, known, 1)
            hint = f": did you mean {near[0]}?" if near and not isinstance(value, dict) else ", one entry per option"
            raise typer.BadParameter(f"{path} has {name!r}, which is no option of {context.info_name}{hint}")
        entries[parameter] = value
    return entries
