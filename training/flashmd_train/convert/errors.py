"""Why a checkpoint cannot be imported."""

from __future__ import annotations

import reprlib

WANTED = "give the .ckpt file that `mtt train` writes, not the exported .pt"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = 10


class ConversionError(ValueError):
    """A checkpoint that cannot be imported; the message says what to do."""


def quote(found: object) -> str:
    """What a file holds, which may be anything, in a few characters that do not break a line."""
    return _SHORT.repr(found)


def one_line(said: object) -> str:
    """What another library said, short enough to quote."""
    text = " ".join(str(said).split())
    return text if len(text) < 200 else text[:200] + "…"
