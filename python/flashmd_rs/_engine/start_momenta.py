"""Momenta that a system begins with, where they come from, and what its user should know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.units import kB
from numpy.typing import NDArray

from flashmd_rs._structure import F64, momenta
from flashmd_rs._velocities import COLUMN_UNITS, in_ase_units, velocity_columns
from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError
from flashmd_rs.neighbors import neighbor_list
from flashmd_rs.options import MomentaChoice
from flashmd_rs.temperature import degrees_of_freedom, draw_momenta, temperatures

if TYPE_CHECKING:
    import ase

# A temperature is far from the one asked for where it is off by this factor and chance does not bring it there.
_FAR = 2.0
_CHANCE = 1e-4
# Longest bond of a hydrogen that is looked at, Å, and the part of the temperature below which bonds are rigid: what
# velocities half a step off, and positions of three decimals, leave.
_HYDROGEN_BOND_A = 1.25
_RIGID = 0.02
_FEWEST_BONDS = 6


@dataclass(frozen=True)
class StartMomenta:
    """Momenta that a system begins with.

    Attributes:
        values: [N,3], √(eV·u).
        source: where they come from, in words.
    """

    values: F64
    source: str


def start_momenta(
    atoms: ase.Atoms,
    choice: MomentaChoice,
    temperature_K: float | None,
    fixed: NDArray[np.bool_],
    seed: int,
    replica: int,
) -> StartMomenta:
    """The momenta of a structure, or drawn ones.

    Args:
        atoms: the structure.
        choice: ``"structure"``, ``"draw"``, or ``"auto"``: those of the structure where it has any but zeros.
        temperature_K: to draw them at, K, or None.
        fixed: [N], True for atoms that never move.
        seed: of drawn ones.
        replica: of drawn ones.

    Raises:
        InputError: momenta are needed and there are none; or they are to be drawn, and there is no temperature.
    """
    own = momenta(atoms)
    at_rest = own is not None and not own[~fixed].any()
    if choice == "structure" or (choice == "auto" and own is not None and not (at_rest and temperature_K)):
        if own is None:
            raise InputError(f"momenta='structure' needs momenta on the structure, which has none{_hint(atoms)}")
        _warn_of_stale_columns(atoms, own)
        return StartMomenta(own, _describe(atoms, own, temperature_K, fixed))
    if temperature_K is None:
        if choice == "draw":
            raise InputError("momenta='draw' draws them at a temperature: give temperature_K")
        raise InputError(
            "the structure has no momenta and no temperature was given: set temperature_K, or momenta on the structure"
            f"{_hint(atoms)}"
        )
    source = f"drawn at {temperature_K:g} K"
    if choice == "auto" and at_rest:
        source += ", as those of the structure are all zero"
        warn(f"the momenta of the structure are all zero: they are {source}; momenta='structure' starts from rest")
    elif choice == "auto" and velocity_columns(atoms):
        warn(f"the structure has no momenta: they are {source}{_hint(atoms)}")
    drawn = draw_momenta(atoms.get_masses(), temperature_K, seed, replica=replica, fixed=fixed)
    return StartMomenta(drawn, source)


def _hint(atoms: ase.Atoms) -> str:
    """What to do with a column of velocities, of which nothing says the unit; empty where there is none."""
    columns = velocity_columns(atoms)
    if not columns:
        return ""
    name, velocities = next(iter(columns.items()))
    found = {units: _temperature(atoms, in_ase_units(velocities, units)) for units in COLUMN_UNITS}
    shown = ", ".join(f"{units} ({unit}) {_kelvin(found[units])}" for units, unit in COLUMN_UNITS.items())
    return (
        f"; its column {name!r} holds velocities in a unit that nothing states: set momenta from it, or read the file "
        f"with --units, by which they would be: {shown}"
    )


def _temperature(atoms: ase.Atoms, velocities: F64) -> float:
    masses = atoms.get_masses()
    return temperatures(velocities * masses[:, None], masses, np.array(atoms.get_chemical_symbols()))["total"]


def _warn_of_stale_columns(atoms: ase.Atoms, own: F64) -> None:
    """Say once that columns of other velocities than the momenta's are not used."""
    velocities = own / atoms.get_masses()[:, None]
    stale = [name for name, column in velocity_columns(atoms).items() if not _parallel(column, velocities)]
    if stale:
        warn(f"the structure has momenta, and other velocities in {', '.join(map(repr, stale))}: the momenta are used")


def _parallel(column: F64, velocities: F64) -> bool:
    """True if two arrays are the same in some unit each, to the digits that files keep."""
    norms = np.linalg.norm(column), np.linalg.norm(velocities)
    return bool(np.vdot(column, velocities) > (1.0 - 1e-4) * norms[0] * norms[1])


def _describe(atoms: ase.Atoms, own: F64, wanted_K: float | None, fixed: NDArray[np.bool_]) -> str:
    """Where momenta of the structure come from, and how hot they are; what is odd about that is warned of."""
    masses, symbols = atoms.get_masses(), np.array(atoms.get_chemical_symbols())
    found_K = temperatures(own, masses, symbols, fixed)["total"]
    source = "from the structure"
    if not np.isfinite(found_K):
        return source
    source += f", {_kelvin(found_K)}"
    dof = degrees_of_freedom(masses, symbols, fixed)["total"]
    rigid = None if fixed.any() else _rigid_constraints(atoms, own, found_K)
    if rigid and rigid < dof:
        warn(
            f"momenta {source}, hold no heat along the bonds of hydrogens: they are those of rigid molecules, whose "
            f"{dof - rigid:.0f} of {dof:.0f} degrees of freedom are at {_kelvin(found_K * dof / (dof - rigid))}; the "
            "model's bonds move and will share it: draw them with momenta='draw', or let a thermostat warm the bonds"
        )
    if wanted_K and _is_far(found_K, wanted_K, dof):
        source += f" ({wanted_K:g} K asked for)"
        warn(f"momenta {source}: momenta='draw' draws them, and a thermostat takes its time")
    return source


def _is_far(found_K: float, wanted_K: float, dof: float) -> bool:
    """True if a temperature is off by more than a factor, and more than chance makes of few degrees of freedom."""
    if 1.0 / _FAR <= found_K / wanted_K <= _FAR:
        return False
    from scipy.special import gammainc, gammaincc

    tail = gammaincc if found_K > wanted_K else gammainc
    return bool(tail(dof / 2.0, dof * found_K / wanted_K / 2.0) < _CHANCE)


def _rigid_constraints(atoms: ase.Atoms, own: F64, found_K: float) -> int | None:
    """How many distances are rigid: of hydrogens to what they are bonded to, and of two in a water; None if they move.

    A distance is rigid if the atoms do not move along it: μ·v²/k_B, which is the temperature on average, is near zero.
    """
    if found_K <= 0.0 or not np.any(atoms.numbers == 1):
        return None
    i, j, vectors = neighbor_list("ijD", atoms, _HYDROGEN_BOND_A)
    bonds = (atoms.numbers[i] == 1) & (atoms.numbers[j] > 1)
    hydrogens, partners, vectors = i[bonds], j[bonds], vectors[bonds]
    if len(hydrogens) < _FEWEST_BONDS or not _is_rigid(atoms, own, hydrogens, partners, vectors, found_K):
        return None
    order = np.argsort(partners, kind="stable")
    hydrogens, partners, vectors = hydrogens[order], partners[order], vectors[order]
    oxygens, first, counts = np.unique(partners, return_index=True, return_counts=True)
    waters = first[(counts == 2) & (atoms.numbers[oxygens] == 8)]
    across = vectors[waters] - vectors[waters + 1]
    if len(waters) and _is_rigid(atoms, own, hydrogens[waters], hydrogens[waters + 1], across, found_K):
        return len(hydrogens) + len(waters)
    return len(hydrogens)


def _is_rigid(
    atoms: ase.Atoms, own: F64, i: NDArray[np.int64], j: NDArray[np.int64], vectors: F64, found_K: float
) -> bool:
    masses = atoms.get_masses()
    along = np.sum((own[j] / masses[j, None] - own[i] / masses[i, None]) * vectors, axis=1)
    squared = along**2 / np.sum(vectors**2, axis=1)
    reduced = masses[i] * masses[j] / (masses[i] + masses[j])
    return bool(np.mean(reduced * squared) / kB < _RIGID * found_K)


def _kelvin(temperature_K: float) -> str:
    return f"{temperature_K:.0f} K" if temperature_K >= 10.0 or not temperature_K else f"{temperature_K:.2g} K"
