"""An ASE calculator around a model of kind ``energy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from flashmd_rs.errors import ModelError

if TYPE_CHECKING:
    from flashmd_rs.model import Model


class ModelCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and, where all axes are periodic, stress (eV/Å³) from a learned energy."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (ASE declares it an instance variable)

    def __init__(self, model: Model, **parameters: Any) -> None:
        if model.kind != "energy":
            raise ModelError(f"{model.name} is of kind {model.kind!r}: a calculator needs an 'energy' model")
        super().__init__(**parameters)  # type: ignore[no-untyped-call]
        self.model = model

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """Fill ``self.results`` for ``atoms``."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure: Any = self.atoms
        energy, forces, virial = self.model._evaluate(structure)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if structure.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(-virial / structure.get_volume())
