"""Potential energies from an OpenMM ``Context``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import kJ, mol, nm

from flashmd_rs._structure import F64
from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase


class ContextEnergy:
    """Potential energies of an OpenMM ``Context``, as the core asks for them.

    The context's positions and box are overwritten at each call. OpenMM has no virial: use the Monte Carlo barostat.

    Args:
        context: an ``openmm.Context`` of the same atoms in the same order.
        systems: structures by replica.

    Attributes:
        has_virial: False.

    Raises:
        InputError: the context has another number of atoms.
    """

    name = "OpenMM"
    has_virial = False

    def __init__(self, context: Any, systems: dict[int, ase.Atoms]) -> None:
        system = context.getSystem()
        for atoms in systems.values():
            if system.getNumParticles() != len(atoms):
                raise InputError(
                    f"the OpenMM context has {system.getNumParticles()} particles, the structure {len(atoms)} atoms: "
                    "wanted the same atoms in the same order"
                )
        self._context = context
        self._periodic = system.usesPeriodicBoundaryConditions()

    def energy(self, replica: int, positions: F64, cell: F64) -> float:
        """Potential energy at ``positions`` [N,3] (Å) in ``cell`` [3,3] (Å), eV."""
        return self._energy(self._at(positions, cell, getEnergy=True))

    def evaluate(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64, None]:
        """Energy (eV) and forces [N,3] (eV/Å); there is no virial."""
        from openmm.unit import kilojoule_per_mole, nanometer

        state = self._at(positions, cell, getEnergy=True, getForces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(kilojoule_per_mole / nanometer)
        return self._energy(state), np.asarray(forces) * (kJ / mol / nm), None

    def energy_and_virial(self, replica: int, positions: F64, cell: F64) -> None:
        """Nothing: there is no virial."""

    def _at(self, positions: F64, cell: F64, **wanted: bool) -> Any:
        """OpenMM's ``State`` at ``positions``, with what is wanted of it."""
        if self._periodic:
            self._context.setPeriodicBoxVectors(*(cell / nm))
        self._context.setPositions(positions / nm)
        return self._context.getState(**wanted)

    def _energy(self, state: Any) -> float:
        from openmm.unit import kilojoule_per_mole

        return float(state.getPotentialEnergy().value_in_unit(kilojoule_per_mole)) * kJ / mol
