"""Butane as four united atoms in vacuum, with TraPPE's torsion: Martin and Siepmann, J. Phys. Chem. B 102, 2569 (1998).

Nothing but bonds, angles and the torsion acts, so that the free energy of the dihedral is the torsion's own energy:
bonds and angles do not depend on it, nor does the volume element of internal coordinates.
"""

import numpy as np
import openmm
from ase import Atoms, units
from openmm import unit

# Carbon's own: free energies do not depend on masses.
MASS_U = 12.011
BOND_NM, BOND_KJ = 0.154, 2.5e5
ANGLE_RAD, ANGLE_KJ = np.radians(114.0), 519.6
# c₁(1 + cos φ) + c₂(1 − cos 2φ) + c₃(1 + cos 3φ), in K; φ = 180° is trans.
TORSION_K = (355.03, -68.19, 791.32)
BETWEEN_A = 30.0


def structure(molecules: int = 1) -> Atoms:
    """So many molecules, too far apart to know of each other; every third begins trans, the others gauche."""
    all_atoms = Atoms()
    for number in range(molecules):
        dihedral = np.pi + (number % 3) * 2 * np.pi / 3
        place = BETWEEN_A * np.array(np.unravel_index(number, (10, 10, 10)))
        all_atoms += Atoms("C4", place + chain(dihedral), masses=[MASS_U] * 4)
    return all_atoms


def chain(dihedral: float) -> np.ndarray:
    """Positions [4, 3] (Å) with bonds and angles at rest."""
    length, bend = 10 * BOND_NM, np.pi - ANGLE_RAD
    first = length * np.array([-np.cos(bend), np.sin(bend), 0.0])
    last = length * np.array([np.cos(bend), np.sin(bend) * np.cos(dihedral), np.sin(bend) * np.sin(dihedral)])
    middle = np.array([length, 0.0, 0.0])
    return np.array([first, np.zeros(3), middle, middle + last])


def system(molecules: int = 1) -> openmm.System:
    """Their potential."""
    built = openmm.System()
    bonds, angles, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    kelvin = (units.kB * units.mol / units.kJ) * unit.kilojoule_per_mole
    for number in range(molecules):
        a, b, c, d = range(4 * number, 4 * number + 4)
        for _ in range(4):
            built.addParticle(MASS_U)
        for pair in ((a, b), (b, c), (c, d)):
            bonds.addBond(*pair, BOND_NM, BOND_KJ)
        for triple in ((a, b, c), (b, c, d)):
            angles.addAngle(*triple, ANGLE_RAD, ANGLE_KJ)
        for n, (strength, phase) in enumerate(zip(TORSION_K, (0.0, np.pi, 0.0), strict=True), start=1):
            torsions.addTorsion(a, b, c, d, n, phase, strength * kelvin)
    for force in (bonds, angles, torsions):
        built.addForce(force)
    return built


def torsion_energy(dihedral: np.ndarray) -> np.ndarray:
    """Energy of the torsion, eV."""
    c1, c2, c3 = TORSION_K
    kelvin = c1 * (1 + np.cos(dihedral)) + c2 * (1 - np.cos(2 * dihedral)) + c3 * (1 + np.cos(3 * dihedral))
    return units.kB * kelvin
