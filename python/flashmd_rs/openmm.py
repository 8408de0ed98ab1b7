"""Energies from an OpenMM ``Context``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ase.units import kJ, mol, nm

from flashmd_rs.errors import InputError
from flashmd_rs.structure import F64

if TYPE_CHECKING:
    import ase


class ContextEnergy:
    """Potential energies from an OpenMM ``Context``; what the core asks of an energy.

    The context's positions and box are overwritten at each call. OpenMM has no virial: use the Monte Carlo barostat.

    Args:
        context: an ``openmm.Context`` of the same atoms in the same order.
        systems: structures by replica.

    Raises:
        InputError: the context has another number of atoms.
    """

    name = "OpenMM"

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
        from openmm.unit import kilojoule_per_mole

        if self._periodic:
            self._context.setPeriodicBoxVectors(*(cell / nm))
        self._context.setPositions(positions / nm)
        energy = self._context.getState(getEnergy=True).getPotentialEnergy()
        return float(energy.value_in_unit(kilojoule_per_mole)) * kJ / mol

    def evaluate(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64, F64]:
        """Raise: there is no virial.

        Raises:
            InputError: always.
        """
        raise InputError("an OpenMM Context gives no virial, which cell rescaling needs: use barostat='monte_carlo'")
