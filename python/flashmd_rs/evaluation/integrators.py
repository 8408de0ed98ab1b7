"""What moves a system from where its reference stands: a network's strides, velocity Verlet, r-RESPA."""

from __future__ import annotations

import re
import time
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm
from ase import Atoms
from openmm import unit

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.openmm_system import NM_PS_PER_ASE_VELOCITY, OpenMMReference

# Step of r-RESPA's bonds and angles.
INNER_FS = 0.5
BONDED = (openmm.HarmonicBondForce, openmm.HarmonicAngleForce, openmm.PeriodicTorsionForce)
RESCALINGS = ("none", "global", "species", "molecule")
METROPOLIS = "metropolis"
POLICIES = (*RESCALINGS, METROPOLIS)


class LangevinBath(NamedTuple):
    """Langevin dynamics with that time constant."""

    temperature_K: float
    time_constant_fs: float


class RunResult(NamedTuple):
    """Frames with momenta, the first where the run began, and what is to be said of it.

    Attributes:
        seconds: that moving them took. evaluations: of the network, of the forces, or of r-RESPA's outer ones.
        stopped: why it ended early, or None.
        accepted: share of the strides that a Metropolis test let stand, if there was one.
    """

    frames: list[Atoms]
    times_ps: np.ndarray
    seconds: float
    evaluations: int
    stopped: str | None
    accepted: float | None = None


class Integrator(ABC):
    """An integrator, or what stands for one.

    Attributes:
        name: for tables. key: what its results are kept under. step_fs: between two states it can show.
        ensembles: ``nve`` and ``nvt``, or what it can do of them.
    """

    name: str
    step_fs: float
    ensembles: tuple[str, ...] = ("nve", "nvt")

    @property
    def key(self) -> str:
        """Two integrators that differ have two."""
        return re.sub(r"[^\w.]+", "-", self.name)

    @abstractmethod
    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        """Go on from where ``reference`` is; a frame about every ``interval_fs``; NVE without a bath."""


class ModelIntegrator(Integrator):
    """A model under the runtime, by default without guard and rescaling.

    Args:
        model: ONNX file or the name of a bundled model. policy: of :data:`POLICIES`; rescaling is by the model's
            companion, the Metropolis test by the reference's energy and in a bath only.
        options: further arguments of ``flashmd_rs.rollout``.
    """

    def __init__(self, model: str | Path, policy: str = "none", **options: object) -> None:
        import flashmd_rs

        self.model = model
        self._model = flashmd_rs.Model(model, threads=1)
        said = {"none": "", METROPOLIS: f", {METROPOLIS}"}.get(policy, f", rescaled {policy}")
        self.name = Path(model).stem + said
        self._tested = policy == METROPOLIS
        if self._tested:
            self.ensembles = ("nvt",)
        self.step_fs = self._model.stride_fs
        rescaling = policy if policy in RESCALINGS[1:] else False
        self._options: dict = {"rescale_energy": rescaling, "guard": "off"} | options

    @property
    def key(self) -> str:
        """With the model's bytes: a file of the same name may be another model."""
        return f"{super().key}-{self._model.sha256[:8]}"

    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        import flashmd_rs

        options = {"thermostat": "none", "seed": seed, "progress": False} | self._options
        if bath is not None:
            options |= {"thermostat": "langevin"} | bath._asdict()
        if self._tested:
            options |= {METROPOLIS: True, "energy_model": reference.energy_source()}
        every = max(1, round(interval_fs / self.step_fs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
            # As a list of one: a run that breaks keeps its frames up to then.
            (run,) = flashmd_rs.rollout(
                [reference.atoms()], self._model, steps=round(time_fs / self.step_fs), interval=every, **options
            )
        stopped = None if run.failure is None else str(run.failure)
        moves = run.report[METROPOLIS]
        accepted = moves["accepted"] / max(1, moves["tried"]) if moves else None
        seconds, evaluations = run.report["seconds"], run.report["network_runs"]
        return RunResult(list(run.frames), np.asarray(run.times_ps), seconds, evaluations, stopped, accepted)


class SteppedIntegrator(Integrator):
    """One that is told how long to go; frames are read in between."""

    def run(
        self, reference: Reference, time_fs: float, interval_fs: float, bath: LangevinBath | None, seed: int
    ) -> RunResult:
        rng = np.random.default_rng([seed, 77])
        steps = max(1, round(interval_fs / self.step_fs))
        interval = self.step_fs * steps
        self.begin(reference, bath, seed)
        frames, seconds = [reference.atoms()], 0.0

        def result(stopped: str | None) -> RunResult:
            times_ps = 1e-3 * interval * np.arange(len(frames))
            return RunResult(frames, times_ps, seconds, steps * (len(frames) - 1), stopped)

        for _ in range(round(time_fs / interval)):
            started = time.perf_counter()
            try:
                self.go(reference, interval, bath, rng)
                frame = self.now(reference)
            except openmm.OpenMMException as error:  # coordinates that are not numbers
                return result(str(error))
            seconds += time.perf_counter() - started
            if not np.isfinite(frame.positions).all():
                return result("positions are not finite")
            frames.append(frame)
        return result(None)

    def begin(self, reference: Reference, bath: LangevinBath | None, seed: int) -> None:
        """Get ready."""

    @abstractmethod
    def go(self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator) -> None:
        """Go on for that long."""

    def now(self, reference: Reference) -> Atoms:
        """The current frame."""
        return reference.atoms()


class Verlet(SteppedIntegrator):
    """Velocity Verlet with the reference's forces."""

    def __init__(self, step_fs: float) -> None:
        self.name, self.step_fs = f"Verlet {step_fs:g} fs", step_fs

    def go(self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator) -> None:
        if bath is None:
            reference.nve(time_fs, self.step_fs)
        else:
            reference.langevin(time_fs, bath.temperature_K, rng, 1000 / bath.time_constant_fs, self.step_fs)


class Respa(SteppedIntegrator):
    """r-RESPA (Tuckerman, Berne & Martyna 1992): bonds and angles every 0.5 fs, all else every step; OpenMM's MTS."""

    def __init__(self, step_fs: float) -> None:
        self.name, self.step_fs = f"r-RESPA {step_fs:g} fs", step_fs

    def begin(self, reference: Reference, bath: LangevinBath | None, seed: int) -> None:
        if not isinstance(reference, OpenMMReference):
            raise ValueError("r-RESPA splits the forces of an OpenMM system; this reference has none")
        system = openmm.XmlSerializer.clone(reference.context.getSystem())
        for force in system.getForces():
            force.setForceGroup(0 if isinstance(force, BONDED) else 1)
        step, groups = self.step_fs * unit.femtosecond, [(1, 1), (0, round(self.step_fs / INNER_FS))]
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

    def go(self, reference: Reference, time_fs: float, bath: LangevinBath | None, rng: np.random.Generator) -> None:
        self._context.getIntegrator().step(round(time_fs / self.step_fs))

    def now(self, reference: Reference) -> Atoms:
        state = self._context.getState(positions=True, velocities=True)
        atoms = reference.atoms()
        atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        atoms.set_velocities(velocities / NM_PS_PER_ASE_VELOCITY)
        return atoms


def parse_integrator(text: str) -> Integrator:
    """``verlet:FS``, ``respa:FS``, or ``MODEL`` or ``MODEL:POLICY`` with a policy of :data:`POLICIES`.

    Raises:
        ValueError: it is none of these.
    """
    name, _, argument = text.rpartition(":") if ":" in text else (text, "", "")
    if name in ("verlet", "respa"):
        try:
            step_fs = float(argument)
        except ValueError:
            raise ValueError(f"got {text!r}, wanted {name}:FS with a time step in fs") from None
        return Verlet(step_fs) if name == "verlet" else Respa(step_fs)
    if argument and argument not in POLICIES:
        raise ValueError(f"got {text!r}, wanted verlet:FS, respa:FS, MODEL or MODEL:POLICY, one of {POLICIES}")
    return ModelIntegrator(name, argument or "none")
