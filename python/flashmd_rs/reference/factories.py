"""Functions of the user's own that are named on a command line: ``package.module:name`` or ``file.py:name``."""

from __future__ import annotations

import hashlib
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

WANTED = "wanted package.module:name or file.py:name"


@dataclass(frozen=True)
class Factory:
    """A function by name, with keyword arguments.

    Attributes:
        name: ``package.module:name`` or ``file.py:name``; the file's path is made absolute, so that a worker finds it
            from another folder.
        arguments: keyword arguments, as pairs.
        sha256: hash of the file, with which it must be called; None of a module.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    sha256: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        path, _, attribute = self.name.rpartition(":")
        if path.endswith(".py"):
            object.__setattr__(self, "name", f"{Path(path).absolute()}:{attribute}")
            if Path(path).is_file():
                object.__setattr__(self, "sha256", _sha256(Path(path)))

    def __call__(self) -> Any:
        """What the function returns.

        Raises:
            ValueError: there is no such function, or it fails.
        """
        function = self._function()
        try:
            return function(**dict(self.arguments))
        except (Exception, SystemExit) as error:  # whatever the user's function may raise
            given = ", ".join(f"{key}={value!r}" for key, value in self.arguments)
            raise ValueError(f"{self.short_name}({given}) fails: {error!r}") from error

    @property
    def short_name(self) -> str:
        """The name, without the folder of a file."""
        file = self._file()
        return self.name if file is None else self.name[len(str(file.parent)) + 1 :]

    def attributes(self) -> dict[str, Any]:
        """Name, arguments, and the hash of a file, as JSON."""
        digest = {} if self.sha256 is None else {"sha256": self.sha256}
        return {"name": self.short_name, "arguments": dict(self.arguments)} | digest

    def _file(self) -> Path | None:
        """The file the function is in; None of a module."""
        path = self.name.rpartition(":")[0]
        return Path(path) if path.endswith(".py") else None

    def _function(self) -> Callable[..., Any]:
        file, (path, _, attribute) = self._file(), self.name.rpartition(":")
        if not path:
            raise ValueError(f"got {self.name!r}, {WANTED}")
        if file is not None and not file.is_file():
            raise ValueError(f"there is no file {file} for {self.short_name!r}")
        if file is not None and _sha256(file) != self.sha256:
            raise ValueError(f"{file} was changed while it was in use: what it made before and after would not agree")
        try:
            found = resolve_name(self.name) if file is None else runpy.run_path(str(file))[attribute]
        except (Exception, SystemExit) as error:  # whatever the user's file may raise
            raise ValueError(f"{self.short_name!r} cannot be imported ({error!r}); {WANTED}") from error
        if not callable(found):
            raise ValueError(f"{self.short_name} is {found!r}, no function or class; {WANTED}")
        function: Callable[..., Any] = found
        return function


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
