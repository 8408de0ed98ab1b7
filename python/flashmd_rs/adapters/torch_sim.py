"""Strides inside torch-sim: what its ``integrate`` takes as ``integrator``; all systems of a batch in one call.

>>> import torch_sim as ts  # doctest: +SKIP
>>> ts.integrate(  # doctest: +SKIP
...     [water, ice], NoPotential(), integrator=strides("water.onnx"), n_steps=1000, timestep=0.016, temperature=300
... )
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import ase
import numpy as np
import torch
import torch_sim as ts
from ase import units
from torch_sim.integrators import MDState
from torch_sim.models.interface import ModelInterface

from flashmd_rs.adapters.hosted import check_timestep, hosted_simulation
from flashmd_rs.errors import InputError
from flashmd_rs.model import Model
from flashmd_rs.options import PathLike
from flashmd_rs.simulation import Simulation

_OF_TORCH_SIM = {
    "steps": "n_steps",
    "time_ps": "n_steps",
    "temperature_K": "temperature",
    "momenta": "the state's momenta",
    "replica": "the order of the systems",
    "trajectory": "trajectory_reporter",
    "interval": "trajectory_reporter",
    "logfile": "trajectory_reporter",
    "observers": "trajectory_reporter",
    "checkpoint": "trajectory_reporter",
    "resume": "trajectory_reporter",
}


class Integrator(NamedTuple):
    """An integrator of torch-sim, which takes it as a pair, and 0.3 by calling it.

    Attributes:
        init: gives a state momenta, energy and forces, and begins.
        step: moves it by one stride.
    """

    init: Callable[..., MDState]
    step: Callable[..., MDState]

    def __call__(self, model: ModelInterface, *, dt: Any, kT: Any, **more: Any) -> tuple[Any, Any]:
        """The pair with what torch-sim 0.3 gives once."""
        return partial(self.init, model=model, dt=dt, kT=kT, **more), partial(self.step, model=model, dt=dt)


def strides(model: PathLike | Model, **options: Any) -> Integrator:
    """An integrator for ``torch_sim.integrate`` whose steps are strides of a learned model.

    Systems of a batch move together in one call of the network. Positions stay unwrapped. Momenta that a state does not
    have are drawn by torch-sim, by its own random numbers. Energies, forces and what else reporters see are those of
    torch-sim's own model, asked after each stride; :class:`NoPotential` spares the time.

    Args:
        model: a model file, a bundled name, or an open :class:`~flashmd_rs.Model`.
        options: those of :func:`flashmd_rs.rollout`, but for what torch-sim does itself. Its ``temperature`` is that of
            the thermostat, in newer ones than 0.3 also one for each system; ``thermostat="none"`` leaves it to the
            drawn momenta.

    Raises:
        InputError: the model or an option is not usable; where it runs, a ``timestep`` that is not the stride, a
            temperature that changes from step to step, constraints, or atoms that became others.
        StabilityError: where it runs, a system left the numbers that it can go on from.

    Example:
        >>> import flashmd_rs, torch_sim as ts  # doctest: +SKIP
        >>> water = flashmd_rs.load_structure("water258")  # doctest: +SKIP
        >>> state = ts.integrate(  # doctest: +SKIP
        ...     [water] * 4, NoPotential(), integrator=strides("water"), n_steps=100, timestep=0.016, temperature=300
        ... )
    """
    batch = _Batch(model if isinstance(model, Model) else Model(model), options)
    return Integrator(batch.init, batch.step)


class NoPotential(ModelInterface):
    """A model of torch-sim without energies: zeros, for runs whose reporters need none.

    Args:
        device: where the state lives.
        dtype: of the state.
    """

    def __init__(self, device: torch.device | None = None, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self._device, self._dtype = device or torch.device("cpu"), dtype
        self._compute_stress, self._compute_forces, self._memory_scales_with = False, True, "n_atoms"

    def forward(self, state: ts.SimState, **_: Any) -> dict[str, torch.Tensor]:
        """Energies [systems] and forces [N,3], zero."""
        return {"energy": state.positions.new_zeros(state.n_systems), "forces": torch.zeros_like(state.positions)}


class _Batch:
    """The systems that move together, and the simulation that moves them."""

    def __init__(self, model: Model, options: dict[str, Any]) -> None:
        self._model, self._options = model, options
        self._has_thermostat = options.get("thermostat") != "none"
        self._systems = 0
        self._simulation: Simulation | None = None
        self._kelvin: Any = None
        self._given: tuple[torch.Tensor, ...] = ()

    def init(self, state: ts.SimState, model: ModelInterface, *, kT: Any, dt: Any, **unknown: Any) -> MDState:
        _refuse(unknown)
        if getattr(state, "constraints", None):
            names = ", ".join(type(constraint).__name__ for constraint in state.constraints)
            raise InputError(f"got a state with constraints ({names}), and strides move every atom: take them away")
        check_timestep(self._model, _femtoseconds(dt))
        moved = _with_momenta(state, model, kT)
        self._kelvin = _kelvin(kT, state.n_systems)
        # Batches that follow each other are replicas of one run: their random numbers are not the same.
        given: dict[str, Any] = {"momenta": "structure", "replica": self._systems}
        if self._has_thermostat:
            given["temperature_K"] = self._kelvin.tolist()
        self._simulation = hosted_simulation(
            _structures(moved), self._model, "torch-sim", _OF_TORCH_SIM, self._options, **given
        )
        self._systems += state.n_systems
        self._given = _mutable(moved)
        return moved

    def step(self, state: MDState, model: ModelInterface, *, kT: Any, dt: Any, **unknown: Any) -> MDState:
        _refuse(unknown)
        simulation = self._simulation
        if simulation is None:
            raise InputError("got a step before init: torch-sim calls init for each batch")
        check_timestep(self._model, _femtoseconds(dt))
        if self._has_thermostat and not np.allclose(_kelvin(kT, state.n_systems), self._kelvin, rtol=1e-6):
            raise InputError("got a temperature that changes from step to step, and strides keep that of the start")
        # What the state rounds is not lost from stride to stride, unless the host has moved atoms.
        if not all(map(torch.equal, self._given, _mutable(state))):
            simulation.atoms = _structures(state)
        simulation.step()
        for failure in simulation._run.failures.values():  # torch-sim would go on with a system that stays behind
            raise failure
        views = simulation.state
        state.positions = _tensor(np.concatenate([view.positions for view in views]), state)
        state.momenta = _tensor(np.concatenate([view.momenta for view in views]), state)
        state.cell = _tensor(np.stack([view.cell.T for view in views]), state)
        self._given = _mutable(state)
        output = model(state)
        state.energy, state.forces = output["energy"], output["forces"]
        if hasattr(state, "store_model_extras"):
            state.store_model_extras(output)
        return state


def _refuse(unknown: dict[str, Any]) -> None:
    if unknown:
        raise InputError(f"got {', '.join(unknown)}, which integrate hands to its integrator: give it to strides(…)")


def _femtoseconds(dt: Any) -> float:
    """A time step of torch-sim, fs."""
    steps = np.unique(_array(torch.as_tensor(dt, dtype=torch.float64)))
    if steps.size != 1:
        raise InputError(f"got {steps.size} time steps, and a stride is the same for all systems: wanted one")
    return float(steps[0]) / units.fs


def _kelvin(kT: Any, systems: int) -> Any:
    """Temperatures [systems], K, of a number or of one for each system."""
    kelvin = _array(torch.as_tensor(kT, dtype=torch.float64)).reshape(-1) / units.kB
    if kelvin.size not in (1, systems):
        raise InputError(f"got {kelvin.size} temperatures for {systems} systems: wanted one, or one for each")
    return np.broadcast_to(kelvin, systems)


def _with_momenta(state: ts.SimState, model: ModelInterface, kT: Any) -> MDState:
    """The state with momenta, energy and forces, as torch-sim's NVE begins."""
    if hasattr(ts, "nve_init"):
        return ts.nve_init(state=state, model=model, kT=kT)
    begin, _ = ts.integrators.nve(model, dt=torch.zeros(()), kT=kT)
    return begin(state)


def _mutable(state: MDState) -> tuple[torch.Tensor, ...]:
    """Copies of what a host may move, in place or not."""
    return state.positions.clone(), state.momenta.clone(), state.cell.clone()


def _structures(state: MDState) -> list[ase.Atoms]:
    """The systems of a batch; torch-sim's cells have lattice vectors as columns."""
    pbc = state.pbc.tolist() if isinstance(state.pbc, torch.Tensor) else state.pbc
    structures = []
    for system in range(state.n_systems):
        mine = state.system_idx == system
        numbers, positions, masses, momenta = (
            _array(x[mine]) for x in (state.atomic_numbers, state.positions, state.masses, state.momenta)
        )
        atoms = ase.Atoms(numbers, positions, masses=masses, cell=_array(state.cell[system]).T, pbc=pbc)
        atoms.arrays["momenta"] = np.array(momenta, dtype=np.float64)
        structures.append(atoms)
    return structures


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _tensor(array: Any, like: MDState) -> torch.Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)
