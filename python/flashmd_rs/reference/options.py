"""A system as people name it: on a command line, in a YAML or TOML file, or as keyword arguments."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flashmd_rs.reference.openmm_sources import forcefield_system, openmm_potential
from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.system import System, calculator_potential, load_structures

# What else a file may hold: defaults of the flags of these commands.
SECTIONS = ("generate", "fit", "evaluate")


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """Start structures, and what computes their forces: an ASE calculator, an OpenMM system or its force field.

    Attributes:
        structure: start structure: a file, or package.module:function or file.py:function that returns ase.Atoms;
            repeat for several of the same atoms in the same cell.
        structure_args: NAME=VALUE, argument of a function that makes structures; repeat for several.
        calculator: package.module:name or file.py:name of an ASE calculator's class, or of a function that returns one.
        calculator_args: NAME=VALUE, argument of the calculator; repeat for several.
        openmm: serialised OpenMM system (.xml), or package.module:function or file.py:function that returns one.
        openmm_args: NAME=VALUE, argument of a function that makes an OpenMM system; repeat for several.
        forcefield: OpenMM force field file, such as amber14-all.xml; the structure is then a PDB or PDBx/mmCIF file;
            repeat for several.
        description: the potential in words, for the model's card.
    """

    structure: tuple[str, ...] = ()
    structure_args: Mapping[str, Any] = field(default_factory=dict)
    calculator: str | None = None
    calculator_args: Mapping[str, Any] = field(default_factory=dict)
    openmm: str | None = None
    openmm_args: Mapping[str, Any] = field(default_factory=dict)
    forcefield: tuple[str, ...] = ()
    description: str | None = None
    folder: Path | None = None

    def load(self) -> System:
        """The system.

        Raises:
            ValueError: no or several potentials, or something that is not what it should be.
            OSError: a file is missing.
        """
        given = [name for name in ("calculator", "openmm", "forcefield") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"got {' and '.join(given) or 'no potential'}; wanted one of calculator, openmm and forcefield"
            )
        if not self.structure:
            raise ValueError("got no structure; wanted a file, or a function that returns ase.Atoms")
        if self.forcefield:
            return forcefield_system(self.structure, self.forcefield, self.description, self.folder)
        structures = load_structures(self.structure, self.structure_args, self.folder)
        return System(tuple(structures), self.load_potential())

    def load_potential(self) -> Potential:
        """The potential for atoms that come from elsewhere; only a force field still needs its structure.

        Raises:
            ValueError: no or several potentials, or something that is not what it should be.
            OSError: a file is missing.
        """
        if self.openmm and not (self.calculator or self.forcefield):
            return openmm_potential(self.openmm, self.openmm_args, self.description, self.folder)
        if self.calculator and not (self.openmm or self.forcefield):
            return calculator_potential(self.calculator, self.calculator_args, self.description, self.folder)
        return self.load().potential

    def with_given(self, given: SystemOptions) -> SystemOptions:
        """These options, with those of ``given`` that are not empty in their place."""
        changes = {f.name: value for f in fields(self) if (value := getattr(given, f.name)) and f.name != "folder"}
        if {"calculator", "openmm", "forcefield"} & changes.keys():
            changes = {"calculator": None, "openmm": None, "forcefield": ()} | changes
        return replace(self, **changes)


def read_system_file(path: Path) -> tuple[SystemOptions, dict[str, dict[str, Any]]]:
    """Options and sections of a YAML or TOML file; files in it are relative to its folder.

    Returns:
        The system, and by command the defaults of its flags.

    Raises:
        ValueError: it is no such file, or has keys that are not known.
        OSError: it is missing.
    """
    content = _parsed(path)
    known = {f.name for f in fields(SystemOptions)} - {"folder"}
    unknown = sorted(content.keys() - known - set(SECTIONS))
    if unknown:
        raise ValueError(
            f"{path} has unknown keys {', '.join(unknown)}; known are {', '.join([*sorted(known), *SECTIONS])}"
        )
    sections = {name: dict(content.pop(name, None) or {}) for name in SECTIONS}
    for name in ("structure", "forcefield"):
        value = content.get(name, ())
        content[name] = (value,) if isinstance(value, str) else tuple(value)
    return SystemOptions(**content, folder=path.parent), sections


def _parsed(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or TOML file."""
    text = path.read_text()
    if path.suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is not TOML: {error}") from None
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}, wanted names and values, such as structure: a.xyz")
    return content
