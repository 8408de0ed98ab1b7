"""The systems by name; one is imported when it is asked for, so that each needs only its own libraries."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashmd_rs.reference.base import Reference

SYSTEMS = {
    "water": "flashmd_rs.reference.water:Water",
    "alanine-dipeptide": "flashmd_rs.reference.alanine:AlanineDipeptide",
    "aluminium": "flashmd_rs.reference.aluminium:Aluminium",
    "aluminium-110": "flashmd_rs.reference.aluminium:AluminiumSurface",
    "silver-iodide": "flashmd_rs.reference.silver_iodide:SilverIodide",
}


def system(name: str) -> type[Reference]:
    """The class behind a name.

    Raises:
        ValueError: there is no such system; the message lists those there are.
    """
    if name not in SYSTEMS:
        raise ValueError(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    return resolve_name(SYSTEMS[name])
