"""α-AgI, a superionic conductor: silver diffuses through a body-centred lattice of iodide.

The pair potential of Parrinello, Rahman & Vashishta, Phys. Rev. Lett. 50, 1073 (1983),

    V(r) = H/r^n + Z Z'/r − P/r⁴ − W/r⁶,

whose terms are steric repulsion, Coulomb, charge–induced dipole, and van der Waals. Coulomb is PME; the rest is
switched off over the last tenth before the cutoff. At constant volume the tail beyond is a constant to first order, but
a pressure needs it (about −1.7 GPa from P/r⁴ at 10 Å).
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import units
from openmm import unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL, OpenMMReference

# Measured lattice constant of the phase above 420 K; the potential's pressure is within 0.3 GPa of zero there.
LATTICE_A = 5.06
CUTOFF_A = 10.0
CHARGE = 0.6
# Pairs Ag–Ag, Ag–I, I–I; H, P and W in units of e²/Å times Å^n, Å⁴ and Å⁶.
EXPONENT = (11.0, 9.0, 7.0)
STERIC = (0.014804, 114.48, 446.64)
POLARISATION = (0.0, 1.1736, 2.3472)
DISPERSION = (0.0, 0.0, 6.9331)
COULOMB_EV_A = units._e / (4 * np.pi * units._eps0) * 1e10
# Silver starts on tetrahedral sites at least this far apart.
CLOSEST_SILVER_A = 2.2


def system(cells: int) -> openmm.System:
    """The potential of ``cells``³ cubic cells, 2 Ag and 2 I each, atoms in the order Ag I Ag I …."""
    built = openmm.System()
    built.setDefaultPeriodicBoxVectors(*(np.eye(3) * 0.1 * LATTICE_A * cells))
    cutoff = 0.1 * min(CUTOFF_A, 0.5 * LATTICE_A * cells - 0.05) * unit.nanometer
    coulomb = openmm.NonbondedForce()
    coulomb.setNonbondedMethod(openmm.NonbondedForce.PME)
    coulomb.setCutoffDistance(cutoff)
    short = openmm.CustomNonbondedForce("H(a,b)/r_A^n(a,b) - P(a,b)/r_A^4 - W(a,b)/r_A^6; r_A=10*r; a=kind1; b=kind2")
    scale = COULOMB_EV_A / EV_PER_KJ_MOL
    tables = {"H": (STERIC, scale), "P": (POLARISATION, scale), "W": (DISPERSION, scale), "n": (EXPONENT, 1.0)}
    for name, ((silver, mixed, iodide), factor) in tables.items():
        values = [factor * v for v in (silver, mixed, mixed, iodide)]
        short.addTabulatedFunction(name, openmm.Discrete2DFunction(2, 2, values))
    short.addPerParticleParameter("kind")
    short.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    short.setCutoffDistance(cutoff)
    short.setUseSwitchingFunction(True)
    short.setSwitchingDistance(0.9 * cutoff)
    for _ in range(2 * cells**3):
        for kind, (mass, sign) in enumerate(((107.8682, 1), (126.90447, -1))):
            built.addParticle(mass)
            coulomb.addParticle(sign * CHARGE, 1.0, 0.0)
            short.addParticle([kind])
    built.addForce(coulomb)
    built.addForce(short)
    return built


def structure(cells: int, rng: np.random.Generator) -> F64:
    """Positions [4·cells³, 3] (Å): body-centred iodide, silver on tetrahedral sites drawn at random."""
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    iodide = (corners + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    plane = np.array([[0.5, 0.25, 0], [0.5, 0.75, 0], [0.25, 0.5, 0], [0.75, 0.5, 0]])
    tetrahedral = (corners + np.concatenate([np.roll(plane, k, axis=1) for k in range(3)])).reshape(-1, 3)
    silver: list[F64] = []
    for site in rng.permutation(tetrahedral):
        apart = np.array(silver).reshape(-1, 3) - site
        apart -= cells * np.round(apart / cells)
        if (np.linalg.norm(apart, axis=1) * LATTICE_A > CLOSEST_SILVER_A).all():
            silver.append(site)
        if len(silver) == len(iodide):
            break
    positions: F64 = LATTICE_A * np.stack([silver, iodide], axis=1).reshape(-1, 3)
    return positions


class SilverIodide(OpenMMReference):
    """``size``³ cubic cells of α-AgI."""

    description = "alpha-AgI, Parrinello-Rahman-Vashishta 1983 pair potential, PME, velocity Verlet"
    size_is = "cubic cells along an edge"
    size = 4
    timestep_fs = 2.0
    equilibration_timestep_fs = 2.0
    temperatures_K = (450.0, 550.0, 650.0, 750.0)
    spacing_fs = 8.0
    length_fs = 64.0
    decorrelation_fs = 40.0
    equilibration_ps = 10.0

    def __init__(self, size: int = size, timestep_fs: float | None = None, threads: int = 1) -> None:
        self.cells = size
        super().__init__(system(size), [47, 53] * (2 * size**3), timestep_fs, threads)

    def start(self, rng: np.random.Generator) -> None:
        """Set a minimised structure with random silver sites, all atoms at rest."""
        self.minimise_from(structure(self.cells, rng))
