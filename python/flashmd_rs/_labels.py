"""Labels of a structure that belong to one moment, and do not follow its atoms to another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import ase

# What a run writes into the info of its frames.
FRAME_INFO = ("step", "time_ps", "volume_A3", "density_g_per_cm3", "pressure_bar")

# Patterns of single words of a name, in lower case.
_RESULT = re.compile(
    "energy|energies|forces?|stress(es)?|virials?|dipoles?|charges|magmoms?|hessian|polarization|polarizability"
    "|dielectric"
)
_ENDINGS = ("energy", "energies", "forces", "stress", "virial", "dipole", "magmoms")  # dftenergy
# An array "charge" was computed; an info["charge"] is that of the system, which a calculation is given.
_RESULT_PER_ATOM = re.compile(f"charge|{_RESULT.pattern}")
# initial_charges and the like are what a calculation is given.
_GIVEN = re.compile("initial|formal|nominal")
_GIVEN_OF = re.compile("charges?|magmoms?")
# energy_cutoff, forces_weight and the like are about a result.
_ABOUT = re.compile("cutoff|weights?|units?|constants?|tolerance|threshold|window|field|scale|id|index")
_VELOCITY = re.compile("velocity|velocities|vels?|velos?")
# Patterns of whole names, without what joins their words. The targets are those of metatrain's FlashMD.
_MOTION = re.compile("[vf][xyz]?|(future|delta)(positions|momenta)")
# What the comment of a frame says of its moment, in files of CP2K, QUIP, LAMMPS, i-PI and our own.
_MOMENT = re.compile(
    "[iet]|(simulation|md)?time(fs|ps|step)?|(i|n|md)?steps?|frame|iter|iteration|e(tot|pot|kin)|volume(a3)?"
    "|density(gpercm3)?|pressure(bar)?"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def drop_stale(atoms: ase.Atoms) -> None:
    """Take from a structure, in place, what will not be true of its atoms once they have moved.

    Results of a calculation, with any prefix or suffix (``REF_energy``, ``forces_dft``); velocities, beside which the
    momenta are the true ones; and in ``info`` the time, step and energy of the frame it was. What a calculation is
    given (``initial_charges``, ``info["charge"]``), names and texts stay.
    """
    for name in [name for name, values in atoms.arrays.items() if _is_stale_array(name, values)]:
        del atoms.arrays[name]
    for name in [name for name, value in atoms.info.items() if _is_stale_info(name, value)]:
        del atoms.info[name]


def _is_stale_array(name: str, values: Any) -> bool:
    words = _words(name)
    moves = any(map(_VELOCITY.fullmatch, words)) or _MOTION.fullmatch("".join(words))
    return _is_number(values) and (bool(moves) or _is_result(words, _RESULT_PER_ATOM))


def _is_stale_info(name: Any, value: Any) -> bool:
    if not isinstance(name, str):
        return False
    if name in FRAME_INFO or _RESULT.fullmatch(name.lower()):
        return True
    words = _words(name)
    return _is_number(value) and (bool(_MOMENT.fullmatch("".join(words))) or _is_result(words, _RESULT))


def _is_result(words: list[str], result: re.Pattern[str]) -> bool:
    """True if words name a result, and not something about it or something that was given."""
    named = [word for word in words if result.fullmatch(word) or word.endswith(_ENDINGS)]
    given = all(map(_GIVEN_OF.fullmatch, named)) and any(map(_GIVEN.fullmatch, words))
    return bool(named) and not given and not any(map(_ABOUT.fullmatch, words))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _is_number(value: Any) -> bool:
    """True for numbers and arrays of them."""
    try:
        return np.asarray(value).dtype.kind in "iufc"
    except (ValueError, TypeError):
        return False
