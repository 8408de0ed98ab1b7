"""Ethanol, or another molecule of the G2 set by its name in ASE: --structure-args name=CH3CONH2."""

from ase import Atoms
from ase.build import molecule


def structure(name: str = "CH3CH2OH") -> Atoms:
    """The molecule in vacuum."""
    return molecule(name)
