"""No thermostat, momenta rescaled each stride to conserve the energy of a calculator of your own.

Any ASE calculator will do. The one below stands for yours: it asks the bundled energy model and counts its calls.

    python examples/own_energy.py [--time-ps 0.5]
"""

import argparse

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

import flashmd_rs

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--time-ps", type=float, default=0.5)
arguments = parser.parse_args()


class OwnEnergy(Calculator):
    """Potential energy in eV from anything you can call from Python."""

    implemented_properties = ["energy"]  # noqa: RUF012 (ASE declares it so)

    def __init__(self):
        super().__init__()
        self.model = flashmd_rs.Model("water-energy")
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill ``self.results``."""
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self.results = {"energy": self.model.energy(self.atoms)}


energy = OwnEnergy()
water = flashmd_rs.load_structure("water258")
run = flashmd_rs.rollout(
    water, "water", time_ps=arguments.time_ps, thermostat="none", energy_model=energy, rescale_energy=True, seed=1
)

print(f"calls of the calculator: {energy.calls}")
print(f"total energy held to {np.ptp(run.total_energy):.1e} eV")
rescaling = run.report["statistics"]["rescaling"]
print(f"momenta scaled by {rescaling['alpha_min']:.4f} to {rescaling['alpha_max']:.4f}")
# Conserving the energy does not conserve equipartition: look at the elements before trusting a run.
for name, temperature_K in run.temperature_K.items():
    print(f"T of {name:<6}{temperature_K[0]:7.1f} K at the start, {temperature_K[-1]:7.1f} K at the end")
