"""References whose forces come from OpenMM.

OpenMM's leapfrog integrators store velocities half a step off the positions, so the integrator here is an explicit
velocity Verlet: positions and momenta of one frame are at the same instant.
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import Atoms, units
from ase.data import atomic_masses, chemical_symbols
from openmm import unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.base import Frame, Reference

EV_PER_KJ_MOL = units.kJ / units.mol
# Largest number of steps of L-BFGS that a start structure is minimised by.
MINIMISATION_STEPS = 500
# Relative difference within which masses are those of one element.
SAME_MASS = 1e-3
# Hydrogen between these masses, u, took from its neighbours, whose masses tell no element any more.
HEAVIEST_PROTIUM_U, HEAVIEST_REPARTITIONED_U = 1.1, 6.0
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


def with_masses(system: openmm.System, atoms: Atoms) -> Atoms:
    """A structure with the masses of a system's particles, which may be repartitioned.

    Raises:
        ValueError: the system is one of other atoms: another number, or a particle with the mass of another element.
    """
    masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())])
    wanted = "wanted the same atoms in the same order"
    if len(masses) != len(atoms):
        raise ValueError(f"the OpenMM system has {len(masses)} particles, the structure {len(atoms)} atoms: {wanted}")
    hydrogen = masses[atoms.numbers == 1]
    repartitioned = ((hydrogen > HEAVIEST_PROTIUM_U) & (hydrogen < HEAVIEST_REPARTITIONED_U)).any()
    off, every = np.abs(atomic_masses[:, None] / masses - 1), np.arange(len(masses))
    # Number 0 is no element.
    nearest = 1 + off[1:].argmin(0)
    other = (off[nearest, every] < SAME_MASS) & (off[atoms.numbers, every] > SAME_MASS)
    if other.any() and not repartitioned:
        i = int(other.argmax())
        raise ValueError(
            f"particle {i} of the OpenMM system has the mass of {chemical_symbols[nearest[i]]}, {masses[i]:g} u, "
            f"atom {i} of the structure is {atoms.symbols[i]}: {wanted}"
        )
    copy: Atoms = atoms.copy()
    copy.set_masses(masses)
    return copy


class OpenMMReference(Reference):
    """An ``openmm.System`` on the CPU platform.

    Args:
        system: the potential; where it is periodic, the cell of the structures takes the place of its box.
        structures: start structures, of the same atoms in the same cell.
        timestep_fs: time step of velocity Verlet, fs.
        threads: CPU threads; results are reproducible to the last bit only on one.
        description: potential and method.

    Attributes:
        context: the ``openmm.Context`` in which everything runs.
        integrator: its velocity Verlet.

    Raises:
        ValueError: other atoms than the structures', or a box that OpenMM refuses.
    """

    def __init__(
        self,
        system: openmm.System,
        structures: list[Atoms],
        timestep_fs: float,
        threads: int = 1,
        description: str = "OpenMM system",
    ) -> None:
        first = with_masses(system, structures[0])
        self.timestep_fs, self.description = timestep_fs, description
        self._starts = [atoms.get_positions() for atoms in structures]
        self.numbers, self.masses = first.numbers.copy(), first.get_masses()
        self.periodic = np.full(3, system.usesPeriodicBoundaryConditions())
        self.cell = first.cell.array.copy()
        if self.periodic.any():
            system = self._with_box(system, first)
        self.integrator = velocity_verlet(timestep_fs)
        platform = openmm.Platform.getPlatformByName("CPU")
        # Without the second property PME sums charges in an order that changes from call to call.
        properties = {"Threads": str(threads), "DeterministicForces": "true"}
        try:
            self.context = openmm.Context(system, self.integrator, platform, properties)
        except openmm.OpenMMException as error:
            raise ValueError(
                f"OpenMM refuses the system in a cell of {first.cell.lengths().round(3)} Å: {error}"
            ) from None
        self.molecules = np.empty(len(first), int)
        for index, members in enumerate(self.context.getMolecules()):
            self.molecules[list(members)] = index

    @staticmethod
    def _with_box(system: openmm.System, atoms: Atoms) -> openmm.System:
        """The system in the cell of a structure."""
        if atoms.cell.rank < 3:
            raise ValueError("the OpenMM system is periodic, the structure has no cell: set the cell")
        copy = openmm.XmlSerializer.clone(system)
        try:
            copy.setDefaultPeriodicBoxVectors(*(atoms.cell.array * 0.1))
        except openmm.OpenMMException as error:
            raise ValueError(
                f"OpenMM wants a cell in reduced form, a along x and b in the xy plane, got {atoms.cell.tolist()}: "
                f"turn the structure, or describe its lattice by other vectors ({error})"
            ) from None
        return copy

    def start(self, structure: int = 0) -> None:
        """Set a start structure, minimised, with all atoms at rest."""
        positions = self._starts[structure % len(self._starts)]
        self.set(positions, np.zeros_like(positions))
        # Removes overlaps; what is left of order the bath melts or not, as the temperature has it.
        openmm.LocalEnergyMinimizer.minimize(self.context, 10.0, MINIMISATION_STEPS)
        self.set(self.get().positions, np.zeros_like(positions))

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
        """Advance by ``time_fs`` with velocity Verlet.

        Raises:
            FloatingPointError: positions are no numbers any more.
        """
        timestep = timestep_fs or self.timestep_fs
        self.integrator.setStepSize(timestep * unit.femtosecond)
        try:
            self.integrator.step(round(time_fs / timestep))
        except openmm.OpenMMException as error:  # coordinates that are not numbers
            raise FloatingPointError(f"OpenMM fails in a step of {timestep:g} fs: {error}") from error

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
