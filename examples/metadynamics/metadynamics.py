"""Free energy of butane's dihedral: well-tempered metadynamics of OpenMM around strides of 8 fs.

    python examples/metadynamics/metadynamics.py [NS]

prints it beside the torsion's energy, which it is to be equal to (see butane.py), and draws both in metadynamics.png.
The model was made by `flashmd-train fit butane --config examples/metadynamics/system.yaml`.
"""

import sys
from pathlib import Path

import butane
import matplotlib.pyplot as plt
import numpy as np
import openmm
from ase import units
from openmm import app, unit

from flashmd_rs import Langevin
from flashmd_rs.adapters.openmm import ForceGroups, striding

MODEL = Path(__file__).with_name("butane.onnx")
KELVIN, STRIDE_PS = 300.0, 0.008
HILLS = {"height": 0.5 * unit.kilojoules_per_mole, "biasFactor": 6, "frequency": 50}
WIDTH_RAD = 0.35


def simulation() -> tuple[app.Simulation, app.Metadynamics]:
    """A molecule in OpenMM with a bias on its dihedral."""
    topology = app.Topology()
    residue = topology.addResidue("BUT", topology.addChain())
    for number in range(4):
        topology.addAtom(f"C{number + 1}", app.Element.getBySymbol("C"), residue)
    system = butane.system()
    torsion = openmm.CustomTorsionForce("theta")
    torsion.addTorsion(0, 1, 2, 3)
    dihedral = app.BiasVariable(torsion, -np.pi, np.pi, WIDTH_RAD, periodic=True)
    metadynamics = app.Metadynamics(system, [dihedral], KELVIN * unit.kelvin, **HILLS)
    integrator = openmm.LangevinMiddleIntegrator(KELVIN, 1, 0.001)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.context.setPositions(butane.structure().positions * unit.angstrom)
    made.context.setVelocitiesToTemperature(KELVIN, 1)
    return made, metadynamics


def free_energy(ns: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Dihedrals (rad) and their free energy (kJ/mol), lowest at zero, after so many ns."""
    host, metadynamics = simulation()
    bias = ForceGroups(host.context, {metadynamics._force.getForceGroup()})
    bath = {"temperature_K": KELVIN, "thermostat": Langevin(500), "seed": seed}
    with striding(host, MODEL, bias=bias, **bath):
        metadynamics.step(host, round(1000 * ns / STRIDE_PS))
    energies = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoules_per_mole)
    return np.linspace(-np.pi, np.pi, len(energies)), energies - energies.min()


def main() -> None:
    """Measure, print and draw."""
    ns = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    dihedral, found = free_energy(ns)
    wanted = butane.torsion_energy(dihedral) * units.mol / units.kJ
    for degrees in range(0, 181, 30):
        at = np.argmin(abs(dihedral - np.radians(degrees)))
        print(f"{degrees:4d}°: {found[at]:5.1f} kJ/mol, torsion {wanted[at]:5.1f}")
    print(f"root mean square difference: {np.sqrt(np.mean((found - wanted) ** 2)):.2f} kJ/mol after {ns:g} ns")
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot(np.degrees(dihedral), wanted, color="0.6", label="the torsion's energy")
    axes.plot(np.degrees(dihedral), found, label=f"metadynamics in strides of 8 fs, {ns:g} ns")
    axes.set(xlabel="dihedral, degrees", ylabel="free energy, kJ/mol", xlim=(-180, 180))
    axes.legend(frameon=False)
    figure.savefig("metadynamics.png", dpi=150)


if __name__ == "__main__":
    main()
