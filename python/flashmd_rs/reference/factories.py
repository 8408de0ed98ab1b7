"""Functions of the user's own that are named on a command line: ``package.module:name`` or ``file.py:name``."""

from __future__ import annotations

import hashlib
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class Factory:
    """A function by name, with keyword arguments.

    Attributes:
        name: ``package.module:name`` or ``file.py:name``.
        arguments: keyword arguments, as pairs.
        folder: that a file's name is relative to; None is the working directory.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()
    folder: Path | None = None

    def __call__(self) -> Any:
        """What the function returns.

        Raises:
            ValueError: there is no such function, or it does not take the arguments.
        """
        function = self._function()
        try:
            return function(**dict(self.arguments))
        except TypeError as error:
            raise ValueError(f"{self.name} with {dict(self.arguments)}: {error}") from error

    def attributes(self) -> dict[str, Any]:
        """Name, arguments, and the hash of a file, as JSON."""
        file = self._file()
        digest = None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
        name = self.name if file is None else f"{file.name}:{self.name.rpartition(':')[2]}"
        return {"name": name, "arguments": dict(self.arguments)} | ({} if digest is None else {"sha256": digest})

    def _file(self) -> Path | None:
        """The file the function is in; None of a module."""
        path = self.name.rpartition(":")[0]
        return (self.folder or Path()) / path if path.endswith(".py") else None

    def _function(self) -> Callable[..., Any]:
        file, (path, _, attribute) = self._file(), self.name.rpartition(":")
        wanted = "wanted package.module:name or file.py:name"
        if not path:
            raise ValueError(f"got {self.name!r}, {wanted}")
        if file is not None and not file.is_file():
            raise ValueError(f"there is no file {file} for {self.name!r}")
        try:
            found = resolve_name(self.name) if file is None else runpy.run_path(str(file))[attribute]
        except (ImportError, AttributeError, KeyError, ValueError) as error:
            raise ValueError(f"{self.name!r} cannot be imported ({error!r}); {wanted}") from error
        if not callable(found):
            raise ValueError(f"{self.name} is {found!r}, no function or class; {wanted}")
        function: Callable[..., Any] = found
        return function
