"""View of the state of one system, as observers and callers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._structure import F64, constraints, with_state
from flashmd_rs.temperature import kinetic_energy, temperatures

if TYPE_CHECKING:
    import ase


@dataclass(frozen=True)
class StateView:
    """The state of one system after a stride; changing its arrays changes nothing else.

    Attributes:
        replica: number of the system.
        step: strides done.
        time_ps: simulated time, ps.
        positions: [N,3], Å, unwrapped.
        momenta: [N,3], √(eV·u).
        cell: [3,3], Å.
        potential_energy: eV, or None where it has not been computed for these positions.
    """

    replica: int
    step: int
    time_ps: float
    positions: F64 = field(repr=False)
    momenta: F64 = field(repr=False)
    cell: F64 = field(repr=False)
    potential_energy: float | None
    _template: ase.Atoms = field(repr=False)

    @classmethod
    def of(cls, state: dict[str, Any], template: ase.Atoms, replica: int) -> StateView:
        """The view of a state that the core describes; ``template`` gives what does not change."""
        return cls(
            replica=replica,
            step=int(state["step"]),
            time_ps=state["time_fs"] / 1000.0,
            positions=state["positions"],
            momenta=state["momenta"],
            cell=state["cell"],
            potential_energy=state["potential_energy"],
            _template=template,
        )

    @property
    def atoms(self) -> ase.Atoms:
        """A copy as ``ase.Atoms``, with momenta."""
        return with_state(self._template, self.positions, self.momenta, self.cell)

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy, eV, the centre of mass's motion included."""
        return kinetic_energy(self.momenta, self._template.get_masses())

    @property
    def temperature_K(self) -> dict[str, float]:
        """Temperatures, K: ``"total"`` and each chemical symbol."""
        symbols = np.array(self._template.get_chemical_symbols())
        fixed = constraints(self._template).fixed
        return temperatures(self.momenta, self._template.get_masses(), symbols, fixed)
