"""α-AgI, a superionic conductor: silver diffuses through a body-centred lattice of iodide.

The pair potential of Parrinello, Rahman & Vashishta, Phys. Rev. Lett. 50, 1073 (1983),

    V(r) = H/r^n + Z Z'/r − P/r⁴ − W/r⁶,

whose terms are steric repulsion, Coulomb, charge–induced dipole, and van der Waals. Coulomb is PME; the rest is
switched off over the last tenth before the cutoff. At constant volume the tail beyond is a constant to first order, but
a pressure needs it (about −1.7 GPa from P/r⁴ at 10 Å).
"""

import numpy as np
import openmm
from ase import Atoms, units
from openmm import unit

# Measured lattice constant of the phase above 420 K; the potential's pressure is within 0.3 GPa of zero there.
LATTICE_A = 5.06
CUTOFF_A = 10.0
CHARGE = 0.6
# Pairs Ag–Ag, Ag–I, I–I; H, P and W in units of e²/Å times Å^n, Å⁴ and Å⁶.
EXPONENT = (11, 9, 7)
STERIC = (0.014804, 114.48, 446.64)
POLARISATION = (0.0, 1.1736, 2.3472)
DISPERSION = (0.0, 0.0, 6.9331)
COULOMB_KJ_A_PER_MOL = units._e / (4 * np.pi * units._eps0) * 1e10 * units.mol / units.kJ
# Silver starts on tetrahedral sites at least this far apart.
CLOSEST_SILVER_A = 2.2


def structure(cells: int = 4, structures: int = 4, seed: int = 0) -> list[Atoms]:
    """``cells``³ cubic cells, 2 Ag and 2 I each: body-centred iodide, silver on tetrahedral sites drawn at random.

    Atoms are in the order Ag I Ag I ….
    """
    rng = np.random.default_rng(seed)
    box = np.eye(3) * LATTICE_A * cells
    return [Atoms("AgI" * (2 * cells**3), positions(cells, rng), cell=box, pbc=True) for _ in range(structures)]


def system(cells: int = 4) -> openmm.System:
    """The potential of ``cells``³ cubic cells."""
    built = openmm.System()
    built.setDefaultPeriodicBoxVectors(*(np.eye(3) * 0.1 * LATTICE_A * cells))
    cutoff = min(CUTOFF_A, 0.5 * LATTICE_A * cells - 0.05) * unit.angstrom
    coulomb = openmm.NonbondedForce()
    coulomb.setNonbondedMethod(openmm.NonbondedForce.PME)
    coulomb.setCutoffDistance(cutoff)
    # OpenMM's own 5e-4 leaves forces 1 % off the gradient of the energy.
    coulomb.setEwaldErrorTolerance(1e-4)
    short = openmm.CustomNonbondedForce(short_range())
    short.addPerParticleParameter("silver")
    short.addPerParticleParameter("iodide")
    short.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    short.setCutoffDistance(cutoff)
    short.setUseSwitchingFunction(True)
    short.setSwitchingDistance(0.9 * cutoff)
    for _ in range(2 * cells**3):
        for mass, sign in ((107.8682, 1), (126.90447, -1)):
            built.addParticle(mass)
            coulomb.addParticle(sign * CHARGE, 1.0, 0.0)
            short.addParticle([sign > 0, sign < 0])
    built.addForce(coulomb)
    built.addForce(short)
    return built


def short_range() -> str:
    """The terms but Coulomb's, kJ/mol, of powers and products alone: OpenMM takes far longer for tables."""
    pairs = ("silver1*silver2", "(silver1*iodide2+iodide1*silver2)", "iodide1*iodide2")
    terms = [
        f"{pair}*{COULOMB_KJ_A_PER_MOL}*({h}/r_A^{n} - {p}/r_A^4 - {w}/r_A^6)"
        for pair, h, n, p, w in zip(pairs, STERIC, EXPONENT, POLARISATION, DISPERSION, strict=True)
    ]
    return f"{' + '.join(terms)}; r_A=10*r"


def positions(cells: int, rng: np.random.Generator) -> np.ndarray:
    """Positions [4·cells³, 3], Å."""
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    iodide = (corners + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    plane = np.array([[0.5, 0.25, 0], [0.5, 0.75, 0], [0.25, 0.5, 0], [0.75, 0.5, 0]])
    tetrahedral = (corners + np.concatenate([np.roll(plane, k, axis=1) for k in range(3)])).reshape(-1, 3)
    silver: list[np.ndarray] = []
    for site in rng.permutation(tetrahedral):
        apart = np.array(silver).reshape(-1, 3) - site
        apart -= cells * np.round(apart / cells)
        if (np.linalg.norm(apart, axis=1) * LATTICE_A > CLOSEST_SILVER_A).all():
            silver.append(site)
        if len(silver) == len(iodide):
            break
    return LATTICE_A * np.stack([silver, iodide], axis=1).reshape(-1, 3)
