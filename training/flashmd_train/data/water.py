"""Flexible TIP3P water in OpenMM: the reference every water model of this project emulates.

PME electrostatics, harmonic bonds and angles (no constraints, no rigid water), velocity Verlet with
0.25 fs steps. OpenMM's leapfrog stores velocities half a step off the positions, so the integrator
here is an explicit velocity Verlet: positions and momenta of one frame are at the same instant.
"""

from __future__ import annotations

import numpy as np
import openmm
from ase import Atoms, units
from openmm import app, unit

TIMESTEP_FS = 0.25
DENSITY_G_CM3 = 0.997
EV_PER_KJ_MOL = units.kJ / units.mol
# tip3p.xml's harmonic terms, (force constant, equilibrium value): eV/Å² and Å, eV/rad² and rad.
TIP3P_BOND = (462750.4 * 0.01 * EV_PER_KJ_MOL, 0.9572)
TIP3P_ANGLE = (836.8 * EV_PER_KJ_MOL, 1.82421813418)
# ASE velocity unit Å/(Å √(u/eV)) in nm/ps, OpenMM's.
NM_PS_PER_ASE_VELOCITY = 0.1 * units.fs * 1000.0


def box_length(n_waters: int, density_g_per_cm3: float = DENSITY_G_CM3) -> float:
    """Edge (Å) of the cubic box that holds ``n_waters``."""
    mass = n_waters * 18.01528  # u
    return float((mass * units._amu * 1e3 / density_g_per_cm3 * 1e24) ** (1 / 3))


def topology(n_waters: int, length_A: float) -> app.Topology:
    """Topology of ``n_waters`` waters in a cubic box, atoms in the order O H H."""
    top = app.Topology()
    chain = top.addChain()
    for _ in range(n_waters):
        residue = top.addResidue("HOH", chain)
        o = top.addAtom("O", app.Element.getBySymbol("O"), residue)
        h1 = top.addAtom("H1", app.Element.getBySymbol("H"), residue)
        h2 = top.addAtom("H2", app.Element.getBySymbol("H"), residue)
        top.addBond(o, h1)
        top.addBond(o, h2)
    top.setPeriodicBoxVectors(np.eye(3) * 0.1 * length_A * unit.nanometer)
    return top


def system(n_waters: int, density_g_per_cm3: float = DENSITY_G_CM3) -> openmm.System:
    """The reference potential; the cutoff is 9 Å or the largest the box allows."""
    length = box_length(n_waters, density_g_per_cm3)
    cutoff_nm = min(0.9, 0.05 * length - 0.01)
    return app.ForceField("tip3p.xml").createSystem(
        topology(n_waters, length),
        nonbondedMethod=app.PME,
        nonbondedCutoff=cutoff_nm * unit.nanometer,
        rigidWater=False,
        constraints=None,
        removeCMMotion=False,
    )


def velocity_verlet(timestep_fs: float) -> openmm.CustomIntegrator:
    """Velocity Verlet with velocities at the instant of the positions (Swope et al. 1982)."""
    integrator = openmm.CustomIntegrator(timestep_fs * unit.femtosecond)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    return integrator


def lattice(n_waters: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Positions [3n, 3] (Å): waters at random orientations on a simple cubic lattice in a box of ``length`` Å."""
    per_edge = int(np.ceil(n_waters ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), -1).reshape(-1, 3)
    sites = (rng.permutation(sites)[:n_waters] + 0.5) * length / per_edge
    half = np.deg2rad(104.52 / 2)
    water = 0.9572 * np.array([[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]])
    orientations, _ = np.linalg.qr(rng.normal(size=(n_waters, 3, 3)))
    return (sites[:, None] + water @ orientations).reshape(-1, 3)


class Reference:
    """Flexible TIP3P waters in one OpenMM context, spoken to in ASE units.

    Args:
        n_waters: number of molecules in the cubic box.
        threads: CPU threads of OpenMM.
        seed: stream of the Langevin integrator.
        density_g_per_cm3: of the box.
    """

    def __init__(
        self, n_waters: int, threads: int = 1, seed: int = 0, density_g_per_cm3: float = DENSITY_G_CM3
    ) -> None:
        self.n_waters = n_waters
        self.cell = np.eye(3) * box_length(n_waters, density_g_per_cm3)
        sys = system(n_waters, density_g_per_cm3)
        self.masses = np.array(
            [sys.getParticleMass(i).value_in_unit(unit.dalton) for i in range(sys.getNumParticles())]
        )
        self.symbols = ["O", "H", "H"] * n_waters
        self._langevin = openmm.LangevinMiddleIntegrator(300, 2.0, 0.0005)
        self._langevin.setRandomNumberSeed(seed + 1)
        both = openmm.CompoundIntegrator()
        both.addIntegrator(self._langevin)
        both.addIntegrator(velocity_verlet(TIMESTEP_FS))
        self.integrator = both
        platform = openmm.Platform.getPlatformByName("CPU")
        self.context = openmm.Context(sys, both, platform, {"Threads": str(threads)})
        self.context.setPeriodicBoxVectors(*(self.cell * 0.1))

    def set(self, positions: np.ndarray, momenta: np.ndarray) -> None:
        """Set positions (Å) and momenta (√(eV·u))."""
        self.context.setPositions(positions * 0.1)
        self.context.setVelocities(momenta / self.masses[:, None] * NM_PS_PER_ASE_VELOCITY)

    def get(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Positions (Å, unwrapped), momenta (√(eV·u)), forces (eV/Å) and potential energy (eV)."""
        state = self.context.getState(getPositions=True, getVelocities=True, getForces=True, getEnergy=True)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        momenta = velocities / NM_PS_PER_ASE_VELOCITY * self.masses[:, None]
        return positions, momenta, forces * EV_PER_KJ_MOL, energy * EV_PER_KJ_MOL

    def energy(self, positions: np.ndarray) -> float:
        """Potential energy (eV) at positions (Å)."""
        self.context.setPositions(positions * 0.1)
        energy = self.context.getState(getEnergy=True).getPotentialEnergy()
        return energy.value_in_unit(unit.kilojoule_per_mole) * EV_PER_KJ_MOL

    def langevin(self, time_fs: float, temperature_K: float, friction_per_ps: float = 2.0) -> None:
        """Langevin dynamics with 0.5 fs steps."""
        self.integrator.setCurrentIntegrator(0)
        self._langevin.setTemperature(temperature_K)
        self._langevin.setFriction(friction_per_ps)
        self.integrator.step(round(time_fs / 0.5))

    def nve(self, time_fs: float) -> None:
        """Velocity Verlet with 0.25 fs steps."""
        self.integrator.setCurrentIntegrator(1)
        self.integrator.step(round(time_fs / TIMESTEP_FS))

    def draw_velocities(self, temperature_K: float, seed: int) -> None:
        """Maxwell–Boltzmann velocities."""
        self.context.setVelocitiesToTemperature(temperature_K, seed)

    def equilibrate(self, temperature_K: float, seed: int, time_ps: float) -> None:
        """From a lattice: minimise, melt at 450 K for a third of ``time_ps``, then hold at ``temperature_K``."""
        rng = np.random.default_rng(seed)
        self.context.setPositions(lattice(self.n_waters, float(self.cell[0, 0]), rng) * 0.1)
        openmm.LocalEnergyMinimizer.minimize(self.context, 10.0, 200)
        self.draw_velocities(temperature_K, seed + 1)
        self.langevin(1000 * time_ps / 3, 450.0, friction_per_ps=5.0)
        self.langevin(1000 * time_ps * 2 / 3, temperature_K)

    def remove_net_momentum(self) -> None:
        """Subtract the centre-of-mass velocity."""
        positions, momenta, _, _ = self.get()
        velocity = momenta.sum(0) / self.masses.sum()
        self.set(positions, momenta - self.masses[:, None] * velocity)

    def atoms(self) -> Atoms:
        """The current frame as ``ase.Atoms`` with momenta."""
        positions, momenta, _, _ = self.get()
        return Atoms(self.symbols, positions, cell=self.cell, pbc=True, masses=self.masses, momenta=momenta)
