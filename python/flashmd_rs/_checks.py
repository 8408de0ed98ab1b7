"""Checks of single arguments: each returns the value in its final type, or raises one InputError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from flashmd_rs.errors import InputError

LARGEST_COUNT = 2**63 - 1
LARGEST_SEED = 2**64 - 1


def plain(value: Any) -> Any:
    """What a numpy scalar or an array without axes holds, as Python's own; anything else as it is."""
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 and value.dtype.kind in "biuf":
        return value.item()
    return value


def _number(name: str, value: Any, wanted: str) -> float:
    """A real number, NaN and infinities included; a float, or what Python and numpy have of the kind."""
    number = plain(value)
    # A subclass of numpy's integers, a time is no number of anything else.
    if isinstance(number, bool | np.timedelta64) or not isinstance(number, Real | Decimal):
        raise InputError(f"got {name}={shown(value)}, wanted {wanted}")
    try:
        return float(number)
    except (OverflowError, ValueError):
        raise InputError(f"got {name}={shown(value)}, wanted {wanted}") from None


def shown(value: Any) -> str:
    """A value for a message, with the name of its class where that is not plain from how it prints."""
    try:
        text = " ".join(f"{value!r}".split())
    except ValueError:  # Python prints no integer of more than 4300 digits
        text = "a number of thousands of digits"
    text = text if len(text) <= 100 else f"{text[:99]}…"
    return text if type(value).__module__ == "builtins" else f"{text} ({class_name(value)})"


def class_name(value: Any) -> str:
    """The class of a value with its package, such as ``torch.Tensor``."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"


def positive(name: str, value: Any, unit: str, *, zero: bool = False) -> float:
    """A finite number above zero (or at zero, where ``zero`` allows it)."""
    wanted = f"a {'non-negative' if zero else 'positive'} number of {unit}"
    number = _number(name, value, wanted)
    if not math.isfinite(number) or number < 0.0 or (number == 0.0 and not zero):
        raise InputError(f"got {name}={number:g}, wanted {wanted}")
    return number


def finite(name: str, value: Any, unit: str) -> float:
    """A finite number of either sign."""
    wanted = f"a finite number of {unit}"
    number = _number(name, value, wanted)
    if not math.isfinite(number):
        raise InputError(f"got {name}={number:g}, wanted {wanted}")
    return number


def fraction(name: str, value: Any) -> float:
    """A number above 0 and at most 1."""
    number = positive(name, value, "one")
    if number > 1.0:
        raise InputError(f"got {name}={number:g}, wanted a number above 0 and at most 1")
    return number


def whole(name: str, value: Any, unit: str, *, least: int = 1) -> int:
    """A whole number of at least ``least``."""
    number = plain(value)
    if not is_whole(number) or number < least:
        raise InputError(f"got {name}={shown(value)}, wanted a whole number of {unit}, at least {least}")
    if number > LARGEST_COUNT:
        raise InputError(f"got {name} beyond 2⁶³ − 1, which no run reaches: wanted a whole number of {unit}")
    return int(number)


def is_whole(value: Any) -> bool:
    """True for Python's and numpy's integers, which truth values are not."""
    number = plain(value)
    return isinstance(number, int) and not isinstance(number, bool)


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of several words."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"got {name}={value!r}, wanted one of {', '.join(repr(choice) for choice in choices)}")
    return value


def flag(name: str, value: Any) -> bool:
    """A value that is True or False, and nothing else."""
    switch = plain(value)
    if not isinstance(switch, bool):
        raise InputError(f"got {name}={shown(value)}, wanted True or False")
    return switch
