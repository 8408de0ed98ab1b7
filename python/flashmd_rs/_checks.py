"""Checks of single arguments: each returns the value in its final type, or raises one InputError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flashmd_rs.errors import InputError

LARGEST_COUNT = 2**63 - 1
LARGEST_SEED = 2**64 - 1


def positive(name: str, value: Any, unit: str, *, zero: bool = False) -> float:
    """A finite number above zero (or at zero, where ``zero`` allows it)."""
    wanted = f"a {'non-negative' if zero else 'positive'} number of {unit}"
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) and not isinstance(value, float):
        raise InputError(f"got {name}={value!r}, wanted {wanted}")
    if not math.isfinite(number) or number < 0.0 or (number == 0.0 and not zero):
        raise InputError(f"got {name}={number:g}, wanted {wanted}")
    return number


def finite(name: str, value: Any, unit: str) -> float:
    """A finite number of either sign."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"got {name}={value!r}, wanted a finite number of {unit}")
    return number


def fraction(name: str, value: Any) -> float:
    """A number above 0 and at most 1."""
    number = positive(name, value, "one")
    if number > 1.0:
        raise InputError(f"got {name}={number:g}, wanted a number above 0 and at most 1")
    return number


def whole(name: str, value: Any, unit: str, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not is_whole(value) or value < least:
        raise InputError(f"got {name}={value!r:.100}, wanted a whole number of {unit}, at least {least}")
    if value > LARGEST_COUNT:
        raise InputError(f"got {name} beyond 2⁶³ − 1, which no run reaches: wanted a whole number of {unit}")
    return int(value)


def is_whole(value: Any) -> bool:
    """True for Python's and numpy's integers."""
    return hasattr(value, "__index__")


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of several words."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"got {name}={value!r}, wanted one of {', '.join(repr(choice) for choice in choices)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise InputError(f"got {name}={value!r}, wanted True or False")
    return value
