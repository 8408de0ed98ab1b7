"""Reference systems whose forces come from OpenMM.

OpenMM's leapfrog integrators store velocities half a step off the positions, so the integrator here is
an explicit velocity Verlet: positions and momenta of one frame are at the same instant.
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import units
from openmm import unit

from flashmd_rs.reference.base import Frame, Reference

EV_PER_KJ_MOL = units.kJ / units.mol
# ASE velocity unit Å/(Å √(u/eV)) in nm/ps, OpenMM's.
NM_PS_PER_ASE_VELOCITY = 0.1 * units.fs * 1000.0


def velocity_verlet(timestep_fs: float) -> openmm.CustomIntegrator:
    """Velocity Verlet with velocities at the instant of the positions (Swope et al. 1982)."""
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
        timestep_fs: step of velocity Verlet; None for the system's default.
        threads: CPU threads; the same bits come back only from one.
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
        # Without the second property PME adds charges up in an order that changes from call to call.
        properties = {"Threads": str(threads), "DeterministicForces": "true"}
        self.context = openmm.Context(system, self.integrator, platform, properties)
        self.molecules = np.empty(len(numbers), int)
        for k, members in enumerate(self.context.getMolecules()):
            self.molecules[list(members)] = k

    def set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        self.context.reinitialize()
        self.context.setPositions(positions * 0.1)
        self.set_momenta(momenta)

    def get(self) -> Frame:
        state = self.context.getState(positions=True, velocities=True, forces=True, energy=True)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return Frame(positions, self._momenta(state), forces * EV_PER_KJ_MOL, energy * EV_PER_KJ_MOL)

    def momenta(self) -> np.ndarray:
        return self._momenta(self.context.getState(velocities=True))

    def set_momenta(self, momenta: np.ndarray) -> None:
        self.context.setVelocities(momenta / self.masses[:, None] * NM_PS_PER_ASE_VELOCITY)

    def _momenta(self, state: openmm.State) -> np.ndarray:
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        return velocities / NM_PS_PER_ASE_VELOCITY * self.masses[:, None]

    def nve(self, time_fs: float, timestep_fs: float | None = None) -> None:
        timestep = timestep_fs or self.timestep_fs
        self.integrator.setStepSize(timestep * unit.femtosecond)
        self.integrator.step(round(time_fs / timestep))

    def energy(self, positions: np.ndarray) -> float:
        self.context.setPositions(positions * 0.1)
        energy = self.context.getState(energy=True).getPotentialEnergy()
        return energy.value_in_unit(unit.kilojoule_per_mole) * EV_PER_KJ_MOL

    def energy_source(self) -> openmm.Context:
        return self.context

    def minimise_from(self, positions: np.ndarray, iterations: int = 200) -> None:
        """Set positions (Å) [A, 3], take overlaps away with L-BFGS, and put every atom at rest."""
        self.set(positions, np.zeros_like(positions))
        openmm.LocalEnergyMinimizer.minimize(self.context, 10.0, iterations)
