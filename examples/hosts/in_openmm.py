"""Water equilibrated in OpenMM, moved in strides, and handed back."""

from pathlib import Path

import openmm
from openmm import app, unit

import flashmd_rs
from flashmd_rs.adapters.openmm import run

water = flashmd_rs.load_structure("water258")  # stands for your own PDB file
topology = app.Topology()
chain = topology.addChain()
for _ in range(258):
    residue = topology.addResidue("HOH", chain)
    for name in ("O", "H1", "H2"):
        topology.addAtom(name, app.Element.getBySymbol(name[0]), residue)
topology.createStandardBonds()
topology.setPeriodicBoxVectors(water.cell[:] * unit.angstrom)
system = app.ForceField("tip3p.xml").createSystem(
    topology,
    nonbondedMethod=app.PME,
    nonbondedCutoff=0.9 * unit.nanometer,
    constraints=None,
    rigidWater=False,
)
simulation = app.Simulation(
    topology, system, openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
)
simulation.context.setPositions(water.positions * unit.angstrom)
simulation.context.setVelocitiesToTemperature(300, 1)
simulation.step(20)

simulation.reporters.append(app.DCDReporter("run.dcd", 5))
simulation.reporters.append(
    app.StateDataReporter("run.csv", 5, step=True, time=True, temperature=True)
)
report = run(simulation, "water", steps=10, temperature_K=300, seed=1)
print(Path("run.csv").read_text())

simulation.step(20)
