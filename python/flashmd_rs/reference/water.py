"""Flexible TIP3P water in OpenMM: the reference of the bundled water models.

PME electrostatics, harmonic bonds and angles (no constraints, no rigid water), velocity Verlet with 0.25 fs steps.
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import units
from openmm import app, unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL, OpenMMReference

DENSITY_G_CM3 = 0.997
# Harmonic terms of tip3p.xml as (force constant, equilibrium value): eV/Å² and Å; eV/rad² and rad.
TIP3P_BOND = (462750.4 * 0.01 * EV_PER_KJ_MOL, 0.9572)
TIP3P_ANGLE = (836.8 * EV_PER_KJ_MOL, 1.82421813418)


def box_length(n_waters: int, density_g_per_cm3: float = DENSITY_G_CM3) -> float:
    """Edge (Å) of the cubic box of ``n_waters`` molecules at a density."""
    mass = n_waters * 18.01528  # u
    return float((mass * units._amu * 1e3 / density_g_per_cm3 * 1e24) ** (1 / 3))


def topology(n_waters: int, length: float) -> app.Topology:
    """Topology of ``n_waters`` waters in a cubic box of ``length`` Å, atoms in the order O H H."""
    top = app.Topology()
    chain = top.addChain()
    for _ in range(n_waters):
        residue = top.addResidue("HOH", chain)
        o = top.addAtom("O", app.Element.getBySymbol("O"), residue)
        h1 = top.addAtom("H1", app.Element.getBySymbol("H"), residue)
        h2 = top.addAtom("H2", app.Element.getBySymbol("H"), residue)
        top.addBond(o, h1)
        top.addBond(o, h2)
    top.setPeriodicBoxVectors(np.eye(3) * 0.1 * length * unit.nanometer)
    return top


def system(n_waters: int, density_g_per_cm3: float = DENSITY_G_CM3) -> openmm.System:
    """The reference potential; the cutoff is 9 Å or the largest the box allows."""
    length = box_length(n_waters, density_g_per_cm3)
    cutoff_nm = min(0.9, 0.05 * length - 0.01)
    return app.ForceField("tip3p.xml").createSystem(
        topology(n_waters, length),
        nonbondedMethod=app.PME,
        nonbondedCutoff=cutoff_nm * unit.nanometer,
        rigidWater=False,
        constraints=None,
        removeCMMotion=False,
    )


def lattice(n_waters: int, length: float, rng: np.random.Generator) -> F64:
    """Positions [3n, 3] (Å): waters at random orientations on a simple cubic lattice in a box of ``length`` Å."""
    per_edge = int(np.ceil(n_waters ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    oxygens = (rng.permutation(sites)[:n_waters] + 0.5) * length / per_edge
    half = np.deg2rad(104.52 / 2)
    water = 0.9572 * np.array([[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    orientations, _ = np.linalg.qr(rng.normal(size=(n_waters, 3, 3)))
    positions: F64 = (oxygens[:, None] + water @ orientations).reshape(-1, 3)
    return positions


class Water(OpenMMReference):
    """``size`` flexible TIP3P waters in a cubic box."""

    description = "flexible TIP3P (OpenMM tip3p.xml without constraints), PME, velocity Verlet"
    size_is = "molecules"
    size = 258
    timestep_fs = 0.25
    equilibration_timestep_fs = 0.5
    temperatures_K = (250.0, 300.0, 350.0, 450.0)
    spacing_fs = 4.0
    length_fs = 32.0
    decorrelation_fs = 20.0
    equilibration_ps = 9.0
    # The initial lattice melts slowly at the temperatures of liquid water.
    anneal_K = 450.0

    def __init__(
        self,
        size: int = size,
        timestep_fs: float | None = None,
        threads: int = 1,
        density_g_per_cm3: float = DENSITY_G_CM3,
    ) -> None:
        self.n_waters = size
        super().__init__(system(size, density_g_per_cm3), [8, 1, 1] * size, timestep_fs, threads)

    def start(self, rng: np.random.Generator) -> None:
        """Set a minimised random lattice, with all atoms at rest."""
        self.minimise_from(lattice(self.n_waters, float(self.cell[0, 0]), rng))
