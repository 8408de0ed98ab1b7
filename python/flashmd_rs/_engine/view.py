"""View of the state of one system, as observers and callers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._structure import F64, constraints, with_state
from flashmd_rs.temperature import kinetic_energy, temperatures
from flashmd_rs.volume import density_g_per_cm3, pressure_bar, volume_A3

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
        stress_eV_per_A3: [3,3], eV/Å³, as ASE counts it, kinetic part included; or None, as well as for a cell that is
            not periodic along all axes and an energy without a virial.
    """

    replica: int
    step: int
    time_ps: float
    positions: F64 = field(repr=False)
    momenta: F64 = field(repr=False)
    cell: F64 = field(repr=False)
    potential_energy: float | None
    stress_eV_per_A3: F64 | None = field(repr=False)
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
            stress_eV_per_A3=state["stress"],
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
    def volume_A3(self) -> float | None:
        """Volume, Å³, or None unless all axes are periodic."""
        return volume_A3(self._template, self.cell)

    @property
    def density_g_per_cm3(self) -> float | None:
        """Density, g/cm³, or None unless all axes are periodic."""
        volume = self.volume_A3
        return None if volume is None else float(density_g_per_cm3(self._template, volume))

    @property
    def pressure_bar(self) -> float | None:
        """Pressure −tr(stress)/3, bar, or None where the stress is."""
        return None if self.stress_eV_per_A3 is None else float(pressure_bar(self.stress_eV_per_A3))

    @property
    def temperature_K(self) -> dict[str, float]:
        """Temperatures, K: ``"total"`` and each chemical symbol."""
        symbols = np.array(self._template.get_chemical_symbols())
        fixed = constraints(self._template).fixed
        return temperatures(self.momenta, self._template.get_masses(), symbols, fixed)
