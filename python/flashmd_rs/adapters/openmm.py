"""Strides inside OpenMM: its ``Simulation`` is moved by a learned model, and its reporters see each stride as a step.

Integrators of OpenMM are leapfrog ones: they store velocities half a time step before the positions. They are moved to
the positions by the forces, v(t) = v(t − h/2) + h F/2m, and back when the state is handed back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
import openmm
from ase import units
from openmm import unit

from flashmd_rs._warn import warn
from flashmd_rs.adapters.hosted import hosted_simulation
from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike
from flashmd_rs.simulation import Simulation

if TYPE_CHECKING:
    from openmm import app

_LEAPFROG = (
    openmm.VerletIntegrator,
    openmm.VariableVerletIntegrator,
    openmm.LangevinIntegrator,
    openmm.LangevinMiddleIntegrator,
    openmm.VariableLangevinIntegrator,
    openmm.NoseHooverIntegrator,
)
_PS = 1000 * units.fs
# Forces whose part in the motion strides leave out, and the option that does the same.
_NOT_FORCES = {
    "MonteCarloBarostat": "pressure_bar",
    "MonteCarloAnisotropicBarostat": "pressure_bar",
    "MonteCarloFlexibleBarostat": "pressure_bar",
    "MonteCarloMembraneBarostat": "pressure_bar",
    "AndersenThermostat": "temperature_K",
}
_OF_OPENMM = dict.fromkeys(
    ("trajectory", "interval", "observers", "logfile", "checkpoint", "resume"), "simulation.reporters"
)


def run(
    simulation: app.Simulation,
    model: PathLike | Model,
    *,
    steps: int | None = None,
    time_ps: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Move an OpenMM simulation by strides of a learned model.

    Each stride is a step of ``simulation``: reporters are called when they are due, ``currentStep`` and the time go on,
    and positions, velocities and box are those after the last stride, for OpenMM to go on from.

    Args:
        simulation: an ``openmm.app.Simulation`` with positions and velocities, of a system without constraints, virtual
            sites and massless particles. Its integrator does nothing, its forces give energies to reporters alone.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        steps: strides.
        time_ps: or the time, ps, rounded up to whole strides.
        options: those of :func:`flashmd_rs.rollout`, but for trajectory, interval and observers, which are reporters
            here. ``energy_model=simulation.context`` takes energies from OpenMM.

    Returns:
        The report of the run, as of :attr:`flashmd_rs.Simulation.report`.

    Raises:
        InputError: the system has what strides cannot honour, or an option is not usable.
        StabilityError: a stride left the numbers that the run can go on from; the context has the last good state.

    Example:
        Equilibrate there, stride here, and hand back:

        >>> simulation.minimizeEnergy()  # doctest: +SKIP
        >>> simulation.step(10_000)  # doctest: +SKIP
        >>> report = run(simulation, "water", time_ps=100, temperature_K=300)  # doctest: +SKIP
        >>> simulation.step(10_000)  # doctest: +SKIP
    """
    with striding(simulation, model, steps=steps, time_ps=time_ps, **options) as ours:
        strides = ours._run.plan.settings.steps
        if strides is None:
            raise InputError("got no length: give steps (strides) or time_ps (ps)")
        simulation.step(strides)
        return dict(ours.report)


@contextmanager
def striding(simulation: app.Simulation, model: PathLike | Model, **options: Any) -> Iterator[Simulation]:
    """Within it, ``simulation.step`` moves by strides of a learned model; also where OpenMM's own classes call it.

    Strides go on from their own state: what is done to the context meanwhile, as by OpenMM's tempering and replica
    exchange, is not seen.

    Args:
        simulation: as of :func:`run`.
        model: likewise.
        options: likewise. With ``steps`` or ``time_ps`` the context holds the state where a reporter is due and at the
            end, without them always.

    Yields:
        The :class:`flashmd_rs.Simulation` that moves the atoms.

    Raises:
        InputError: as of :func:`run`.

    Example:
        OpenMM's metadynamics, whose force is the bias:

        >>> metadynamics = app.Metadynamics(system, [variable], 300, 5, 1.0, 50)  # doctest: +SKIP
        >>> bias = ForceGroups(simulation.context, {metadynamics._force.getForceGroup()})  # doctest: +SKIP
        >>> with striding(simulation, "molecule.onnx", temperature_K=300, bias=bias):  # doctest: +SKIP
        ...     metadynamics.step(simulation, 100_000)
    """
    _warn_of_what_is_left_out(simulation.system, options)
    with hosted_simulation(to_atoms(simulation), model, "OpenMM", _OF_OPENMM, options) as ours:
        integrator = simulation.integrator
        simulation.integrator = _Strides(simulation, ours)
        try:
            yield ours
        finally:
            simulation.integrator = integrator
            if ours.nsteps:
                from_atoms(simulation, ours.atoms)


class ForceGroups:
    """Some force groups of an OpenMM ``Context``, to be given as ``bias`` or ``energy_model``.

    Args:
        context: an ``openmm.Context``, whose positions and box are overwritten at each call.
        groups: numbers of the groups.
    """

    def __init__(self, context: openmm.Context, groups: set[int]) -> None:
        self._context, self._groups = context, groups

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def getState(self, **wanted: bool) -> openmm.State:
        """The context's state, energy and forces of these groups alone."""
        return self._context.getState(groups=self._groups, **wanted)


class _Strides:
    """Stands in for the integrator of an ``openmm.app.Simulation``: its steps are strides."""

    def __init__(self, simulation: app.Simulation, ours: Simulation) -> None:
        self._simulation, self._ours = simulation, ours
        context = simulation.context
        self._step, self._time_ps = context.getStepCount(), context.getTime().value_in_unit(unit.picosecond)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("set"):
            raise InputError(f"got {name}, and strides do not ask OpenMM's integrator: give it to the strides' options")
        return getattr(self._simulation.context.getIntegrator(), name)

    def getStepSize(self) -> unit.Quantity:
        return self._ours._run.plan.settings.stride_fs * unit.femtosecond

    def step(self, strides: int) -> None:
        context, due = self._simulation.context, self._is_due(strides)
        try:
            self._ours.step(strides)
        except BaseException:
            due = True
            raise
        finally:
            context.setStepCount(self._step + self._ours.nsteps)
            context.setTime((self._time_ps + self._ours.time_ps) * unit.picosecond)
            if due:
                from_atoms(self._simulation, self._ours.atoms)

    def _is_due(self, strides: int) -> bool:
        """True if somebody looks at the context after so many strides: a reporter, or at the end the caller."""
        planned = self._ours._run.plan.settings.steps
        if planned is None or self._ours.nsteps + strides == planned:
            return True
        reports = [reporter.describeNextReport(self._simulation) for reporter in self._simulation.reporters]
        return any((r["steps"] if isinstance(r, dict) else r[0]) == strides for r in reports)


def to_atoms(simulation: app.Simulation) -> ase.Atoms:
    """The state of an OpenMM simulation: positions as they are stored, momenta of the same instant, box.

    Raises:
        InputError: constraints, virtual sites, particles without mass or element, or an integrator whose velocities may
            belong to any instant.
    """
    system = simulation.system
    _check(simulation)
    state = simulation.context.getState(positions=True, velocities=True)
    masses = _masses(system)
    velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.picosecond) / _PS
    periodic = system.usesPeriodicBoundaryConditions()
    atoms = ase.Atoms(
        [atom.element.atomic_number for atom in simulation.topology.atoms()],
        state.getPositions(asNumpy=True).value_in_unit(unit.angstrom),
        masses=masses,
        cell=state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom) if periodic else None,
        pbc=periodic,
    )
    atoms.set_momenta(masses[:, None] * (velocities + _half_kick(simulation, masses)))
    return atoms


def from_atoms(simulation: app.Simulation, atoms: ase.Atoms) -> None:
    """Give positions, velocities and box of ``atoms`` to an OpenMM simulation, as its integrator stores them.

    Raises:
        InputError: other atoms, or a cell that is not in OpenMM's reduced form.
    """
    _check(simulation)
    context, masses = simulation.context, _masses(simulation.system)
    if len(atoms) != len(masses):
        raise InputError(f"got {len(atoms)} atoms, the OpenMM system has {len(masses)}: wanted the same")
    try:
        if simulation.system.usesPeriodicBoundaryConditions():
            context.setPeriodicBoxVectors(*(atoms.cell.array * unit.angstrom))
        context.setPositions(atoms.positions * unit.angstrom)
    except openmm.OpenMMException as error:
        raise InputError(f"OpenMM refuses the box {atoms.cell.array.round(4).tolist()} Å: {error}") from None
    velocities = atoms.get_momenta() / masses[:, None] - _half_kick(simulation, masses)
    context.setVelocities(velocities * _PS * unit.angstrom / unit.picosecond)


def _half_kick(simulation: app.Simulation, masses: Any) -> Any:
    """What velocities of this instant are ahead of those that the integrator stores [N, 3], Å/time."""
    integrator = simulation.context.getIntegrator()
    state = simulation.context.getState(forces=True, groups=integrator.getIntegrationForceGroups())
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom)
    step = integrator.getStepSize().value_in_unit(unit.femtosecond) * units.fs
    return 0.5 * step * forces * (units.kJ / units.mol) / masses[:, None]


def _masses(system: openmm.System) -> Any:
    return np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())])


def _check(simulation: app.Simulation) -> None:
    """Refuse what strides cannot honour."""
    system = simulation.system
    if count := system.getNumConstraints():
        raise InputError(
            f"the OpenMM system has {count} constraints, and strides move every atom: create it with constraints=None, "
            "rigidWater=False"
        )
    if sites := [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]:
        raise InputError(f"particle {sites[0]} is a virtual site, one of {len(sites)}: wanted a model of atoms alone")
    if (still := np.flatnonzero(_masses(system) == 0)).size:
        raise InputError(f"particle {still[0]} has no mass, one of {still.size}: wanted atoms that move")
    if nameless := [atom.index for atom in simulation.topology.atoms() if atom.element is None]:
        raise InputError(f"atom {nameless[0]} of the topology has no element: wanted one for each")
    integrator = simulation.context.getIntegrator()
    if not isinstance(integrator, _LEAPFROG):
        names = ", ".join(kind.__name__ for kind in _LEAPFROG)
        raise InputError(
            f"got a {type(integrator).__name__}, whose velocities may belong to any instant: wanted one of {names}"
        )


def _warn_of_what_is_left_out(system: openmm.System, options: dict[str, Any]) -> None:
    for force in system.getForces():
        name = type(force).__name__
        option = _NOT_FORCES.get(name)
        if option is not None and options.get(option) is None:
            warn(f"strides leave the system's {name} out: give {option} for one of ours")
