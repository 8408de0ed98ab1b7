"""The reference systems by name.

A system's module is imported when it is asked for, so that one in ASE does not load OpenMM.
"""

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
    """The class of a reference system.

    Raises:
        ValueError: there is no system of that name; the message lists all names.
    """
    if name not in SYSTEMS:
        raise ValueError(f"no system {name!r}; there are {', '.join(SYSTEMS)}")
    found: type[Reference] = resolve_name(SYSTEMS[name])
    return found
