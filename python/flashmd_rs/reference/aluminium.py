"""Aluminium, bulk and (110) surface, in ASE's effective-medium theory (EMT).

Source of the potential: Jacobsen, Stoltze & Nørskov, Surf. Sci. 366, 394 (1996), as implemented in ASE.
"""

from __future__ import annotations

from ase.build import bulk, fcc110
from ase.calculators.emt import EMT

from flashmd_rs.reference.ase_system import ASEReference

# EMT's lattice constant at 0 K is 3.99 Å; at this one its pressure is −0.6 GPa at 300 K, 0 at 500 K, +0.6 GPa at 700 K.
LATTICE_A = 4.05


class Aluminium(ASEReference):
    """``size``³ cubic cells of fcc aluminium, 4 atoms each."""

    description = "aluminium, ASE effective-medium theory, velocity Verlet"
    size_is = "cubic cells along an edge"
    size = 3
    timestep_fs = 2.0
    equilibration_timestep_fs = 2.0
    temperatures_K = (300.0, 500.0, 700.0, 900.0)
    spacing_fs = 8.0
    length_fs = 64.0
    decorrelation_fs = 40.0
    equilibration_ps = 3.0

    def __init__(self, size: int = size, timestep_fs: float | None = None) -> None:
        super().__init__(bulk("Al", "fcc", a=LATTICE_A, cubic=True) * (size, size, size), timestep_fs)

    def calculator(self) -> EMT:
        """A new EMT calculator."""
        return EMT()


class AluminiumSurface(Aluminium):
    """A slab of 7 layers with two (110) faces, ``size`` cells along [001] and about as wide, under 16 Å of vacuum."""

    description = "aluminium (110) slab of 7 layers, ASE effective-medium theory, velocity Verlet"
    size_is = "cells along [001]"
    size = 4

    def __init__(self, size: int = size, timestep_fs: float | None = None) -> None:
        slab = fcc110("Al", (size, round(size * 2**0.5), 7), a=LATTICE_A, vacuum=8.0)
        # The vacuum is wider than EMT's cutoff, so periodic images along the normal do not interact.
        slab.pbc = True
        ASEReference.__init__(self, slab, timestep_fs)
