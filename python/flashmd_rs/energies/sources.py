"""The energy that a run is measured by or rescaled to: an energy model, an ASE calculator or an OpenMM context."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashmd_rs.bundled import MODELS, bundled_file
from flashmd_rs.energies.calculator_energy import CalculatorEnergy
from flashmd_rs.energies.openmm_context import ContextEnergy
from flashmd_rs.errors import InputError, ModelError
from flashmd_rs.fetched import fetched_file
from flashmd_rs.model import Model

if TYPE_CHECKING:
    import ase

EnergySource = Model | CalculatorEnergy | ContextEnergy


def energy_source(given: Any, systems: dict[int, ase.Atoms], model: Model, name: str = "energy_model") -> EnergySource:
    """The argument ``energy_model``, or another of its like, as something that gives energies.

    Args:
        given: a path, a bundled name, a :class:`Model`, an ASE calculator, or an OpenMM ``Context``.
        systems: the structures of the run, by replica.
        model: the model that moves the atoms; an energy model opens on its device, with its threads.
        name: of the argument.

    Raises:
        InputError: none of these.
        ModelError: a model without an energy.
    """
    if isinstance(given, str | os.PathLike):
        given = Model(given, device=model.device, threads=model.threads, kernels=model.kernels)
    if isinstance(given, Model):
        if given.kind != "energy":
            raise ModelError(f"{name} {given.name} is of kind {given.kind!r}: wanted an 'energy' model")
        return given
    if callable(getattr(given, "get_potential_energy", None)):
        return CalculatorEnergy(given, systems)
    if callable(getattr(given, "getState", None)):
        return ContextEnergy(given, systems)
    raise InputError(
        f"got {type(given).__name__} for {name}, wanted a path, a bundled name, a Model, an ASE calculator or an "
        "OpenMM Context"
    )


def has_virial(energy: EnergySource) -> bool:
    """True if pressures can be had of an energy."""
    return "edge_gradient" in energy._core.outputs if isinstance(energy, Model) else energy.has_virial


def reference_energy_model(model: Model) -> Model | None:
    """The energy model that ``model`` names in its metadata, opened on the same device; None if it names none.

    It is looked for beside the model's file, then among the bundled and the fetched models.

    Raises:
        ModelError: it is named but not found with the SHA-256 that the metadata states, or its name is not one.
    """
    entry = model.metadata.get("energy_model")
    if not entry:
        return None
    path = _reference_path(model.path, *_reference_entry(entry, model.name))
    return Model(path, device=model.device, threads=model.threads, kernels=model.kernels)


def _reference_entry(entry: Any, model: str) -> tuple[str, str | None]:
    """Name and SHA-256 that a model names. It says which file to open: only one beside it, never a path."""
    name, sha256 = (entry.get("name"), entry.get("sha256")) if isinstance(entry, dict) else (entry, None)
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
        raise ModelError(f"{model} names the energy model {name!r:.100}, which is not the plain name of a file")
    if sha256 is not None and not isinstance(sha256, str):
        raise ModelError(f"{model} gives the SHA-256 of its energy model as {sha256!r:.100}, wanted text")
    return name, sha256


def _reference_path(beside: Path, name: str, sha256: str | None) -> Path:
    import hashlib

    stem = name.removesuffix(".onnx")
    candidates = [beside.parent / f"{stem}.onnx", bundled_file(MODELS, stem, ".onnx"), fetched_file(stem)]
    present = [path for path in candidates if path is not None and path.is_file()]
    for path in present:
        if sha256 is None or hashlib.sha256(path.read_bytes()).hexdigest() == sha256.lower():
            return path
    problem = f"found with another SHA-256 ({present[0]})" if present else "neither beside it nor bundled nor fetched"
    raise ModelError(f"{beside.name} names the energy model {stem!r}, which is {problem}: give energy_model=…")
