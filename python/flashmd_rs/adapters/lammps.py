"""Strides inside LAMMPS: a ``fix external`` whose time step is a stride of a learned model.

The model moves positions and velocities, so there is no fix that integrates or constrains (``nve``, ``shake``,
``rigid``). What acts around it is LAMMPS' own. Forces of pair styles, and of fixes that were made before
(``langevin``, ``colvars``), are an impulse v ← v + Δ F/m before each stride. Fixes that change velocities
(``temp/csvr``) act at the end of the step. Dumps, thermo output and restarts see each stride as a time step. An impulse
of ``fix langevin`` each Δ is Δ/2τ too hot: take a long τ, or ``thermostat`` of the options.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase import units

from flashmd_rs._warn import warn
from flashmd_rs.adapters.hosted import check_timestep, hosted_simulation
from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike

# Velocity and force of LAMMPS' units in ASE's, its time in fs, and its energy in eV.
_UNITS = {
    "metal": (1 / (1000 * units.fs), 1.0, 1000.0, 1.0),
    "real": (1 / units.fs, units.kcal / units.mol, 1.0, units.kcal / units.mol),
}
_OF_LAMMPS = {
    "steps": "run",
    "time_ps": "run",
    "interval": "dump",
    "trajectory": "dump",
    "logfile": "thermo",
    "checkpoint": "restart",
    "observers": "fix python",
    "pressure_bar": "fix press/berendsen",
}


def attach(
    lmp: Any, model: PathLike | Model, elements: Sequence[str], *, fix: str = "flashmd", **options: Any
) -> Strides:
    """Make each time step of a LAMMPS instance a stride of a learned model.

    Args:
        lmp: a ``lammps.lammps`` with its atoms, in units ``metal`` or ``real``, whose ``timestep`` is the stride.
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        elements: chemical symbol of each atom type.
        fix: ID of the ``fix external`` that is made, behind all whose forces are to act.
        options: those of :func:`flashmd_rs.rollout`, but for what LAMMPS does itself. Without any there is neither a
            thermostat nor rescaling. With ``energy_model`` and ``rescale_energy`` the thermo output has energies.

    Returns:
        What runs it: ``strides.run(1000)`` is LAMMPS' ``run 1000`` that raises what a stride raises. ``lmp.command``
        works too; a run whose stride fails then ends with a warning.

    Raises:
        InputError: other units, another time step, several MPI ranks, a type without element, or an option that is
            LAMMPS' part.

    Example:
        >>> lmp.command("timestep 0.016")  # doctest: +SKIP
        >>> lmp.command("fix bath all temp/csvr 300 300 0.1 54321")  # doctest: +SKIP
        >>> strides = attach(lmp, "water.onnx", ["O", "H"])  # doctest: +SKIP
        >>> strides.run(10_000)  # doctest: +SKIP
    """
    return Strides(lmp, model, elements, fix, options)


class Strides:
    """The strides of a LAMMPS instance; :func:`attach` makes them.

    Attributes:
        simulation: the simulation that does them, with its report.
    """

    def __init__(
        self, lmp: Any, model: PathLike | Model, elements: Sequence[str], fix: str, options: dict[str, Any]
    ) -> None:
        if (style := lmp.extract_global("units")) not in _UNITS:
            raise InputError(f"got units {style}, wanted metal or real")
        if lmp.extract_setting("world_size") > 1:
            raise InputError("got several MPI ranks, and a model moves all atoms at once: wanted one")
        if (types := lmp.extract_setting("ntypes")) != len(elements):
            raise InputError(f"got {len(elements)} elements for {types} atom types: wanted one for each")
        self._lmp, self._fix, self._elements = weakref.proxy(lmp), fix, tuple(elements)
        self._velocity, self._force, self._fs, self._energy = _UNITS[style]
        opened = model if isinstance(model, Model) else Model(model)
        check_timestep(opened, lmp.extract_global("dt") * self._fs)
        given: dict[str, Any] = {"thermostat": "none", "momenta": "structure", "rescale_energy": False}
        self.simulation = hosted_simulation(self._atoms(), opened, "LAMMPS", _OF_LAMMPS, options, **given)
        if self._has_energy:
            self.simulation._run.begin()  # its first energy is known then
        self._impulse_time = lmp.extract_global("dt") * self._fs * units.fs
        self._done = lmp.extract_global("ntimestep")
        self._failure: BaseException | None = None
        lmp.command(f"fix {fix} all external pf/callback 1 1")
        if self._has_energy:
            lmp.command(f"fix_modify {fix} energy yes")
        # LAMMPS holds the callback, and with it this.
        lmp.set_fix_external_callback(fix, _callback, self)

    def run(self, steps: int) -> None:
        """LAMMPS' ``run``.

        Raises:
            StabilityError: a stride left the numbers that the run can go on from; LAMMPS has the last good ones.
            InputError: the atoms are not those of the start any more.
        """
        self._raise_failure()
        if (last := self._lmp.available_ids("fix")[-1]) != self._fix:
            raise InputError(
                f"fix {last} was made behind {self._fix}, whose strides would not feel its forces: detach, and attach "
                "anew"
            )
        self._lmp.command(f"run {steps}")
        self._raise_failure()

    def detach(self) -> None:
        """Take the fix away: time steps are LAMMPS' own again."""
        self._lmp.commands_list(["timer timeout off", f"unfix {self._fix}"])

    def _raise_failure(self) -> None:
        """Raise what ended a run, and let LAMMPS run again."""
        failure, self._failure = self._failure, None
        if failure is not None:
            self._lmp.command("timer timeout off")
            raise failure

    def at_step(self, step: int) -> None:
        """What LAMMPS calls with the forces of a step known: once before a run, without moving, and in each step."""
        due, self._done = step == self._done + 1, step
        if self._failure is not None:
            return
        try:
            if due:
                self._stride()
            elif self._has_energy:
                self.simulation.atoms = self._atoms()
                self._tell_energy()
        except BaseException as error:  # LAMMPS would print it and go on, Ctrl-C too
            self._failure = error
            warn(f"a stride failed, and the run ends: {error}")
            self._lmp.force_timeout()

    def _stride(self) -> None:
        arrays, order = self._lmp.numpy, self._order()
        atoms = self._atoms()
        atoms.arrays["momenta"] += self._impulse_time * self._force * arrays.extract_atom("f")[order]
        self.simulation.atoms = atoms
        try:
            self.simulation.step()
        finally:
            state = self.simulation.state
            velocities = state.momenta / atoms.get_masses()[:, None] / self._velocity
            arrays.extract_atom("x")[order], arrays.extract_atom("v")[order] = state.positions, velocities
        self._tell_energy()

    @property
    def _has_energy(self) -> bool:
        return self.simulation._run.plan.energy is not None

    def _tell_energy(self) -> None:
        """Give LAMMPS the potential energy, where it is known."""
        energy = self.simulation.state.potential_energy
        if energy is not None:
            self._lmp.fix_external_set_energy_global(self._fix, energy / self._energy)

    def _order(self) -> Any:
        """Places of the atoms in LAMMPS' arrays, which hold ghosts behind them, in the order of their IDs."""
        return np.argsort(self._lmp.numpy.extract_atom("id")[: self._lmp.extract_setting("nlocal")])

    def _atoms(self) -> ase.Atoms:
        """The structure that LAMMPS holds, in the order of its IDs."""
        extract, order = self._lmp.numpy.extract_atom, self._order()
        types, each = extract("type")[order], extract("rmass")
        masses = extract("mass")[types] if each is None else each[order]
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        edges = np.subtract(high, low)
        atoms = ase.Atoms(
            [self._elements[kind - 1] for kind in types],
            extract("x")[order],
            masses=masses,
            cell=[[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]],
            pbc=periodic,
        )
        atoms.arrays["momenta"] = extract("v")[order] * self._velocity * masses[:, None]
        return atoms


def _callback(strides: Strides, step: int, count: int, ids: Any, positions: Any, forces: Any) -> None:
    forces[:] = 0.0
    strides.at_step(step)
