"""Warnings that point at the line of the program that called the package."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from flashmd_rs.errors import FlashMDWarning

_PACKAGE = str(Path(__file__).parent)


def warn(message: str) -> None:
    """Give a FlashMDWarning for the innermost caller outside the package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, FlashMDWarning, stacklevel=level)
