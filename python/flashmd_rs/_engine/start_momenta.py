"""Momenta that a system begins with, where they come from, and what its user should know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flashmd_rs._engine.rigid_molecules import rigid_distances
from flashmd_rs._structure import F64, momenta
from flashmd_rs._velocities import COLUMN_UNITS, in_ase_units, velocity_columns
from flashmd_rs.errors import InputError
from flashmd_rs.options import MomentaChoice
from flashmd_rs.temperature import degrees_of_freedom, draw_momenta, temperatures

if TYPE_CHECKING:
    import ase

# Factors by which a temperature is off the one asked for where that is said, and where it is warned of, if chance alone
# does not bring it there.
_FAR, _VERY_FAR = 2.0, 10.0
_CHANCE = 1e-4
# Where a mistaken unit would bring them, off by a factor of a million.
_USUAL_K = (30.0, 5000.0)


@dataclass(frozen=True)
class StartMomenta:
    """Momenta that a system begins with.

    Attributes:
        values: [N,3], √(eV·u).
        source: where they come from, in words.
        warnings: what is odd about that.
    """

    values: F64
    source: str
    warnings: tuple[str, ...] = ()


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
        return _of_the_structure(atoms, own, temperature_K, fixed)
    if temperature_K is None:
        if choice == "draw":
            raise InputError("momenta='draw' draws them at a temperature: give temperature_K")
        raise InputError(
            "the structure has no momenta and no temperature was given: set temperature_K, or momenta on the structure"
            f"{_hint(atoms)}"
        )
    source = f"drawn at {temperature_K:g} K"
    warnings: tuple[str, ...] = ()
    if choice == "auto" and at_rest:
        source += ", as the structure is at rest"
        warnings = (f"the structure's momenta are all zero: others are {source}; momenta='structure' keeps them",)
    elif choice == "auto" and velocity_columns(atoms):
        warnings = (f"the structure has no momenta: they are {source}{_hint(atoms)}",)
    drawn = draw_momenta(atoms.get_masses(), temperature_K, seed, replica=replica, fixed=fixed)
    return StartMomenta(drawn, source, warnings)


def _of_the_structure(atoms: ase.Atoms, own: F64, wanted_K: float | None, fixed: NDArray[np.bool_]) -> StartMomenta:
    """The structure's own momenta, how hot they are, and what is odd about that."""
    masses, symbols = atoms.get_masses(), np.array(atoms.get_chemical_symbols())
    source, warnings = "from the structure", _stale_columns(atoms, own)
    found_K = temperatures(own, masses, symbols, fixed)["total"]
    if not np.isfinite(found_K):
        return StartMomenta(own, source, warnings)
    source += f", {_kelvin(found_K)}"
    dof = degrees_of_freedom(masses, symbols, fixed)["total"]
    rigid = 0 if fixed.any() else rigid_distances(atoms, own, found_K)
    if 0 < rigid < dof:
        warnings += (
            f"momenta {source}, hold no heat along the bonds of hydrogens: they are those of rigid molecules, whose "
            f"{dof - rigid:.0f} of {dof:.0f} degrees of freedom are at {_kelvin(found_K * dof / (dof - rigid))}; the "
            "model's bonds move and will share it: draw them with momenta='draw', or let a thermostat warm the bonds",
        )
    if wanted_K and _is_off(_FAR, found_K, wanted_K, dof):
        source += f" ({wanted_K:g} K asked for)"
    advice = _unit_mistaken(found_K)
    if advice is None and wanted_K and _is_off(_VERY_FAR, found_K, wanted_K, dof):
        advice = "momenta='draw' draws them, and a thermostat takes its time"
    if advice is not None:
        warnings += (f"momenta {source}: {advice}",)
    return StartMomenta(own, source, warnings)


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


def _stale_columns(atoms: ase.Atoms, own: F64) -> tuple[str, ...]:
    """What to say of columns of other velocities than the momenta's."""
    velocities = own / atoms.get_masses()[:, None]
    stale = [name for name, column in velocity_columns(atoms).items() if not _parallel(column, velocities)]
    names = ", ".join(map(repr, stale))
    return (f"the structure has momenta, and other velocities in {names}: the momenta are used",) if stale else ()


def _parallel(column: F64, velocities: F64) -> bool:
    """True if two arrays are the same in some unit each, to the digits that files keep."""
    norms = np.linalg.norm(column), np.linalg.norm(velocities)
    return bool(np.vdot(column, velocities) > (1.0 - 1e-4) * norms[0] * norms[1])


def _unit_mistaken(found_K: float) -> str | None:
    """What to do about momenta that velocities in Å/fs make which were read as Å/ps, or the other way round."""
    for factor, speed, written, taken, units in (
        (1e6, "slow", "Å/fs", "Å/ps", "real"),
        (1e-6, "fast", "Å/ps", "Å/fs", "metal"),
    ):
        if _USUAL_K[0] < factor * found_K < _USUAL_K[1]:
            return (
                f"a thousand times too {speed}, as velocities in {written} are that were read as {taken}: read a file "
                f"in LAMMPS' {units} units with --units {units} (in Python read_structure(…, units={units!r}))"
            )
    return None


def _is_off(factor: float, found_K: float, wanted_K: float, dof: float) -> bool:
    """True if a temperature is off by more than a factor, and more than chance makes of few degrees of freedom."""
    if 1.0 / factor <= found_K / wanted_K <= factor:
        return False
    from scipy.special import gammainc, gammaincc

    tail = gammaincc if found_K > wanted_K else gammainc
    return bool(tail(dof / 2.0, dof * found_K / wanted_K / 2.0) < _CHANCE)


def _kelvin(temperature_K: float) -> str:
    return f"{temperature_K:.0f} K" if 10.0 <= temperature_K < 1e5 else f"{temperature_K:.2g} K"
