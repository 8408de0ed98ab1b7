"""Integrators that move a system from its reference's current frame: a model's strides, velocity Verlet, r-RESPA."""

from __future__ import annotations

import re
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
from ase import Atoms
from openmm import unit

from flashmd_rs._structure import F64, geometry
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY, OpenMMReference

# Inner time step of r-RESPA, for bonds, angles and torsions.
INNER_TIMESTEP_FS = 0.5
BONDED = (openmm.HarmonicBondForce, openmm.HarmonicAngleForce, openmm.PeriodicTorsionForce)
RESCALINGS = ("none", "global", "species", "molecule")
METROPOLIS = "metropolis"
# Policies of a model's run: energy rescaling by a scope, or a Metropolis test.
POLICIES = (*RESCALINGS, METROPOLIS)


class LangevinBath(NamedTuple):
    """A Langevin bath.

    Attributes:
        temperature_K: its temperature, K.
        time_constant_fs: relaxation time of the momenta, fs.
    """

    temperature_K: float
    time_constant_fs: float


class RunResult(NamedTuple):
    """Frames of one run of an integrator, and its cost.

    Attributes:
        frames: frames with momenta; the first is where the run began.
        times_ps: their times, ps.
        seconds: wall time that the motion took, s.
        evaluations: number of evaluations of the network, of the forces, or of r-RESPA's outer forces.
        stopped: why the run ended early, or None.
        accepted: share of the strides that a Metropolis test accepted, or None without a test.
    """

    frames: list[Atoms]
    times_ps: F64
    seconds: float
    evaluations: int
    stopped: str | None
    accepted: float | None = None


class Integrator(ABC):
    """A way to move a system in time.

    Attributes:
        name: name for tables.
        step_fs: time between two successive states, fs.
        ensembles: ``nve`` and ``nvt``, those of them that it can run.
    """

    name: str
    step_fs: float
    ensembles: tuple[str, ...] = ("nve", "nvt")

    @property
    def key(self) -> str:
        """Part of the names of its result files; different integrators have different keys."""
        return re.sub(r"[^\w.]+", "-", self.name)

    @abstractmethod
    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        """Run from the reference's current frame.

        Args:
            reference: the system; where it stands afterwards is undefined.
            time_fs: length of the run, fs.
            interval_fs: time between frames, fs, rounded to whole steps.
            bath: the bath; None for NVE.
            seed: seed of random numbers.
        """


class ModelIntegrator(Integrator):
    """A model under the runtime, by default without guard and rescaling.

    Args:
        model: ONNX file or the name of a bundled model.
        policy: one of :data:`POLICIES`. Rescaling uses the model's reference energy model; the Metropolis test uses the
            reference's energies and runs in a bath only.
        options: further arguments of ``flashmd_rs.rollout``.

    Raises:
        ValueError: the model is an energy model.
    """

    def __init__(self, model: str | Path, policy: str = "none", **options: Any) -> None:
        import flashmd_rs

        self.model = model
        self._model = flashmd_rs.Model(model, threads=1)
        suffix = {"none": "", METROPOLIS: f", {METROPOLIS}"}.get(policy, f", rescaled {policy}")
        self.name = Path(model).stem + suffix
        if self._model.stride_fs is None:
            raise ValueError(f"got {model}, an energy model, wanted a model with a stride; an energy is no integrator")
        self.step_fs = self._model.stride_fs
        self._metropolis = policy == METROPOLIS
        if self._metropolis:
            self.ensembles = ("nvt",)
        rescaling = policy if policy in RESCALINGS[1:] else False
        self._options: dict[str, Any] = {"rescale_energy": rescaling, "guard": "off"} | options

    @property
    def key(self) -> str:
        """As :attr:`Integrator.key`, with the model's hash: files of the same name may be different models."""
        return f"{super().key}-{self._model.sha256[:8]}"

    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        """Run strides of the model."""
        import flashmd_rs

        options: dict[str, Any] = {"thermostat": "none", "seed": seed, "progress": False} | self._options
        if bath is not None:
            options["temperature_K"] = bath.temperature_K
            options["thermostat"] = flashmd_rs.Langevin(time_constant_fs=bath.time_constant_fs)
        if self._metropolis:
            options |= {"metropolis": True, "energy_model": reference.energy_source()}
        interval = max(1, round(interval_fs / self.step_fs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
            # The guard is off, which would let bonds pass that the model does not know.
            self._model._check_start(geometry(reference.atoms()))
            # Given as a list of one, a run that fails keeps its frames up to the failure.
            (run,) = flashmd_rs.rollout(
                [reference.atoms()], self._model, steps=round(time_fs / self.step_fs), interval=interval, **options
            )
        moves = run.report["statistics"]["metropolis"]
        return RunResult(
            frames=list(run.frames),
            times_ps=np.asarray(run.times_ps),
            seconds=run.report["seconds"],
            evaluations=run.report["network_runs"],
            stopped=None if run.failure is None else str(run.failure),
            accepted=moves["accepted"] / max(1, moves["tried"]) if moves else None,
        )


class SteppedIntegrator(Integrator):
    """An integrator that advances by a given time; frames are read in between."""

    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        """Advance from frame to frame, until the end or until positions are not finite."""
        rng = np.random.default_rng([seed, 77])
        steps = max(1, round(interval_fs / self.step_fs))
        interval = self.step_fs * steps
        self.begin(reference, bath, seed)
        frames, seconds, stopped = [reference.atoms()], 0.0, None
        for _ in range(round(time_fs / interval)):
            started = time.perf_counter()
            try:
                self.advance(reference, interval, bath, rng)
                frame = self.current(reference)
            except openmm.OpenMMException as error:  # coordinates that are not numbers
                stopped = str(error)
                break
            seconds += time.perf_counter() - started
            if not np.isfinite(frame.positions).all():
                stopped = "positions are not finite"
                break
            frames.append(frame)
        times_ps: F64 = 1e-3 * interval * np.arange(len(frames), dtype=float)
        return RunResult(frames, times_ps, seconds, steps * (len(frames) - 1), stopped)

    def begin(self, reference: Reference, bath: LangevinBath | None, seed: int) -> None:
        """Prepare a run from the reference's current frame."""
        return

    @abstractmethod
    def advance(
        self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator
    ) -> None:
        """Advance by ``time_fs``."""

    def current(self, reference: Reference) -> Atoms:
        """The current frame."""
        return reference.atoms()


class VelocityVerlet(SteppedIntegrator):
    """Velocity Verlet with the reference's forces."""

    def __init__(self, step_fs: float) -> None:
        self.name, self.step_fs = f"Verlet {step_fs:g} fs", step_fs

    def advance(
        self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator
    ) -> None:
        """Advance the reference itself."""
        if bath is None:
            reference.nve(time_fs, self.step_fs)
        else:
            reference.langevin(time_fs, bath.temperature_K, rng, 1000 / bath.time_constant_fs, self.step_fs)


class Respa(SteppedIntegrator):
    """r-RESPA: bonded forces every 0.5 fs, all others every step; OpenMM's ``MTSIntegrator``.

    Source: Tuckerman, Berne & Martyna, J. Chem. Phys. 97, 1990 (1992).
    """

    def __init__(self, step_fs: float) -> None:
        self.name, self.step_fs = f"r-RESPA {step_fs:g} fs", step_fs

    def begin(self, reference: Reference, bath: LangevinBath | None, seed: int) -> None:
        """Make a context in which bonded forces are a group of their own."""
        if not isinstance(reference, OpenMMReference):
            raise ValueError("r-RESPA splits the forces of an OpenMM system; this reference has none")
        system = openmm.XmlSerializer.clone(reference.context.getSystem())
        for force in system.getForces():
            force.setForceGroup(0 if isinstance(force, BONDED) else 1)
        step, groups = self.step_fs * unit.femtosecond, [(1, 1), (0, round(self.step_fs / INNER_TIMESTEP_FS))]
        if bath is None:
            integrator = openmm.MTSIntegrator(step, groups)
        else:
            friction = 1000 / bath.time_constant_fs / unit.picosecond
            integrator = openmm.MTSLangevinIntegrator(bath.temperature_K * unit.kelvin, friction, step, groups)
            integrator.setRandomNumberSeed(seed + 1)
        platform = reference.context.getPlatform()
        self._context = openmm.Context(system, integrator, platform, {"Threads": "1"})
        atoms = reference.atoms()
        self._context.setPositions(atoms.positions * 0.1)
        self._context.setVelocities(atoms.get_velocities() * NM_PS_PER_ASE_VELOCITY)

    def advance(
        self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator
    ) -> None:
        """Advance the context."""
        self._context.getIntegrator().step(round(time_fs / self.step_fs))

    def current(self, reference: Reference) -> Atoms:
        """The context's current frame."""
        state = self._context.getState(positions=True, velocities=True)
        atoms = reference.atoms()
        atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        atoms.set_velocities(velocities / NM_PS_PER_ASE_VELOCITY)
        return atoms


def parse_integrator(text: str) -> Integrator:
    """The integrator that a text names: ``verlet:FS``, ``respa:FS``, ``MODEL`` or ``MODEL:POLICY``.

    ``FS`` is a time step in fs, ``MODEL`` a file or a bundled name, ``POLICY`` one of :data:`POLICIES`.

    Raises:
        ValueError: it is none of these.
    """
    name, _, argument = text.rpartition(":") if ":" in text else (text, "", "")
    if name in ("verlet", "respa"):
        try:
            step_fs = float(argument)
        except ValueError:
            raise ValueError(f"got {text!r}, wanted {name}:FS with a time step in fs") from None
        return VelocityVerlet(step_fs) if name == "verlet" else Respa(step_fs)
    if argument and argument not in POLICIES:
        raise ValueError(f"got {text!r}, wanted verlet:FS, respa:FS, MODEL or MODEL:POLICY, one of {POLICIES}")
    return ModelIntegrator(name, argument or "none")
