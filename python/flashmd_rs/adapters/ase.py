"""Molecular dynamics of ASE whose step is a stride.

:class:`FlashMD` takes the options of :func:`flashmd_rs.rollout`. :class:`VelocityVerlet`, :class:`Langevin` and
:class:`Bussi` take the arguments of their namesakes in ``flashmd.ase``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.md.md import MolecularDynamics

from flashmd_rs import options as _options
from flashmd_rs.adapters.hosted import check_timestep, hosted_simulation
from flashmd_rs.energies.sources import reference_energy_model
from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike
from flashmd_rs.simulation import Simulation

if TYPE_CHECKING:
    import ase

# What ASE does itself.
_OF_ASE = {
    "steps": "run(steps)",
    "time_ps": "run(steps)",
    "interval": "loginterval, and attach(…, interval)",
    "observers": "attach",
}


class FlashMD(MolecularDynamics):
    """Molecular dynamics of ASE in strides of a learned model.

    ``run``, ``irun``, ``attach``, ``get_time`` and the rest are ASE's; ``dt`` is the stride. What an observer or the
    caller does to the atoms between strides counts: the next begins there, and where energies are rescaled, the
    energy that it brings is kept. Forces are never asked for.

    Args:
        atoms: moved in place. Without momenta they get those that a run draws at ``temperature_K``.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        trajectory: as of :class:`ase.md.md.MolecularDynamics`.
        logfile: likewise. A log states potential energies: atoms without a calculator get the model's own energy model.
        loginterval: likewise.
        append_trajectory: likewise.
        options: those of :func:`flashmd_rs.rollout`, under the same names, but for what ASE does itself: length,
            trajectory, log and observers.

    Raises:
        InputError: an argument or the structure is not usable, or a log is wanted and there is no energy.
        ModelError: the model is not one, or does not know the structure's species or masses.

    Example:
        >>> import flashmd_rs
        >>> from flashmd_rs.adapters.ase import FlashMD
        >>> atoms = flashmd_rs.load_structure("water258")
        >>> dynamics = FlashMD(atoms, "water", temperature_K=300, trajectory="run.traj")
        >>> converged = dynamics.run(10)
        >>> round(dynamics.get_time() / ase.units.fs)
        160
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        model: PathLike | Model,
        *,
        trajectory: Any = None,
        logfile: IO[str] | str | None = None,
        loginterval: int = 1,
        append_trajectory: bool = False,
        **options: Any,
    ) -> None:
        simulation = hosted_simulation(atoms, model, "ASE", _OF_ASE, options)
        self._begin(simulation, atoms, trajectory, logfile, loginterval, append_trajectory)

    @classmethod
    def load(
        cls,
        checkpoint: PathLike,
        *,
        trajectory: Any = None,
        logfile: IO[str] | str | None = None,
        loginterval: int = 1,
        append_trajectory: bool = True,
        **options: Any,
    ) -> Self:
        """Dynamics that go on from a checkpoint to the last bit, with the atoms that it holds as ``atoms``.

        Args:
            checkpoint: file that :meth:`save`, or a run with ``checkpoint``, left.
            trajectory: as of :class:`ase.md.md.MolecularDynamics`.
            logfile: likewise.
            loginterval: likewise.
            append_trajectory: likewise.
            options: those of :meth:`flashmd_rs.Simulation.load`.

        Raises:
            CheckpointError: the checkpoint is damaged or of another model.
        """
        simulation = Simulation.load(checkpoint, **options)
        dynamics = cls.__new__(cls)
        dynamics._begin(simulation, simulation.atoms, trajectory, logfile, loginterval, append_trajectory)
        return dynamics

    def _begin(
        self,
        simulation: Simulation,
        atoms: ase.Atoms,
        trajectory: Any,
        logfile: IO[str] | str | None,
        loginterval: int,
        append_trajectory: bool,
    ) -> None:
        self.simulation = simulation
        plan = simulation._run.plan
        if logfile and atoms.calc is None:
            atoms.calc = _calculator(plan.energy, plan.model)
        # ASE's todict is asked for before its own __init__ is over.
        self._described = {
            "model": plan.model.name,
            "model_sha256": plan.model.sha256,
            "thermostat": _described(plan.settings.thermostat),
            "barostat": _described(plan.settings.barostat),
        }
        super().__init__(
            atoms,
            plan.settings.stride_fs * units.fs,
            trajectory,
            logfile,
            loginterval,
            append_trajectory=append_trajectory,
        )
        self.nsteps = simulation.nsteps
        self._show()

    def todict(self) -> dict[str, Any]:
        """What a trajectory says of the dynamics that made it."""
        of_ase: dict[str, Any] = super().todict()  # type: ignore[no-untyped-call]
        return of_ase | self._described

    def step(self) -> None:
        """One stride.

        Raises:
            StabilityError: it left the numbers that the simulation can go on from; the atoms are at the last good ones.
            InputError: the atoms are not those of the run any more.
        """
        self.simulation.atoms = self.atoms
        try:
            self.simulation.step()
        finally:
            self._show()

    def _show(self) -> None:
        """Put the atoms where the simulation is."""
        state = self.simulation.state
        self.atoms.arrays["positions"][:] = state.positions
        # Constraints are honoured already, and set_momenta would project again.
        self.atoms.arrays["momenta"][:] = state.momenta
        if not np.array_equal(self.atoms.cell.array, state.cell):
            self.atoms.set_cell(state.cell)

    def irun(self, steps: int = 50) -> Iterator[bool]:
        """As ASE's, without forces: they are no part of a stride."""
        self.max_steps = self.nsteps + steps
        if self.nsteps == 0:
            self.log()  # type: ignore[no-untyped-call]
            self.call_observers()  # type: ignore[no-untyped-call]
        yield self.nsteps == self.max_steps
        while self.nsteps < self.max_steps:
            self.step()
            self.nsteps = self.simulation.nsteps
            self.log()  # type: ignore[no-untyped-call]
            self.call_observers()  # type: ignore[no-untyped-call]
            yield self.nsteps == self.max_steps

    def run(self, steps: int = 50) -> bool:
        """Move by so many strides."""
        *_, converged = self.irun(steps)
        return converged

    def save(self, path: PathLike) -> None:
        """Save a checkpoint to go on from with :meth:`load`; see :meth:`flashmd_rs.Simulation.save`."""
        self.simulation.atoms = self.atoms
        self.simulation.save(path)


class VelocityVerlet(FlashMD):
    """``flashmd.ase.VelocityVerlet``, and what its arguments mean there.

    Args:
        atoms: moved in place; their calculator gives the energy that is kept.
        timestep: the stride, in ASE's units; to be the model's.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, of a model that is not open yet.
        rescale_energy: keep the total energy by scaling the momenta.
        random_rotation: turn the system at random around each stride.
        rng: draws the seed; None for ``numpy.random``.
        options: ``trajectory``, ``logfile`` and the like, and those of :class:`FlashMD`.

    Raises:
        InputError: the time step is not the model's stride.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        timestep: float,
        model: PathLike | Model,
        device: str = "auto",
        rescale_energy: bool = True,
        random_rotation: bool = False,
        rng: Any = None,
        **options: Any,
    ) -> None:
        opened = model if isinstance(model, Model) else Model(model, device=device)
        check_timestep(opened, timestep / units.fs)
        given: dict[str, Any] = {
            "thermostat": "none",
            "momenta": "structure",
            "rescale_energy": rescale_energy,
            "energy_model": atoms.calc if rescale_energy else None,
            "random_rotation": random_rotation,
            "seed": int((np.random if rng is None else rng).random() * 2**32),
        }
        super().__init__(atoms, opened, **(given | options))


class Langevin(VelocityVerlet):
    """``flashmd.ase.Langevin``, and what its arguments mean there.

    Args:
        atoms: moved in place.
        timestep: the stride, in ASE's units; to be the model's.
        temperature_K: of the thermostat, K.
        model: as of :class:`VelocityVerlet`.
        time_constant: relaxation time of the momenta, in ASE's units.
        fixcm: the centre of mass rests. False is refused: the thermostat leaves its motion as it is.
        device: as of :class:`VelocityVerlet`.
        rescale_energy: likewise, and what the thermostat gives.
        random_rotation: likewise.
        rng: likewise.
        options: likewise.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        timestep: float,
        temperature_K: float,
        model: PathLike | Model,
        time_constant: float = 100.0 * units.fs,
        fixcm: bool = True,
        device: str = "auto",
        rescale_energy: bool = False,
        random_rotation: bool = False,
        rng: Any = None,
        **options: Any,
    ) -> None:
        if not fixcm:
            raise InputError(
                "got fixcm=False: the thermostat leaves the motion of the centre of mass alone; leave it out"
            )
        momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
        atoms.set_momenta(momenta - masses * momenta.sum(0) / masses.sum())
        bath: dict[str, Any] = {
            "temperature_K": temperature_K,
            "thermostat": _options.Langevin(time_constant / units.fs),
        }
        super().__init__(atoms, timestep, model, device, rescale_energy, random_rotation, rng, **(bath | options))


class Bussi(VelocityVerlet):
    """``flashmd.ase.Bussi``, and what its arguments mean there.

    Args:
        atoms: moved in place.
        timestep: the stride, in ASE's units; to be the model's.
        temperature_K: of the thermostat, K.
        model: as of :class:`VelocityVerlet`.
        time_constant: relaxation time of the kinetic energy, in ASE's units.
        device: as of :class:`VelocityVerlet`.
        rescale_energy: likewise, and what the thermostat gives.
        random_rotation: likewise.
        rng: likewise.
        options: likewise.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        timestep: float,
        temperature_K: float,
        model: PathLike | Model,
        time_constant: float = 10.0 * units.fs,
        device: str = "auto",
        rescale_energy: bool = False,
        random_rotation: bool = False,
        rng: Any = None,
        **options: Any,
    ) -> None:
        bath: dict[str, Any] = {
            "temperature_K": temperature_K,
            "thermostat": _options.Bussi(time_constant / units.fs),
        }
        super().__init__(atoms, timestep, model, device, rescale_energy, random_rotation, rng, **(bath | options))


def _calculator(energy: Any, model: Model) -> Calculator:
    """A calculator of the energy that a run is measured by, or else of the model's own energy model.

    Raises:
        InputError: there is none.
    """
    found = energy if isinstance(energy, Model) else reference_energy_model(model)
    if found is None:
        raise InputError(
            f"a log states potential energies, and {model.name} names no energy model: give the atoms a calculator, or "
            "leave logfile out"
        )
    return found.calculator()


def _described(option: _options.Option | None) -> dict[str, Any] | None:
    return None if option is None else option.as_dict()
