"""Alanine dipeptide (ACE-ALA-NME) in water: Amber ff14SB and TIP3P, all bonds flexible, in OpenMM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openmm import app, unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.openmm_system import OpenMMReference
from flashmd_rs.reference.water import DENSITY_G_CM3

DIPEPTIDE = Path(__file__).with_name("alanine_dipeptide.pdb")
CUTOFF_A = 9.0
U_PER_A3_IN_G_CM3 = 1.66053907


def solvated(forcefield: app.ForceField, waters: int) -> tuple[app.Topology, F64]:
    """The dipeptide in ``waters`` molecules of water, at 0.997 g/cm³.

    OpenMM cuts the waters out of a larger box and leaves gaps at the faces, a fifth of the volume in a small box; here
    the molecules are moved towards the centre, each as a whole, until the density is right.

    Returns:
        Topology with its cubic box, and positions [A, 3] (Å).
    """
    pdb = app.PDBFile(str(DIPEPTIDE))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, model="tip3p", numAdded=waters)
    topology = modeller.topology
    positions = np.array(modeller.positions.value_in_unit(unit.angstrom))
    mass = sum(atom.element.mass.value_in_unit(unit.dalton) for atom in topology.atoms())
    length = (mass * U_PER_A3_IN_G_CM3 / DENSITY_G_CM3) ** (1 / 3)
    shrink = length / topology.getUnitCellDimensions()[0].value_in_unit(unit.angstrom)
    solute = topology.getNumAtoms() - 3 * waters
    positions -= positions[:solute].mean(0)
    oxygens = np.repeat(positions[solute::3], 3, axis=0)
    positions[solute:] += (shrink - 1) * oxygens
    topology.setPeriodicBoxVectors(np.eye(3) * 0.1 * length * unit.nanometer)
    return topology, positions


class AlanineDipeptide(OpenMMReference):
    """One alanine dipeptide among ``size`` waters."""

    description = "ACE-ALA-NME in water, Amber ff14SB and TIP3P without constraints, PME, velocity Verlet"
    size_is = "water molecules"
    size = 250
    timestep_fs = 0.25
    equilibration_timestep_fs = 0.5
    temperatures_K = (300.0, 350.0, 400.0, 450.0)
    spacing_fs = 4.0
    length_fs = 32.0
    decorrelation_fs = 20.0
    equilibration_ps = 9.0
    anneal_K = 450.0

    def __init__(self, size: int = size, timestep_fs: float | None = None, threads: int = 1) -> None:
        forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
        topology, self._first = solvated(forcefield, size)
        half = 0.5 * topology.getUnitCellDimensions()[0].value_in_unit(unit.angstrom)
        system = forcefield.createSystem(
            topology,
            nonbondedMethod=app.PME,
            nonbondedCutoff=0.1 * min(CUTOFF_A, half - 0.1) * unit.nanometer,
            rigidWater=False,
            constraints=None,
            removeCMMotion=False,
        )
        super().__init__(system, [atom.element.atomic_number for atom in topology.atoms()], timestep_fs, threads)

    def start(self, rng: np.random.Generator) -> None:
        """Set the minimised solvated structure, with all atoms at rest."""
        self.minimise_from(self._first, 500)
