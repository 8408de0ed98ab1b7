"""Free energy of alanine dipeptide over φ and ψ by OpenMM's metadynamics, which drives a learned model.

python examples/metadynamics.py [--time-ps 200] [--openmm]

With --openmm the same metadynamics drives OpenMM's own force field, in steps of 0.5 fs. It prints the free energies
of the basins and leaves all of them in metadynamics.txt, in kT.
"""

import argparse
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from flashmd_rs.adapters.openmm import ForceGroups, striding

SYSTEM = Path(__file__).parent / "systems" / "alanine-dipeptide"
KELVIN, KT = 300.0, 300.0 * 0.0083144626  # kJ/mol
# Ranges of φ and ψ, degrees.
BASINS = {
    "C7eq": ((-130, -40), (0, 115)),
    "C5": ((-180, -110), (120, 180)),
    "C7ax": ((40, 100), (-110, 0)),
    "αL": ((40, 90), (0, 80)),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=200.0)
parser.add_argument("--openmm", action="store_true")
arguments = parser.parse_args()

pdb = app.PDBFile(str(SYSTEM / "alanine_dipeptide.pdb"))
system = app.ForceField("amber14-all.xml").createSystem(pdb.topology, constraints=None)
variables = []
for atoms in ((4, 6, 8, 14), (6, 8, 14, 16)):
    torsion = openmm.CustomTorsionForce("theta")
    torsion.addTorsion(*atoms)
    variables.append(app.BiasVariable(torsion, -np.pi, np.pi, 0.35, True))
step_fs = 0.5 if arguments.openmm else 4.0
every = round(40 / step_fs)  # a hill each 40 fs
metadynamics = app.Metadynamics(system, variables, KELVIN, 10.0, 0.6, every)
integrator = openmm.LangevinMiddleIntegrator(KELVIN, 1.0, 0.001 * step_fs)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(pdb.topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy()
simulation.context.setVelocitiesToTemperature(KELVIN, 1)

if arguments.openmm:
    driven = nullcontext()
else:
    # Of OpenMM's forces the hills alone: the model has all others.
    hills = ForceGroups(simulation.context, {metadynamics._force.getForceGroup()})
    driven = striding(simulation, SYSTEM / "alanine-torsions.onnx", temperature_K=KELVIN, bias=hills, seed=1)
with driven:
    metadynamics.step(simulation, max(every, round(1000 * arguments.time_ps / step_fs)))

free = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoules_per_mole) / KT  # by ψ, then φ
free -= free.min()
degrees = np.linspace(-180, 180, len(free))
np.savetxt("metadynamics.txt", free, fmt="%.3f", header="free energy, kT; rows ψ, columns φ, -180 to 180 degrees")
weights = np.exp(-free)
for name, ((phi_from, phi_to), (psi_from, psi_to)) in BASINS.items():
    rows = (degrees >= psi_from) & (degrees <= psi_to)
    columns = (degrees >= phi_from) & (degrees <= phi_to)
    print(f"{name:<5} {-np.log(weights[np.ix_(rows, columns)].sum() / weights.sum()):6.2f} kT")
