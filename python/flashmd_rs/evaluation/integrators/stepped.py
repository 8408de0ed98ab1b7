"""Integrators that take steps by forces: velocity Verlet of the reference or of an energy model, r-RESPA."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path

import numpy as np
import openmm
from ase import Atoms
from openmm import unit

from flashmd_rs._structure import F64
from flashmd_rs.evaluation.integrators.barostat import TRIAL_FS, MonteCarloBarostat
from flashmd_rs.evaluation.integrators.integrator import Bath, Integrator, RunResult
from flashmd_rs.evaluation.integrators.series import SAMPLE_FS, Samples
from flashmd_rs.evaluation.measures.bond_energy import harmonic_bonds
from flashmd_rs.reference.ase_system import ASEReference
from flashmd_rs.reference.base import KICK_FS, Reference
from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY
from flashmd_rs.reference.potentials import Potential

# Inner time step of r-RESPA, for bonds, angles and torsions.
INNER_TIMESTEP_FS = 0.5
BONDED = (openmm.HarmonicBondForce, openmm.HarmonicAngleForce, openmm.PeriodicTorsionForce)
# A run with larger positions (Å) or momenta (√(eV·u)) has ended; beyond them squares overflow.
ABSURD = 1e30


class SteppedIntegrator(Integrator):
    """An integrator that advances by a given time; samples and frames are read in between."""

    def run(
        self,
        reference: Reference,
        time_fs: float,
        interval_fs: float,
        bath: Bath | None,
        seed: int,
        potential: Potential | None = None,
    ) -> RunResult:
        """Advance from sample to sample, until the end or until positions are absurd."""
        rng = np.random.default_rng([seed, 77])
        grain = self._grain_fs(bath)
        sample_fs = grain * max(1, round(min(interval_fs, SAMPLE_FS) / grain))
        every = max(1, round(interval_fs / sample_fs))
        self.begin(reference, potential, bath, seed)
        frames, times, seconds, stopped, done = [self.current()], [0.0], 0.0, None, 0
        samples = Samples(frames[0])
        samples.add(0.0, frames[0].get_momenta(), frames[0].cell.array)
        for k in range(1, round(time_fs / sample_fs) + 1):
            started = time.perf_counter()
            try:
                self.advance(sample_fs, bath, rng)
                atoms = self.current()
            except Exception as error:  # whatever a potential may raise on a structure out of bounds
                stopped = str(error) or repr(error)
                break
            seconds += time.perf_counter() - started
            if not np.abs([atoms.positions, atoms.get_momenta()]).max() < ABSURD:
                stopped = f"a position or momentum is beyond {ABSURD:g} in ASE units, or no number"
                break
            done = k
            samples.add(1e-3 * k * sample_fs, atoms.get_momenta(), atoms.cell.array)
            if k % every == 0:
                frames.append(atoms)
                times.append(1e-3 * k * sample_fs)
        return RunResult(frames, np.array(times), samples, seconds, round(done * sample_fs / self.step_fs), stopped)

    def _grain_fs(self, bath: Bath | None) -> float:
        """Shortest time that :meth:`advance` advances by, fs."""
        return self.step_fs

    @abstractmethod
    def begin(self, reference: Reference, potential: Potential | None, bath: Bath | None, seed: int) -> None:
        """Prepare a run from the reference's current frame."""

    @abstractmethod
    def advance(self, time_fs: float, bath: Bath | None, rng: np.random.Generator) -> None:
        """Advance by ``time_fs``."""

    @abstractmethod
    def current(self) -> Atoms:
        """The current frame."""


class VelocityVerlet(SteppedIntegrator):
    """Velocity Verlet with the reference's forces, or those of an energy model.

    Args:
        step_fs: time step, fs.
        energy: energy model, file or bundled name; None for the reference.

    Raises:
        ValueError: the model is no energy model.
    """

    def __init__(self, step_fs: float, energy: str | None = None) -> None:
        self.step_fs, self.by_reference = step_fs, energy is None
        self.name = f"Verlet {step_fs:g} fs" + (f" by {Path(energy).stem}" if energy else "")
        self._energy = None
        if energy is not None:
            import flashmd_rs

            self._energy = flashmd_rs.Model(energy, threads=1)
            if self._energy.kind != "energy":
                raise ValueError(f"got {energy}, a model of kind {self._energy.kind}, wanted an energy model")

    @property
    def key(self) -> str:
        """As :attr:`Integrator.key`, with the energy model's hash."""
        return super().key if self._energy is None else f"{super().key}-{self._energy.sha256[:8]}"

    def _grain_fs(self, bath: Bath | None) -> float:
        # A bath acts every few steps.
        return self.step_fs if bath is None else self.step_fs * max(1, round(KICK_FS / self.step_fs))

    def begin(self, reference: Reference, potential: Potential | None, bath: Bath | None, seed: int) -> None:
        """Take the reference itself, or its atoms with the energy model."""
        self._potential = potential
        self._reference = reference if self._energy is None else self._simulation(reference.atoms())
        self._barostat, self._since_trial_fs = None, 0.0
        if bath is not None and bath.pressure_bar is not None:
            self._barostat = MonteCarloBarostat(self._in_cell, bath.temperature_K, bath.pressure_bar)

    def advance(self, time_fs: float, bath: Bath | None, rng: np.random.Generator) -> None:
        """Advance the reference, with a trial move of the cell now and then."""
        if bath is None:
            self._reference.nve(time_fs, self.step_fs)
            return
        self._reference.langevin(time_fs, bath.temperature_K, rng, 1000 / bath.time_constant_fs, self.step_fs)
        self._since_trial_fs += time_fs
        if self._barostat is not None and self._since_trial_fs >= TRIAL_FS - 1e-6:
            self._since_trial_fs = 0.0
            self._reference = self._barostat.move(self._reference, rng)

    def current(self) -> Atoms:
        """The reference's current frame."""
        return self._reference.atoms()

    def _simulation(self, atoms: Atoms) -> Reference:
        """A simulation of atoms at their positions and momenta."""
        if self._energy is not None:
            made: Reference = ASEReference([atoms], self._energy.calculator, self.step_fs, self.name)
        else:
            assert self._potential is not None, "constant pressure needs the potential"
            made = self._potential.reference([atoms], self.step_fs)
        made.set(atoms.positions, atoms.get_momenta())
        return made

    def _in_cell(self, cell: F64, positions: F64, momenta: F64) -> Reference:
        atoms = self._reference.atoms()
        atoms.set_cell(cell)
        atoms.positions = positions
        atoms.set_momenta(momenta)
        return self._simulation(atoms)


class Respa(SteppedIntegrator):
    """r-RESPA: bonded forces every 0.5 fs, all others every step; OpenMM's ``MTSIntegrator``.

    Source: Tuckerman, Berne & Martyna, J. Chem. Phys. 97, 1990 (1992).
    """

    by_reference = True

    def __init__(self, step_fs: float) -> None:
        self.name, self.step_fs = f"r-RESPA {step_fs:g} fs", step_fs

    def check(self, reference: Reference) -> None:
        """Raise ValueError for a system without bonds that OpenMM knows."""
        if harmonic_bonds(reference) is None:
            raise ValueError(
                "r-RESPA splits bonds off the other forces of an OpenMM system; this reference has no bonds that "
                "OpenMM knows: leave respa out"
            )

    def begin(self, reference: Reference, potential: Potential | None, bath: Bath | None, seed: int) -> None:
        """Make a context in which bonded forces are a group of their own."""
        self.check(reference)
        system = openmm.XmlSerializer.clone(reference.context.getSystem())  # type: ignore[attr-defined]
        for force in system.getForces():
            force.setForceGroup(0 if isinstance(force, BONDED) else 1)
        step, groups = self.step_fs * unit.femtosecond, [(1, 1), (0, round(self.step_fs / INNER_TIMESTEP_FS))]
        if bath is None:
            integrator = openmm.MTSIntegrator(step, groups)
        else:
            friction = 1000 / bath.time_constant_fs / unit.picosecond
            integrator = openmm.MTSLangevinIntegrator(bath.temperature_K * unit.kelvin, friction, step, groups)
            integrator.setRandomNumberSeed(seed + 1)
            if bath.pressure_bar is not None:
                trial = max(1, round(TRIAL_FS / self.step_fs))
                barostat = openmm.MonteCarloBarostat(bath.pressure_bar, bath.temperature_K, trial)
                barostat.setRandomNumberSeed(seed + 1)
                system.addForce(barostat)
        platform = openmm.Platform.getPlatformByName("CPU")
        self._context = openmm.Context(system, integrator, platform, {"Threads": "1"})
        self._atoms = reference.atoms()
        self._context.setPositions(self._atoms.positions * 0.1)
        self._context.setVelocities(self._atoms.get_velocities() * NM_PS_PER_ASE_VELOCITY)

    def advance(self, time_fs: float, bath: Bath | None, rng: np.random.Generator) -> None:
        """Advance the context."""
        self._context.getIntegrator().step(round(time_fs / self.step_fs))

    def current(self) -> Atoms:
        """The context's current frame."""
        state = self._context.getState(positions=True, velocities=True)
        atoms: Atoms = self._atoms.copy()
        atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        if atoms.pbc.any():
            atoms.set_cell(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        atoms.set_velocities(velocities / NM_PS_PER_ASE_VELOCITY)
        return atoms
