"""How much more energy the bonds of a start hold than is their due.

Bonds that are much faster than all else keep what a start gave them for tens of picoseconds, and the light atoms at
their ends are that much hotter. It is chance, not the integrator's doing, and its mean over starts is known, zero: a control
variate (Hammersley & Handscomb, Monte Carlo Methods, 1964, chapter 5) for what species' temperatures differ by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openmm
from ase import units
from ase.geometry import find_mic
from openmm import unit

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL, OpenMMReference


class Bonds(NamedTuple):
    """Harmonic bonds, B of them.

    Attributes:
        heavy, light: indices of their ends [B]. length_A: at rest [B]. constant: k of ½k(r − r₀)² [B], eV/Å².
    """

    heavy: np.ndarray
    light: np.ndarray
    length_A: np.ndarray
    constant: np.ndarray


def stretch_excess(reference: Reference, temperature_K: float, timestep_fs: float) -> float | None:
    """Energy of the bond stretches beyond k_B·T for each, in K; its mean over starts from a bath is zero.

    Kinetic energy: ½ ṙ²/G with Wilson's G. Potential energy: the virial ⟨ξ·∇U⟩ = k_B·T ⟨∇·ξ⟩ of the field ξ that moves
    the lighter end of each bond by r − r₀ along it, whatever else pulls at it (Jepps, Ayton & Evans, Phys. Rev. E 62,
    4757 (2000)). A bath of velocity Verlet samples more than the canonical ⟨(r − r₀)²⟩, by 1/(1 − (ωΔt/2)²) for a bond
    of frequency ω, 3 % for OH at 0.5 fs, which is allowed for. So zero is what that bath gives; a integrator without that
    error of its own turns half of the 3 % into kinetic energy.

    Args:
        reference: where it stands; no other stiff bond ends at the lighter atom of one. temperature_K: of its bath.
        timestep_fs: of velocity Verlet in that bath.

    Returns:
        The mean over the bonds, None if there are none.
    """
    bonds = _bonds(reference)
    if bonds is None:
        return None
    frame, thermal = reference.get(), units.kB * temperature_K
    arms, lengths = find_mic(frame.positions[bonds.light] - frame.positions[bonds.heavy], reference.cell)
    along = arms / lengths[:, None]
    velocities, inverse_mass = frame.momenta / reference.masses[:, None], 1 / reference.masses
    wilson = inverse_mass[bonds.light] + inverse_mass[bonds.heavy]
    speeds = (along * (velocities[bonds.light] - velocities[bonds.heavy])).sum(1)
    twice_kinetic = speeds**2 / wilson

    stretched = lengths - bonds.length_A
    virial = -stretched * (along * frame.forces[bonds.light]).sum(1)
    widened = 1 / (1 - bonds.constant * wilson * (0.5 * timestep_fs * units.fs) ** 2)
    due = thermal * widened * (1 + 2 * stretched / lengths)
    return float(((twice_kinetic - thermal) + (virial - due)).mean() / (2 * units.kB))


def _bonds(reference: Reference) -> Bonds | None:
    if not isinstance(reference, OpenMMReference):
        return None
    forces = reference.context.getSystem().getForces()
    harmonic = [force for force in forces if isinstance(force, openmm.HarmonicBondForce)]
    found = [force.getBondParameters(k) for force in harmonic for k in range(force.getNumBonds())]
    if not found:
        return None
    ends = np.array([bond[:2] for bond in found])
    first_is_light = reference.masses[ends[:, 0]] < reference.masses[ends[:, 1]]
    constants = [bond[3].value_in_unit(unit.kilojoule_per_mole / unit.angstrom**2) for bond in found]
    return Bonds(
        heavy=np.where(first_is_light, ends[:, 1], ends[:, 0]),
        light=np.where(first_is_light, ends[:, 0], ends[:, 1]),
        length_A=np.array([bond[2].value_in_unit(unit.angstrom) for bond in found]),
        constant=np.array(constants) * EV_PER_KJ_MOL,
    )
