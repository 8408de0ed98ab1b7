"""Liquid ethanol of flexible molecules in OPLS-AA."""

from pathlib import Path

import numpy as np
import openmm
from ase import Atoms
from ase.build import molecule
from openmm import app, unit

FORCE_FIELD = Path(__file__).with_name("ethanol.xml")
DENSITY_G_PER_CM3 = 0.785
CUTOFF_A = 7.0
U_PER_A3_IN_G_PER_CM3 = 1.66053907
# Names in the force field of the atoms of ASE's molecule.
NAMES = ("C1", "C2", "O", "HO", "H4", "H5", "H1", "H2", "H3")
BONDS = (("C1", "C2"), ("C2", "O"), ("O", "HO"), *(("C1", h) for h in ("H1", "H2", "H3")), ("C2", "H4"), ("C2", "H5"))


def structure(molecules: int = 27) -> Atoms:
    """So many molecules, a cube number, at random orientations in a cubic lattice, relaxed in their own potential."""
    across = round(molecules ** (1 / 3))
    if across**3 != molecules:
        raise ValueError(f"got molecules={molecules}, wanted a cube number, such as 27 or 64")
    rng, one = np.random.default_rng(0), molecule("CH3CH2OH")
    length = box_length(molecules)
    positions = []
    for place in np.ndindex(across, across, across):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        # A rotation, not a reflection: the molecule has no mirror image of its own numbering.
        turn *= np.linalg.det(turn)
        centred = one.positions - one.get_center_of_mass()
        positions.append(centred @ turn.T + (np.array(place) + 0.5) * length / across)
    atoms = Atoms(list(one.symbols) * molecules, np.concatenate(positions), cell=np.eye(3) * length, pbc=True)
    atoms.positions = relaxed(atoms, molecules)
    return atoms


def system(molecules: int = 27) -> openmm.System:
    """Its potential, PME without constraints; the cutoff is 7 Å or the largest the box allows."""
    half = 0.5 * box_length(molecules)
    return app.ForceField(str(FORCE_FIELD)).createSystem(
        topology(molecules),
        nonbondedMethod=app.PME,
        nonbondedCutoff=min(CUTOFF_A, half - 0.1) * unit.angstrom,
        ewaldErrorTolerance=1e-4,
        constraints=None,
        removeCMMotion=False,
    )


def topology(molecules: int) -> app.Topology:
    """Atoms in the order of ASE's molecule."""
    made = app.Topology()
    chain = made.addChain()
    for _ in range(molecules):
        residue = made.addResidue("EOH", chain)
        atoms = {name: made.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in NAMES}
        for first, second in BONDS:
            made.addBond(atoms[first], atoms[second])
    made.setPeriodicBoxVectors(np.eye(3) * box_length(molecules) * unit.angstrom)
    return made


def box_length(molecules: int) -> float:
    """Edge of the cubic box, Å."""
    mass = molecules * molecule("CH3CH2OH").get_masses().sum()
    return float((mass * U_PER_A3_IN_G_PER_CM3 / DENSITY_G_PER_CM3) ** (1 / 3))


def relaxed(atoms: Atoms, molecules: int) -> np.ndarray:
    """Positions [A, 3] (Å) near the next minimum, where no atoms overlap."""
    platform = openmm.Platform.getPlatformByName("CPU")
    one_thread = {"Threads": "1", "DeterministicForces": "true"}
    context = openmm.Context(system(molecules), openmm.VerletIntegrator(0.001), platform, one_thread)
    context.setPositions(atoms.positions * unit.angstrom)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
    return context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)
