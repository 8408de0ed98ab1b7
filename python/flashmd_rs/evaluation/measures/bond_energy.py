"""Excess energy of the bonds of a start: a control variate for the temperatures of species.

Bonds that are much faster than all other motions keep the energy they had at the start for tens of picoseconds, and the
light atoms at their ends are hotter or colder accordingly. This excess is chance, not an effect of the integrator, and
its mean over starts is known to be zero: a control variate (Hammersley & Handscomb, Monte Carlo Methods, 1964, ch. 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openmm
from ase import units
from ase.geometry import find_mic
from numpy.typing import NDArray
from openmm import unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL, OpenMMReference


class Bonds(NamedTuple):
    """B harmonic bonds.

    Attributes:
        heavy: indices of the heavier ends [B].
        light: indices of the lighter ends [B].
        length_A: lengths at rest r₀ [B], Å.
        constant: force constants k of ½k(r − r₀)² [B], eV/Å².
    """

    heavy: NDArray[np.int_]
    light: NDArray[np.int_]
    length_A: F64
    constant: F64


def stretch_excess(reference: Reference, temperature_K: float, timestep_fs: float) -> float | None:
    """Energy of the bond stretches beyond its canonical mean, K per bond; zero on average over starts from a bath.

    =====  ======================================================================================
    r, ṙ   length of a bond and its rate of change
    G      Wilson's element 1/m₁ + 1/m₂: the kinetic energy of a stretch is ½ ṙ²/G, on average k_B T/2
    ξ      field that moves the lighter end by r − r₀ along the bond: ⟨ξ·∇U⟩ = k_B T ⟨∇·ξ⟩
    =====  ======================================================================================

    The potential energy is the virial of ξ, which holds whatever other forces act on the bond (Jepps, Ayton & Evans,
    Phys. Rev. E 62, 4757 (2000)). A bath of velocity Verlet samples ⟨(r − r₀)²⟩ larger than the canonical one by
    1/(1 − (ωΔt/2)²) for a bond of frequency ω, 3 % for OH at 0.5 fs; this is taken into account. Zero is thus the mean
    in that bath; an integrator without this error turns half of the 3 % into kinetic energy.

    Args:
        reference: the system at a start; the lighter end of a bond is the end of no other stiff bond.
        temperature_K: temperature of the bath it comes from, K.
        timestep_fs: time step of velocity Verlet in that bath, fs.

    Returns:
        The mean over the bonds; None if the system has none.
    """
    bonds = harmonic_bonds(reference)
    if bonds is None:
        return None
    frame, thermal = reference.get(), units.kB * temperature_K
    arms, lengths = find_mic(
        frame.positions[bonds.light] - frame.positions[bonds.heavy], reference.cell, reference.periodic
    )
    along = arms / lengths[:, None]
    velocities, inverse_mass = frame.momenta / reference.masses[:, None], 1 / reference.masses
    wilson = inverse_mass[bonds.light] + inverse_mass[bonds.heavy]
    speeds = (along * (velocities[bonds.light] - velocities[bonds.heavy])).sum(1)
    twice_kinetic = speeds**2 / wilson

    stretched = lengths - bonds.length_A
    virial = -stretched * (along * frame.forces[bonds.light]).sum(1)
    widened = 1 / (1 - bonds.constant * wilson * (0.5 * timestep_fs * units.fs) ** 2)
    expected = thermal * widened * (1 + 2 * stretched / lengths)
    return float(((twice_kinetic - thermal) + (virial - expected)).mean() / (2 * units.kB))


def harmonic_bonds(reference: Reference) -> Bonds | None:
    """The harmonic bonds of an OpenMM system; None if there are none."""
    if not isinstance(reference, OpenMMReference):
        return None
    forces = reference.context.getSystem().getForces()
    harmonic = [force for force in forces if isinstance(force, openmm.HarmonicBondForce)]
    parameters = [force.getBondParameters(k) for force in harmonic for k in range(force.getNumBonds())]
    if not parameters:
        return None
    ends = np.array([bond[:2] for bond in parameters])
    first_is_light = reference.masses[ends[:, 0]] < reference.masses[ends[:, 1]]
    constants = [bond[3].value_in_unit(unit.kilojoule_per_mole / unit.angstrom**2) for bond in parameters]
    return Bonds(
        heavy=np.where(first_is_light, ends[:, 1], ends[:, 0]),
        light=np.where(first_is_light, ends[:, 0], ends[:, 1]),
        length_A=np.array([bond[2].value_in_unit(unit.angstrom) for bond in parameters]),
        constant=np.array(constants) * EV_PER_KJ_MOL,
    )
