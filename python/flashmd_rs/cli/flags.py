"""Flags made from the option classes: a field of a class is a flag of the command, with the help of its docstring."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_type_hints

import typer

from flashmd_rs.options import (
    BAROSTATS,
    THERMOSTATS,
    Checkpoint,
    EnergyRescaling,
    Guard,
    GuardPolicy,
    Option,
    Output,
    Scope,
)


@dataclass(frozen=True)
class FlagGroup:
    """An argument of ``rollout`` whose option has fields of its own.

    ``--ARGUMENT WORD`` chooses, ``--ARGUMENT-FIELD VALUE`` sets a field.

    Attributes:
        argument: name in ``rollout``.
        classes: option by the word that chooses it; of several classes, the first is the default.
        word: field that takes the word itself, or None where the word is the class.
        left_out: fields that are no flags of this command.
    """

    argument: str
    classes: dict[str, type[Option]]
    word: str | None = None
    left_out: tuple[str, ...] = ()

    def flags(self) -> dict[str, inspect.Parameter]:
        """Parameters of a command by the field they set, for every field but the word's."""
        made: dict[str, inspect.Parameter] = {}
        for option in dict.fromkeys(self.classes.values()):
            texts, types = field_help(option), get_type_hints(option)
            for field in fields(option):  # type: ignore[arg-type]
                if field.name not in (self.word, *self.left_out, *made):
                    default = None if field.default is MISSING else field.default
                    made[field.name] = self._flag(field.name, types[field.name], texts.get(field.name, ""), default)
        return made

    def _flag(self, field: str, kind: Any, text: str, default: Any) -> inspect.Parameter:
        name = f"{self.argument}_{field}"
        shown = "none" if default is None else str(default)
        declared = [f"--{name.replace('_', '-')}"] if default is False else []
        option = typer.Option(*declared, help=text, show_default=shown)
        annotation: Any = Annotated[_flag_type(kind), option]
        unset = False if default is False else None
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=unset, annotation=annotation)

    def take(self, values: dict[str, Any]) -> Any:
        """The argument of ``rollout`` from the values of its flags, which are taken out of ``values``.

        Raises:
            InputError: a field is set that the chosen option does not have.
        """
        from flashmd_rs.errors import InputError

        chosen = values.pop(self.argument)
        given = {field: values.pop(parameter.name) for field, parameter in self.flags().items()}
        given = {field: value for field, value in given.items() if value is not None and value is not False}
        if not given:
            return chosen
        flags = ", ".join(f"--{self.argument}-{field}".replace("_", "-") for field in given)
        word = next(iter(self.classes)) if chosen is None and self.word is None else chosen
        option = self.classes.get("" if isinstance(word, os.PathLike) else word)
        if option is None or not set(given) <= {field.name for field in fields(option)}:  # type: ignore[arg-type]
            wanted = " or ".join(name for name in self.classes if name) or "a file"
            raise InputError(
                f"got {flags} with --{self.argument.replace('_', '-')} {chosen or 'not given'}: wanted {wanted}, "
                "and flags that belong to it (see --help)"
            )
        return option(**({} if self.word is None else {self.word: word}), **given)


GROUPS = (
    FlagGroup("thermostat", dict(THERMOSTATS)),
    FlagGroup("barostat", dict(BAROSTATS)),
    FlagGroup("rescale_energy", dict.fromkeys(get_args(Scope), EnergyRescaling), "scope"),
    FlagGroup("guard", {word: Guard for word in get_args(GuardPolicy) if word != "off"}, "policy"),
    FlagGroup("trajectory", {"": Output}, "path", left_out=("interval",)),
    FlagGroup("checkpoint", {"": Checkpoint}, "path", left_out=("allow_other_model",)),
)


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the flags of every group behind its own parameters.

    The command declares each group's argument and takes ``**options``: in it are the values of the flags.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    names = {group.argument: list(group.flags().values()) for group in GROUPS}
    placed = [flag for p in own for flag in (p, *names.get(p.name, []))]
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in placed]
    command.__signature__ = signature.replace(parameters=keyword_only)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in placed}
    return command


def field_help(option: type) -> dict[str, str]:
    """The text of each field in the ``Attributes`` of a class's docstring."""
    text = (inspect.getdoc(option) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: re.sub(r"`+", "", " ".join(help_text.split())) for name, help_text in entries}


def _flag_type(kind: Any) -> Any:
    """The type of a field as Typer takes it; None is a flag that is not given."""
    members = [
        member for member in (get_args(kind) if isinstance(kind, UnionType) else (kind,)) if member is not NoneType
    ]
    if kind is bool:
        return bool
    if len(members) > 1:  # a path as text or as an object
        return Path | None
    return members[0] | None
