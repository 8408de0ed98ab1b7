"""Turns the roles of docstrings (``:class:`Model```) into plain code in the API reference."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")


class Roles(griffe.Extension):
    """Rewrites docstrings as they are loaded."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Replace each role by its last name, as code."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(
                lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", obj.docstring.value
            )
