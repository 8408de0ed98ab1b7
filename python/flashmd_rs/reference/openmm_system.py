"""Reference systems whose forces come from OpenMM.

OpenMM's leapfrog integrators store velocities half a step off the positions, so the integrator here is an explicit
velocity Verlet: positions and momenta of one frame are at the same instant.
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import units
from openmm import unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Frame, Reference

EV_PER_KJ_MOL = units.kJ / units.mol
# ASE's unit of velocity, √(eV/u), in OpenMM's, nm/ps.
NM_PS_PER_ASE_VELOCITY = 0.1 * units.fs * 1000.0


def velocity_verlet(timestep_fs: float) -> openmm.CustomIntegrator:
    """Velocity Verlet with velocities at the instant of the positions.

    Source: Swope, Andersen, Berens & Wilson, J. Chem. Phys. 76, 637 (1982).
    """
    integrator = openmm.CustomIntegrator(timestep_fs * unit.femtosecond)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    return integrator


class OpenMMReference(Reference):
    """An ``openmm.System`` on the CPU platform.

    Args:
        system: the potential, with its box.
        numbers: atomic numbers [A].
        timestep_fs: time step of velocity Verlet, fs; None for the system's default.
        threads: CPU threads; results are reproducible to the last bit only on one.

    Attributes:
        context: the ``openmm.Context`` in which everything runs.
        integrator: its velocity Verlet.
    """

    def __init__(
        self, system: openmm.System, numbers: list[int], timestep_fs: float | None = None, threads: int = 1
    ) -> None:
        self.timestep_fs = timestep_fs or type(self).timestep_fs
        self.numbers = np.array(numbers)
        self.masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(numbers))])
        box = system.getDefaultPeriodicBoxVectors()
        self.cell = np.array([vector.value_in_unit(unit.angstrom) for vector in box])
        self.integrator = velocity_verlet(self.timestep_fs)
        platform = openmm.Platform.getPlatformByName("CPU")
        # Without the second property PME sums charges in an order that changes from call to call.
        properties = {"Threads": str(threads), "DeterministicForces": "true"}
        self.context = openmm.Context(system, self.integrator, platform, properties)
        self.molecules = np.empty(len(numbers), int)
        for index, members in enumerate(self.context.getMolecules()):
            self.molecules[list(members)] = index

    def set(self, positions: F64, momenta: F64) -> None:
        """Set positions and momenta; the context is reinitialised."""
        self.context.reinitialize()
        self.context.setPositions(positions * 0.1)
        self.set_momenta(momenta)

    def get(self) -> Frame:
        """The current frame."""
        state = self.context.getState(positions=True, velocities=True, forces=True, energy=True)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return Frame(positions, self._momenta(state), forces * EV_PER_KJ_MOL, energy * EV_PER_KJ_MOL)

    def momenta(self) -> F64:
        """Momenta [A, 3], √(eV·u)."""
        return self._momenta(self.context.getState(velocities=True))

    def set_momenta(self, momenta: F64) -> None:
        """Set momenta [A, 3], √(eV·u)."""
        self.context.setVelocities(momenta / self.masses[:, None] * NM_PS_PER_ASE_VELOCITY)

    def _momenta(self, state: openmm.State) -> F64:
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        momenta: F64 = velocities / NM_PS_PER_ASE_VELOCITY * self.masses[:, None]
        return momenta

    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        """Advance by ``time_fs`` with velocity Verlet."""
        timestep = timestep_fs or self.timestep_fs
        self.integrator.setStepSize(timestep * unit.femtosecond)
        self.integrator.step(round(time_fs / timestep))

    def energy(self, positions: F64, cell: F64 | None = None) -> float:
        """Potential energy (eV) at positions (Å) [A, 3], in another cell (Å) if one is given."""
        if cell is not None:
            self.context.setPeriodicBoxVectors(*(cell * 0.1))
        self.context.setPositions(positions * 0.1)
        energy = self.context.getState(energy=True).getPotentialEnergy()
        if cell is not None:
            self.context.setPeriodicBoxVectors(*(self.cell * 0.1))
        return float(energy.value_in_unit(unit.kilojoule_per_mole) * EV_PER_KJ_MOL)

    def energy_source(self) -> openmm.Context:
        """The context itself."""
        return self.context

    def minimise_from(self, positions: F64, iterations: int = 200) -> None:
        """Set positions (Å) [A, 3], remove overlaps with L-BFGS, and set all momenta to zero."""
        self.set(positions, np.zeros_like(positions))
        openmm.LocalEnergyMinimizer.minimize(self.context, 10.0, iterations)
