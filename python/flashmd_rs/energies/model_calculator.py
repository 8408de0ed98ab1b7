"""ASE calculator of a learned energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from flashmd_rs._structure import F64

if TYPE_CHECKING:
    import ase


class ModelCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and, where all axes are periodic, stress (eV/Å³) of a learned energy.

    Args:
        evaluate: energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV) of a structure.
        parameters: passed on to ASE's ``Calculator``.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE declares it an instance variable)

    def __init__(self, evaluate: Callable[[ase.Atoms], tuple[float, F64, F64]], **parameters: Any) -> None:
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self._evaluate = evaluate

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill ``self.results`` for ``atoms``."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure: Any = self.atoms
        energy, forces, virial = self._evaluate(structure)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if structure.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(-virial / structure.get_volume())
