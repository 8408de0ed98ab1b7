"""The energy a run is measured by or rescaled to: an energy model, its bundled companion, or another program's."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError

from flashmd_rs.bundled import MODELS, bundled_file
from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.model import Model
from flashmd_rs.openmm import ContextEnergy
from flashmd_rs.structure import F64

if TYPE_CHECKING:
    import ase


class CalculatorEnergy:
    """Potential energies from any ASE calculator; what the core asks of an energy.

    Args:
        calculator: anything with ``get_potential_energy(atoms)``.
        systems: structures by replica, which give species and the rest.
    """

    def __init__(self, calculator: Any, systems: dict[int, ase.Atoms]) -> None:
        self._systems: dict[int, ase.Atoms] = {replica: atoms.copy() for replica, atoms in systems.items()}
        for atoms in self._systems.values():
            del atoms.constraints
            atoms.calc = calculator
        self.name = type(calculator).__name__

    def energy(self, replica: int, positions: F64, cell: F64) -> float:
        """Potential energy at ``positions`` [N,3] (Å) in ``cell`` [3,3] (Å), eV."""
        return float(self._at(replica, positions, cell).get_potential_energy())

    def evaluate(self, replica: int, positions: F64, cell: F64) -> tuple[float, F64, F64 | None]:
        """Energy (eV), forces [N,3] (eV/Å) and virial [3,3] (eV), −V times ASE's stress; None where it has none.

        Raises:
            InputError: the calculator has no forces.
        """
        atoms = self._at(replica, positions, cell)
        energy = float(atoms.get_potential_energy())
        try:
            forces = np.array(atoms.get_forces(), dtype=float)
        except PropertyNotImplementedError:
            raise InputError(
                f"{self.name} gives no forces, which this run needs: give energy_model one that does"
            ) from None
        return energy, forces, self._virial(atoms)

    def _virial(self, atoms: ase.Atoms) -> F64 | None:
        if not atoms.pbc.all():
            return None
        try:
            return np.asarray(-atoms.get_volume() * atoms.get_stress(voigt=False))
        except PropertyNotImplementedError:
            return None

    def _at(self, replica: int, positions: F64, cell: F64) -> ase.Atoms:
        atoms: ase.Atoms = self._systems[replica]
        atoms.set_cell(cell)
        atoms.set_positions(positions)
        return atoms


def energy_source(given: Any, systems: dict[int, ase.Atoms], model: Model) -> EnergySource:
    """The ``energy_model`` argument as something that gives energies.

    Args:
        given: a path, a bundled name, a :class:`Model`, an ASE calculator, or an OpenMM ``Context``.
        systems: the structures of the run, by replica.
        model: the model that moves the atoms; an energy model opens on its device, with its threads.

    Raises:
        InputError: none of these.
        ModelError: a model without an energy.
    """
    if isinstance(given, str | os.PathLike):
        given = Model(given, device=model.device, threads=model.threads)
    if isinstance(given, Model):
        if given.kind != "energy":
            raise ModelError(f"energy_model {given.name} is of kind {given.kind!r}: wanted an 'energy' model")
        return given
    if callable(getattr(given, "get_potential_energy", None)):
        return CalculatorEnergy(given, systems)
    if callable(getattr(given, "getState", None)):
        return ContextEnergy(given, systems)
    raise InputError(
        f"got {type(given).__name__} for energy_model, wanted a path, a bundled name, a Model, an ASE calculator or an "
        "OpenMM Context"
    )


def companion_model(model: Model) -> Model | None:
    """The energy model that ``model`` names in its metadata, opened on the same device; None if it names none.

    It is looked for beside the model's file, then among the bundled models.

    Raises:
        ModelError: it is named but not found with the SHA-256 that the metadata states, or its name is not one.
    """
    entry = model.metadata.get("energy_model")
    if not entry:
        return None
    path = _companion_path(model.path, *_companion_entry(entry, model.name))
    return Model(path, device=model.device, threads=model.threads)


def _companion_entry(entry: Any, model: str) -> tuple[str, str | None]:
    """Name and SHA-256 of a companion. A model says which file to open: only one beside it, never a path."""
    name, sha256 = (entry.get("name"), entry.get("sha256")) if isinstance(entry, dict) else (entry, None)
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
        raise ModelError(f"{model} names the energy model {name!r:.100}, which is not the plain name of a file")
    if sha256 is not None and not isinstance(sha256, str):
        raise ModelError(f"{model} gives the SHA-256 of its energy model as {sha256!r:.100}, wanted text")
    return name, sha256


def _companion_path(beside: Path, name: str, sha256: str | None) -> Path:
    stem = name.removesuffix(".onnx")
    candidates = [beside.parent / f"{stem}.onnx", bundled_file(MODELS, stem, ".onnx")]
    present = [path for path in candidates if path is not None and path.is_file()]
    for path in present:
        if sha256 is None or hashlib.sha256(path.read_bytes()).hexdigest() == sha256.lower():
            return path
    problem = (
        f"found with another SHA-256 ({present[0]})" if present else "neither beside it nor among the bundled models"
    )
    raise ModelError(f"{beside.name} names the energy model {stem!r}, which is {problem}: give energy_model=…")


EnergySource = Model | CalculatorEnergy | ContextEnergy
