"""Alanine dipeptide (ACE-ALA-NME) in water."""

from pathlib import Path

import numpy as np
import openmm
from ase import Atoms
from openmm import app, unit

DIPEPTIDE = Path(__file__).with_name("alanine_dipeptide.pdb")
DENSITY_G_PER_CM3 = 0.997
CUTOFF_A = 9.0
U_PER_A3_IN_G_PER_CM3 = 1.66053907


def structure(waters: int = 250) -> Atoms:
    """The dipeptide among so many waters."""
    topology, positions = solvated(forcefield(), waters)
    box = topology.getPeriodicBoxVectors().value_in_unit(unit.angstrom)
    return Atoms([atom.element.symbol for atom in topology.atoms()], positions, cell=np.array(box), pbc=True)


def system(waters: int = 250) -> openmm.System:
    """Its potential, without constraints; the cutoff is 9 Å or the largest the box allows."""
    topology, _ = solvated(forcefield(), waters)
    half = 0.5 * topology.getUnitCellDimensions()[0].value_in_unit(unit.angstrom)
    return forcefield().createSystem(
        topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=min(CUTOFF_A, half - 0.1) * unit.angstrom,
        rigidWater=False,
        constraints=None,
        removeCMMotion=False,
    )


def forcefield() -> app.ForceField:
    """Amber ff14SB and TIP3P."""
    return app.ForceField("amber14-all.xml", "amber14/tip3p.xml")


def solvated(forcefield: app.ForceField, waters: int) -> tuple[app.Topology, np.ndarray]:
    """The dipeptide in water of 0.997 g/cm³: topology with its cubic box, and positions [A, 3] (Å).

    OpenMM cuts the waters out of a larger box and leaves gaps at the faces, a fifth of the volume in a small box; here
    the molecules are moved towards the centre, each as a whole, until the density is right.
    """
    pdb = app.PDBFile(str(DIPEPTIDE))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, model="tip3p", numAdded=waters)
    topology = modeller.topology
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    mass = sum(atom.element.mass.value_in_unit(unit.dalton) for atom in topology.atoms())
    length = (mass * U_PER_A3_IN_G_PER_CM3 / DENSITY_G_PER_CM3) ** (1 / 3)
    shrink = length / topology.getUnitCellDimensions()[0].value_in_unit(unit.angstrom)
    solute = topology.getNumAtoms() - 3 * waters
    positions -= positions[:solute].mean(0)
    oxygens = np.repeat(positions[solute::3], 3, axis=0)
    positions[solute:] += (shrink - 1) * oxygens
    topology.setPeriodicBoxVectors(np.eye(3) * length * unit.angstrom)
    return topology, positions
