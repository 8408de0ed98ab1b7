"""Input of the core for one system: arrays, momenta and constraints of a structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flashmd_rs import _checks
from flashmd_rs._engine.settings import Settings
from flashmd_rs._engine.start_momenta import StartMomenta, start_momenta
from flashmd_rs._structure import F64, Geometry, constraints, geometry
from flashmd_rs.errors import InputError
from flashmd_rs.temperature import internal_momenta

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class SystemInput(Geometry):
    """Where one system of a run begins.

    Attributes:
        momenta: [N,3], √(eV·u).
        momenta_source: where they come from, in words.
        warnings: said when the run is prepared.
        fixed: [N], True for atoms that never move.
        bond_radii: [N], covalent radii, Å: what molecules are found by.
        replica: whose random numbers it draws.
        temperature_K: of its thermostat, K, or None.
    """

    momenta: F64
    momenta_source: str
    warnings: tuple[str, ...]
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
    structures: dict[int, ase.Atoms], settings: Settings, saved_step: int | None = None
) -> list[SystemInput]:
    """Every structure of a run as the core takes it, with the momenta it begins with.

    Args:
        structures: by replica.
        settings: of the run.
        saved_step: step of the checkpoint that the core takes positions and momenta from, or None for a new run.

    Raises:
        InputError: a structure is not usable, or has no momenta where there is no temperature to draw them at.
    """
    targets: Sequence[float | None] = settings.temperature_K or [None] * len(structures)
    return [
        _system_input(atoms, replica, target, settings, saved_step)
        for (replica, atoms), target in zip(structures.items(), targets, strict=True)
    ]


def _system_input(
    atoms: ase.Atoms, replica: int, temperature_K: float | None, settings: Settings, saved_step: int | None
) -> SystemInput:
    from ase.data import covalent_radii

    arrays = geometry(atoms)
    _check_occupancy(atoms)
    constrained = constraints(atoms)
    if saved_step is None:
        start = start_momenta(atoms, settings.momenta, temperature_K, constrained.fixed, settings.seed, replica)
    else:
        start = StartMomenta(np.zeros_like(arrays.positions), f"from the checkpoint, step {saved_step}")
    values = internal_momenta(start.values, arrays.masses) if constrained.centre_of_mass else start.values
    radii = covalent_radii[np.clip(arrays.numbers, 0, len(covalent_radii) - 1)]
    return SystemInput(
        **{name: getattr(arrays, name) for name in Geometry.__dataclass_fields__},
        momenta=values,
        momenta_source=start.source,
        warnings=start.warnings,
        fixed=constrained.fixed,
        bond_radii=radii,
        replica=replica,
        temperature_K=temperature_K,
    )


def _check_occupancy(atoms: ase.Atoms) -> None:
    """Refuse partly occupied sites, as ASE notes them in ``info`` where it reads a CIF file."""
    sites = atoms.info.get("occupancy")
    for site in sites.values() if isinstance(sites, dict) else ():
        shares = list(site.values()) if isinstance(site, dict) else []
        if any(isinstance(share, int | float) and 0.0 < share < 1.0 for share in shares):
            shown = ", ".join(f"{symbol} {share}" for symbol, share in site.items())
            raise InputError(
                f"the structure has partly occupied sites ({shown}), by its info['occupancy']: give one with the atoms "
                "that are there"
            )
