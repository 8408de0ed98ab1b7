"""The flags that name a system, and ``--config``: a file of them with defaults for the command's own flags."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from flashmd_rs.cli.flags import field_help


def with_system_flags(
    section: str, required: bool = True, strict: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command the flags of a system instead of its parameter ``system``.

    A command with a parameter ``context`` is given that of Typer, which knows what came from the command line.

    Args:
        section: part of the file of ``--config`` that holds defaults of the command's own flags.
        required: if the command cannot do without a system; otherwise ``system`` is None where none is named.
        strict: if every name in the section must be a flag of the command; it need not for one that shares another's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name not in ("system", "context")]
        flags = _flags()

        @functools.wraps(command)
        def wrapped(context: typer.Context, **values: Any) -> None:
            from flashmd_rs.errors import FlashMDError, InputError
            from flashmd_rs.reference import require_extra

            try:
                require_extra()
            except ImportError as error:
                raise FlashMDError(str(error)) from None
            config = values.pop("config")
            given = {name: values.pop(name) for name in flags if name != "config"}
            try:
                system, defaults = _resolve(config, given, section)
                _fill(values, defaults, config, context, strict)
            except ValueError as error:
                raise InputError(str(error)) from None
            if system is None and required:
                raise InputError(
                    "got no system: give --structure with --calculator, --openmm or --forcefield, or --config FILE"
                )
            if "context" in signature.parameters:
                values["context"] = context
            command(system=system, **values)

        placed = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [_context(), *own, *flags.values()]]
        wrapped.__signature__ = signature.replace(parameters=placed)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in placed}
        return wrapped

    return decorate


def _flags() -> dict[str, inspect.Parameter]:
    """Parameters for every field of :class:`~flashmd_rs.reference.options.SystemOptions`, and ``config``."""
    from flashmd_rs.reference.options import SEVERAL, SystemOptions

    texts = field_help(SystemOptions)
    made = {}
    for field in fields(SystemOptions):
        several = field.name.endswith("_args") or field.name in SEVERAL
        kind: Any = list[str] | None if several else bool | None if field.default is False else str | None
        text = texts[field.name]
        made[field.name] = _flag(field.name, kind, text[0].upper() + text[1:])
    help_text = "YAML or TOML file with these flags by their names, and sections of defaults for the commands' own."
    made["config"] = _flag("config", Path | None, help_text)
    return made


def _context() -> inspect.Parameter:
    return inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)


def _flag(name: str, kind: Any, text: str) -> inspect.Parameter:
    annotation: Any = Annotated[kind, typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _resolve(config: Path | None, given: dict[str, Any], section: str) -> tuple[Any, dict[str, Any]]:
    """The options of the system, None if nothing names one, and defaults of the command's own flags."""
    from flashmd_rs.reference.options import SEVERAL, SystemOptions, read_system_file

    named: dict[str, Any] = {
        name: _assigned(values, name) if name.endswith("_args") else values for name, values in given.items() if values
    }
    for name in SEVERAL:
        if name in named:
            named[name] = tuple(named[name])
    if config is None:
        return (SystemOptions(**named) if named else None), {}
    system, sections = read_system_file(config)
    return system.with_given(SystemOptions(**named)), sections[section]


def _assigned(texts: list[str], name: str) -> dict[str, Any]:
    """NAME=VALUE texts as a mapping; values are YAML: numbers, true, lists, or text."""
    import yaml

    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.isidentifier() and equals):
            raise ValueError(f"got --{name.replace('_', '-')} {text!r}, wanted NAME=VALUE")
        try:
            values[key] = _number(yaml.safe_load(value))
        except yaml.YAMLError:
            raise ValueError(
                f"got --{name.replace('_', '-')} {text!r}, whose value is no YAML: put text into quotes"
            ) from None
    return values


def _number(value: Any) -> Any:
    """YAML takes 1e-3, without a point, for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _fill(
    values: dict[str, Any], defaults: dict[str, Any], config: Path | None, context: typer.Context, strict: bool
) -> None:
    """Put ``defaults`` where a flag was not given."""
    unknown = sorted(defaults.keys() - values.keys())
    if unknown and strict:
        raise ValueError(f"{config} sets unknown flags {', '.join(unknown)}; known are {', '.join(values)}")
    for flag in context.command.params:
        source = context.get_parameter_source(flag.name or "")
        if flag.name in defaults and (source is None or source.name == "DEFAULT"):
            value = defaults[flag.name]
            try:
                alone = getattr(flag, "multiple", False) and not isinstance(value, list)
                values[flag.name] = flag.process_value(context, [value] if alone else value)
            except typer.BadParameter as error:
                raise ValueError(f"{config} sets {flag.name} = {value!r}: {error.message}") from None
