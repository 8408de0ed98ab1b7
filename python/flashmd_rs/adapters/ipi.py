"""Strides inside i-PI: motion steps for its NVE, NVT and NpT motions, entered as those of ``flashmd.ipi`` are.

>>> from ipi.scripting import InteractiveSimulation  # doctest: +SKIP
>>> simulation = InteractiveSimulation(open("input.xml"))  # doctest: +SKIP
>>> simulation.set_motion_step(get_nvt_stepper(simulation, "water.onnx"))  # doctest: +SKIP
>>> simulation.run(1000)  # doctest: +SKIP

Thermostats, barostats, constraints, outputs and RESTART are i-PI's; the model moves positions and momenta alone. At
constant pressure the splitting is O A B · stride · B A O, with the thermostats O, and half steps of the volume A and of
its momentum B: Bigi, Chong, Kristiadi and Ceriotti, arXiv 2505.19350.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.constraints import FixAtoms
from ipi.engine.barostats import BaroBZP, BaroMTK
from ipi.engine.motion.dynamics import NPTIntegrator, NVEIntegrator, NVTIntegrator
from ipi.utils.depend import dstrip
from ipi.utils.mathtools import matrix_exp, random_rotation
from ipi.utils.units import Constants, unit_to_internal, unit_to_user

from flashmd_rs.adapters.hosted import check_timestep, hosted_simulation
from flashmd_rs.errors import InputError, StabilityError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike

Step = Callable[..., None]
_OF_IPI = dict.fromkeys(
    ("steps", "time_ps", "trajectory", "interval", "observers", "logfile", "checkpoint", "pressure_bar"),
    "its input file",
)


def get_nve_stepper(
    sim: Any,
    model: PathLike | Model,
    device: str = "auto",
    rescale_energy: bool = True,
    random_rotation: bool = False,
    **options: Any,
) -> Step:
    """A motion step of strides at constant energy.

    Args:
        sim: an ``InteractiveSimulation`` of ``dynamics`` in mode ``nve``, of one bead, whose time step is the stride.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, of a model that is not open yet.
        rescale_energy: scale the momenta so that i-PI's conserved quantity is kept, by its forcefield's energy.
        random_rotation: turn the system at random around each stride, by i-PI's random numbers.
        options: ``guard`` of :func:`flashmd_rs.rollout`.

    Raises:
        InputError: a motion of another kind, of several beads or time scales, or with another time step.
    """
    stride = _Stride(sim, NVEIntegrator, model, device, rescale_energy, random_rotation, options)

    def step(motion: Any, *_: Any, **__: Any) -> None:
        stride(motion)
        motion.ensemble.time += motion.dt

    return step


def get_nvt_stepper(
    sim: Any,
    model: PathLike | Model,
    device: str = "auto",
    rescale_energy: bool = False,
    random_rotation: bool = False,
    **options: Any,
) -> Step:
    """A motion step of strides between two half steps of i-PI's thermostat; arguments as of :func:`get_nve_stepper`."""
    stride = _Stride(sim, NVTIntegrator, model, device, rescale_energy, random_rotation, options)

    def step(motion: Any, *_: Any, **__: Any) -> None:
        motion.thermostat.step()
        motion.integrator.pconstraints()
        stride(motion)
        motion.thermostat.step()
        motion.integrator.pconstraints()
        motion.ensemble.time += motion.dt

    return step


def get_npt_stepper(
    sim: Any,
    model: PathLike | Model,
    device: str = "auto",
    rescale_energy: bool = False,
    random_rotation: bool = False,
    **options: Any,
) -> Step:
    """A motion step of strides at constant pressure; arguments as of :func:`get_nve_stepper`.

    Barostats ``isotropic`` (Bussi–Zykova–Parrinello) and ``flexible`` (Martyna–Tuckerman–Klein); the stress is that of
    i-PI's forcefield.
    """
    stride = _Stride(sim, NPTIntegrator, model, device, rescale_energy, random_rotation, options)
    for system in sim.syslist:
        if type(system.motion.barostat) not in (BaroBZP, BaroMTK):
            raise InputError(
                f"got the barostat {type(system.motion.barostat).__name__}: wanted mode isotropic or flexible"
            )

    def thermostats(motion: Any) -> None:
        motion.thermostat.step()
        motion.integrator.pconstraints()
        motion.barostat.thermostat.step()

    def step(motion: Any, *_: Any, **__: Any) -> None:
        thermostats(motion)
        _move_volume(motion.barostat)
        _kick_volume(motion.barostat)
        stride(motion)
        _kick_volume(motion.barostat)
        _move_volume(motion.barostat)
        thermostats(motion)
        motion.ensemble.time += motion.dt

    return step


class _Stride:
    """One stride of each motion of an i-PI simulation, by a simulation of its own."""

    def __init__(
        self,
        sim: Any,
        integrator: type,
        model: PathLike | Model,
        device: str,
        rescale_energy: bool,
        random_rotation: bool,
        options: dict[str, Any],
    ) -> None:
        opened = model if isinstance(model, Model) else Model(model, device=device)
        self._rescales, self._rotates, self._runs = rescale_energy, random_rotation, {}
        for system in sim.syslist:
            motion = system.motion
            _check(motion, integrator, opened)
            given: dict[str, Any] = {
                "thermostat": "none",
                "momenta": "structure",
                "rescale_energy": False,
                "random_rotation": False,
            }
            # Noise that a model draws begins anew where a RESTART is read: it must not be the same again.
            seed = int(motion.prng.u * 2**32) if "residual_scale" in opened._core.outputs else 0
            given["seed"] = seed
            self._runs[id(motion)] = hosted_simulation(_atoms(motion), opened, "i-PI", _OF_IPI, options, **given)

    def __call__(self, motion: Any) -> None:
        """Move positions and momenta; the cell stays."""
        before = motion.ensemble.econs if self._rescales else None
        run, atoms = self._runs[id(motion)], _atoms(motion)
        turn = random_rotation(motion.prng, improper=True) if self._rotates else np.eye(3)
        if self._rotates:
            momenta = atoms.get_momenta()
            atoms.set_cell(atoms.cell.array @ turn.T, scale_atoms=False)
            atoms.positions = atoms.positions @ turn.T
            atoms.arrays["momenta"] = momenta @ turn.T
        run.atoms = atoms
        run.step()
        state = run.state
        motion.beads.q[0] = (state.positions @ turn).ravel() * unit_to_internal("length", "ase", 1.0)
        motion.beads.p[0] = (state.momenta @ turn).ravel() * unit_to_internal("momentum", "ase", 1.0)
        motion.integrator.pconstraints()
        if before is not None:
            _rescale(motion, before)


def _rescale(motion: Any, wanted: float) -> None:
    """Scale momenta so that the conserved quantity is what it was.

    Raises:
        StabilityError: the potential energy has grown by more than there is of kinetic energy.
    """
    excess, kinetic = motion.ensemble.econs - wanted, motion.nm.kin
    if excess >= kinetic:
        eV = unit_to_user("energy", "electronvolt", 1.0)
        raise StabilityError(
            f"a stride has raised the energy by {excess * eV:.3g} eV, and there are {kinetic * eV:.3g} eV of kinetic "
            "energy to take that from"
        )
    motion.beads.p[0] = np.sqrt(1 - excess / kinetic) * dstrip(motion.beads.p[0])
    motion.integrator.pconstraints()


def _atoms(motion: Any) -> ase.Atoms:
    """The structure of a motion."""
    beads = motion.beads
    masses = dstrip(beads.m) * unit_to_user("mass", "dalton", 1.0)
    atoms = ase.Atoms(
        list(beads.names),
        dstrip(beads.q[0]).reshape(-1, 3) * unit_to_user("length", "ase", 1.0),
        masses=masses,
        cell=dstrip(motion.cell.h).T * unit_to_user("length", "ase", 1.0),
        pbc=True,
    )
    atoms.arrays["momenta"] = dstrip(beads.p[0]).reshape(-1, 3) * unit_to_user("momentum", "ase", 1.0)
    if len(motion.fixatoms_dof):
        atoms.set_constraint(FixAtoms(np.unique(motion.fixatoms_dof // 3)))
    return atoms


def _check(motion: Any, integrator: type, model: Model) -> None:
    """Refuse motions that strides are none of."""
    found = type(getattr(motion, "integrator", motion))
    if found is not integrator:
        raise InputError(f"got a motion with {found.__name__}, wanted dynamics with {integrator.__name__}")
    if motion.beads.nbeads != 1:
        raise InputError(f"got {motion.beads.nbeads} beads, and a model moves classical atoms: wanted one")
    if list(motion.nmts) != [1]:
        raise InputError(f"got nmts = {[int(n) for n in motion.nmts]}, and a stride has one time scale: leave nmts out")
    check_timestep(model, unit_to_user("time", "femtosecond", motion.dt))
    fixed = np.asarray(motion.fixatoms_dof)
    if len(fixed) != 3 * len(np.unique(fixed // 3)):
        raise InputError("got atoms that are fixed along some axes: wanted fixatoms, whole ones")


def _move_volume(barostat: Any) -> None:
    """Half a step of the cell by its momentum, and of positions and momenta with it."""
    half, nm = barostat.qdt, barostat.nm
    if isinstance(barostat, BaroBZP):
        velocity = float(barostat.p[0] / barostat.m[0])
        nm.qnm[0, :] *= np.exp(velocity * half)
        nm.pnm[0, :] *= np.exp(-velocity * half)
        barostat.cell.h *= np.exp(velocity * half)
        return
    _keep_fixed_lengths(barostat)
    velocity = dstrip(barostat.p) / barostat.m[0]
    grown, shrunk = matrix_exp(velocity * half), matrix_exp(-velocity * half)
    nm.qnm[0] = (dstrip(nm.qnm)[0].reshape(-1, 3) @ grown.T).ravel()
    nm.pnm[0] = (dstrip(nm.pnm)[0].reshape(-1, 3) @ shrunk.T).ravel()
    barostat.cell.h = grown @ dstrip(barostat.cell.h)


def _kick_volume(barostat: Any) -> None:
    """Half a step of the cell's momentum by the pressure, or the stress."""
    half, stress, ideal = barostat.pdt[0], barostat.stress_mts(0), Constants.kb * barostat.temp
    if isinstance(barostat, BaroBZP):
        pressure = np.trace(stress) / 3.0
        barostat.p += 3.0 * half * (barostat.cell.V * (pressure - barostat.pext) + ideal)
        return
    barostat.p += half * (barostat.cell.V * np.triu(dstrip(stress) - np.eye(3) * barostat.pext) + ideal * barostat.L)
    _keep_fixed_lengths(barostat)


def _keep_fixed_lengths(barostat: Any) -> None:
    """Take the momentum from what ``hfix`` and ``vol_constraint`` fix; its energy goes to the barostat's thermostat."""
    if not barostat.vol_constraint and np.all(barostat.hmask == 1.0):
        return
    barostat.thermostat.ethermo += barostat.kin
    barostat.p *= barostat.hmask
    if barostat.vol_constraint:
        barostat.p -= np.eye(3) * np.trace(barostat.p) / 3.0
    barostat.thermostat.ethermo -= barostat.kin
