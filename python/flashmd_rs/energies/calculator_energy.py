"""Potential energies from an ASE calculator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs import _checks
from flashmd_rs._structure import F64
from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase


class CalculatorEnergy:
    """Potential energies of any ASE calculator, as the core asks for them.

    Args:
        calculator: anything with ``get_potential_energy(atoms)``.
        systems: structures by replica, which give species and the rest.

    Attributes:
        has_virial: the calculator has a stress, as far as it says.
    """

    def __init__(self, calculator: Any, systems: dict[int, ase.Atoms]) -> None:
        self._systems: dict[int, ase.Atoms] = {replica: atoms.copy() for replica, atoms in systems.items()}
        for atoms in self._systems.values():
            del atoms.constraints
            atoms.calc = calculator
        self.name = type(calculator).__name__
        self._has_stress = callable(getattr(calculator, "get_stress", None))
        # Every class of ASE's has the method; without a list of what is behind it, it is believed.
        self.has_virial = self._has_stress and "stress" in getattr(calculator, "implemented_properties", ["stress"])

    def energy(self, replica: int, positions: F64, cell: F64) -> float:
        """Potential energy at ``positions`` [N,3] (Å) in ``cell`` [3,3] (Å), eV."""
        return self._energy(self._at(replica, positions, cell))

    def evaluate(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64, F64 | None]:
        """Energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV), −V times ASE's stress; None where it has none.

        Raises:
            InputError: the calculator has no forces, or gives something else than numbers of the right shape.
        """
        from ase.calculators.calculator import PropertyNotImplementedError

        atoms = self._at(replica, positions, cell)
        energy = self._energy(atoms)
        try:
            forces = self._numbers("forces", atoms.get_forces(), (len(atoms), 3))
        except PropertyNotImplementedError:
            raise InputError(f"{self.name} gives no forces, which this run needs: give one that does") from None
        return energy, forces, self._virial(atoms)

    def energy_and_virial(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64] | None:
        """Energy (eV) and virial [3,3] (eV), where the calculator has a stress; one that gives none is said once."""
        if not self.has_virial:
            return None
        atoms = self._at(replica, positions, cell)
        # Before the energy: whoever computes the stress has computed that too.
        virial = self._virial(atoms)
        if virial is not None and np.isfinite(virial).all():
            return self._energy(atoms), virial
        self.has_virial = False
        warn(f"{self.name} gives no stress that is a number: the run has no pressure")
        return None

    def _virial(self, atoms: ase.Atoms) -> F64 | None:
        if not (self._has_stress and atoms.pbc.all()):
            return None
        try:
            stress = self._numbers("stress", atoms.get_stress(voigt=False), (3, 3))
        except NotImplementedError:  # ASE's PropertyNotImplementedError is one
            return None
        virial: F64 = -atoms.get_volume() * stress
        return virial

    def _energy(self, atoms: ase.Atoms) -> float:
        return float(self._numbers("energy", atoms.get_potential_energy(), ()))

    def _numbers(self, what: str, values: Any, shape: tuple[int, ...]) -> F64:
        """What the calculator gave, as float64 of this shape, whatever its precision and layout were."""
        is_array = isinstance(values, np.ndarray | np.generic | float | int | list | tuple)
        given = np.asarray(values) if is_array else np.empty(0, dtype=object)
        # Some calculators give the energy as an array of one.
        fits = given.shape == shape or (shape == () and given.size == 1)
        if given.dtype.kind not in "iuf" or not fits:
            got = f"{given.dtype} of shape {given.shape}" if is_array else f"a {_checks.class_name(values)}"
            raise InputError(
                f"{self.name} gives the {what} as {got}: wanted real numbers of shape {shape}, of numpy or Python"
            )
        return np.array(given, dtype=np.float64, order="C").reshape(shape)

    def _at(self, replica: int, positions: F64, cell: F64) -> ase.Atoms:
        atoms: ase.Atoms = self._systems[replica]
        atoms.set_cell(cell)
        atoms.set_positions(positions)
        return atoms
