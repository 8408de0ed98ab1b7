"""Labels of a structure that belong to one moment, and do not follow its atoms to another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import ase

FRAME_INFO = ("step", "time_ps")  # what a run writes into the info of its frames

_RESULTS = frozenset(
    "energy energies force forces stress stresses virial virials dipole dipoles charges magmom magmoms hessian "
    "polarization polarizability dielectric".split()
)
# Where they end a word: dftenergy, DFTforces.
_ENDINGS = ("energy", "energies", "forces", "stress", "virial", "dipole", "magmoms")
# An info["charge"] is the charge of the system, which a calculation is given.
_RESULTS_PER_ATOM = _RESULTS | {"charge"}
# initial_charges and the like are what a calculation is given.
_GIVEN = frozenset(("initial", "formal", "nominal"))
_GIVEN_OF = frozenset(("charge", "charges", "magmom", "magmoms"))
# energy_cutoff, forces_weight and the like are about a result.
_ABOUT = frozenset(
    "cutoff weight weights unit units constant constants tolerance threshold window field scale id index".split()
)
# What the comment of a frame says of its moment: those of CP2K, QUIP, LAMMPS, i-PI and our own.
_MOMENT = frozenset(
    "i e t time timefs timeps timestep simulationtime mdtime step steps istep nstep mdstep frame iter iteration etot "
    "epot ekin volume volumea3 density densitygpercm3 pressure pressurebar".split()
)
_VELOCITIES = frozenset("velocity velocities vel vels velo velos".split())
# The last four are the targets of metatrain's FlashMD.
_MOTION = frozenset("v vx vy vz f fx fy fz futurepositions futuremomenta deltapositions deltamomenta".split())
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
    moves = not _VELOCITIES.isdisjoint(words) or "".join(words) in _MOTION
    return _is_number(values) and (moves or _is_result(words, _RESULTS_PER_ATOM))


def _is_stale_info(name: Any, value: Any) -> bool:
    if not isinstance(name, str):
        return False
    if name.lower() in _RESULTS or name in FRAME_INFO:
        return True
    words = _words(name)
    return _is_number(value) and ("".join(words) in _MOMENT or _is_result(words, _RESULTS))


def _is_result(words: list[str], results: frozenset[str]) -> bool:
    """True if words name a result, and not something about it or something that was given."""
    named = {word for word in words if word in results or word.endswith(_ENDINGS)}
    given = named <= _GIVEN_OF and not _GIVEN.isdisjoint(words)
    return bool(named) and not given and _ABOUT.isdisjoint(words)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _is_number(value: Any) -> bool:
    """True for numbers and arrays of them."""
    try:
        return np.asarray(value).dtype.kind in "iufc"
    except (ValueError, TypeError):
        return False
