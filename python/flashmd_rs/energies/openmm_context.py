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

    The context's positions and box are overwritten at each call. OpenMM wants boxes in reduced form, so any other cell
    is described by other vectors of the same lattice, and turned. It has no virial: use the Monte Carlo barostat.

    Args:
        context: an ``openmm.Context`` of the same atoms in the same order.
        systems: structures by replica.

    Attributes:
        has_virial: False.

    Raises:
        InputError: the context has another number of atoms, or a periodic system and the structure no cell.
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
        if self._periodic and any(atoms.cell.rank < 3 for atoms in systems.values()):
            raise InputError(
                "the OpenMM system is periodic, the structure has no cell: set the cell, or give another system"
            )

    def energy(self, replica: int, positions: F64, cell: F64) -> float:
        """Potential energy at ``positions`` [N,3] (Å) in ``cell`` [3,3] (Å), eV."""
        return self._energy(self._at(positions, cell, getEnergy=True)[0])

    def evaluate(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64, None]:
        """Energy (eV) and forces [N,3] (eV/Å); there is no virial."""
        from openmm.unit import kilojoule_per_mole, nanometer

        state, turn = self._at(positions, cell, getEnergy=True, getForces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(kilojoule_per_mole / nanometer)
        return self._energy(state), np.asarray(forces) @ turn * (kJ / mol / nm), None

    def energy_and_virial(self, replica: int, positions: F64, cell: F64) -> None:
        """Nothing: there is no virial."""

    def _at(self, positions: F64, cell: F64, **wanted: bool) -> tuple[Any, F64]:
        """OpenMM's ``State`` at ``positions``, with what is wanted of it, and the rotation [3,3] into its frame."""
        from openmm import OpenMMException

        box, turn = reduced_box(cell) if self._periodic else (cell, np.eye(3))
        try:
            if self._periodic:
                self._context.setPeriodicBoxVectors(*(box / nm))
            self._context.setPositions(positions @ turn.T / nm)
            return self._context.getState(**wanted), turn
        except OpenMMException as error:
            raise InputError(f"OpenMM refuses the structure in the box {box.round(4).tolist()} Å: {error}") from None

    def _energy(self, state: Any) -> float:
        from openmm.unit import kilojoule_per_mole

        return float(state.getPotentialEnergy().value_in_unit(kilojoule_per_mole)) * kJ / mol


def reduced_box(cell: F64) -> tuple[F64, F64]:
    """OpenMM's description of a lattice: a along x, b in the xy plane, each as short as its shear can make it.

    Args:
        cell: lattice vectors as rows [3,3], of either hand and any orientation, Å.

    Returns:
        The reduced vectors [3,3], Å, and the rotation Q [3,3] with cell = (integers) · box · Q: a vector r of the old
        frame is r·Qᵀ in that of the box.
    """
    vectors = np.array(cell, dtype=float)
    if np.linalg.det(vectors) < 0:
        # The same lattice by a right-handed set of vectors: a mirror image would be another molecule.
        vectors[2] *= -1.0
    if np.triu(vectors, 1).any() or (np.diag(vectors) < 0).any():
        orthogonal, upper = np.linalg.qr(vectors.T)
        signs = np.sign(np.diag(upper))
        box, turn = np.tril(upper.T * signs), signs[:, None] * orthogonal.T
    else:
        box, turn = vectors, np.eye(3)
    a, b, c = box
    c -= b * np.round(c[1] / b[1])
    c -= a * np.round(c[0] / a[0])
    b -= a * np.round(b[0] / a[0])
    # Half an edge to the last bit, as in a hexagonal cell, is beyond half of it after a change of units.
    for vector, k in ((b, 0), (c, 0), (c, 1)):
        half = (0.5 - 1e-14) * box[k, k]
        vector[k] = np.clip(vector[k], -half, half)
    return box, turn
