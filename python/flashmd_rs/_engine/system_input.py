"""Input of the core for one system: arrays, momenta and constraints of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flashmd_rs import _checks
from flashmd_rs._structure import F64, Geometry, constraints, geometry, momenta
from flashmd_rs.errors import InputError
from flashmd_rs.temperature import draw_momenta, internal_momenta

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class SystemInput(Geometry):
    """Where one system of a run begins.

    Attributes:
        momenta: [N,3], √(eV·u).
        fixed: [N], True for atoms that never move.
        bond_radii: [N], covalent radii, Å: what molecules are found by.
        replica: whose random numbers it draws.
        temperature_K: of its thermostat, K, or None.
    """

    momenta: F64
    fixed: NDArray[np.bool_]
    bond_radii: F64
    replica: int
    temperature_K: float | None


def by_replica(atoms: ase.Atoms | Sequence[ase.Atoms], first: int) -> dict[int, ase.Atoms]:
    """The structures of a run by the numbers of their replicas, from ``first`` on.

    Raises:
        InputError: an empty list, or a number that is none.
    """
    if not _checks.is_whole(first) or not 0 <= int(first) < 2**63:
        raise InputError(f"got replica={_checks.shown(first)}, wanted a whole number, at least 0")
    if not isinstance(atoms, Sequence):
        return {int(first): atoms}
    if not atoms:
        raise InputError("got an empty list of structures: wanted at least one ase.Atoms")
    return {int(first) + k: structure for k, structure in enumerate(atoms)}


def system_inputs(
    structures: dict[int, ase.Atoms], temperature_K: Sequence[float] | None, seed: int
) -> list[SystemInput]:
    """Every structure of a run as the core takes it; momenta are drawn where there are none.

    Raises:
        InputError: a structure is not usable, or has neither momenta nor a temperature.
    """
    targets: Sequence[float | None] = temperature_K or [None] * len(structures)
    return [
        _system_input(atoms, replica, target, seed)
        for (replica, atoms), target in zip(structures.items(), targets, strict=True)
    ]


def _system_input(atoms: ase.Atoms, replica: int, temperature_K: float | None, seed: int) -> SystemInput:
    from ase.data import covalent_radii

    arrays = geometry(atoms)
    constrained = constraints(atoms)
    start = momenta(atoms)
    if start is None:
        if temperature_K is None:
            raise InputError(
                "the structure has no momenta and no temperature was given: set temperature_K, or momenta on the "
                "structure"
            )
        start = draw_momenta(arrays.masses, temperature_K, seed, replica=replica, fixed=constrained.fixed)
    if constrained.centre_of_mass:
        start = internal_momenta(start, arrays.masses)
    radii = covalent_radii[np.clip(arrays.numbers, 0, len(covalent_radii) - 1)]
    return SystemInput(
        **{name: getattr(arrays, name) for name in Geometry.__dataclass_fields__},
        momenta=start,
        fixed=constrained.fixed,
        bond_radii=radii,
        replica=replica,
        temperature_K=temperature_K,
    )
