"""Flexible TIP3P water in a cubic box."""

import numpy as np
import openmm
from ase import Atoms, units
from openmm import app, unit

DENSITY_G_PER_CM3 = 0.997
CUTOFF_A = 9.0
MOLECULE_U = 18.01528


def structure(molecules: int = 258, density_g_per_cm3: float = DENSITY_G_PER_CM3, seed: int = 0) -> Atoms:
    """Waters at random orientations on a simple cubic lattice, atoms in the order O H H."""
    rng, length = np.random.default_rng(seed), box_length_A(molecules, density_g_per_cm3)
    per_edge = int(np.ceil(molecules ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    oxygens = (rng.permutation(sites)[:molecules] + 0.5) * length / per_edge
    half = np.deg2rad(104.52 / 2)
    water = 0.9572 * np.array([[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    orientations, _ = np.linalg.qr(rng.normal(size=(molecules, 3, 3)))
    positions = (oxygens[:, None] + water @ orientations).reshape(-1, 3)
    return Atoms("OH2" * molecules, positions, cell=np.eye(3) * length, pbc=True)


def system(molecules: int = 258, density_g_per_cm3: float = DENSITY_G_PER_CM3) -> openmm.System:
    """TIP3P with harmonic bonds and angles; the cutoff is 9 Å or the largest the box allows."""
    length = box_length_A(molecules, density_g_per_cm3)
    return app.ForceField("tip3p.xml").createSystem(
        topology(molecules, length),
        nonbondedMethod=app.PME,
        nonbondedCutoff=min(CUTOFF_A, 0.5 * length - 0.1) * unit.angstrom,
        rigidWater=False,
        constraints=None,
        removeCMMotion=False,
    )


def box_length_A(molecules: int, density_g_per_cm3: float) -> float:
    """Edge of the cubic box of so many waters."""
    return float((molecules * MOLECULE_U * units._amu * 1e3 / density_g_per_cm3 * 1e24) ** (1 / 3))


def topology(molecules: int, length_A: float) -> app.Topology:
    """Waters in a cubic box, atoms in the order O H H."""
    made = app.Topology()
    chain = made.addChain()
    for _ in range(molecules):
        residue = made.addResidue("HOH", chain)
        oxygen, *hydrogens = (
            made.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2")
        )
        for hydrogen in hydrogens:
            made.addBond(oxygen, hydrogen)
    made.setPeriodicBoxVectors(np.eye(3) * length_A * unit.angstrom)
    return made
