"""A system as people name it: on a command line, in a YAML or TOML file, or as keyword arguments."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flashmd_rs.reference.potentials import Potential
from flashmd_rs.reference.system import System, calculator_potential, load_structures, same_atoms_together

# What else a file may hold: defaults of the flags of these commands.
SECTIONS = ("generate", "fit", "evaluate")
# Options that may be given several times.
SEVERAL = ("structure", "forcefield")


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
        flexible: take constraints out of the OpenMM system, where harmonic bonds or angles hold the same atoms.
        description: the potential in words, for the model's card.

    Raises:
        ValueError: a value of another type.
    """

    structure: tuple[str, ...] = ()
    structure_args: Mapping[str, Any] = field(default_factory=dict)
    calculator: str | None = None
    calculator_args: Mapping[str, Any] = field(default_factory=dict)
    openmm: str | None = None
    openmm_args: Mapping[str, Any] = field(default_factory=dict)
    forcefield: tuple[str, ...] = ()
    flexible: bool = False
    description: str | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in SEVERAL:
                wanted, right = "text, or a list of it", isinstance(value, tuple) and _all_text(value)
            elif f.name.endswith("_args"):
                wanted, right = "names and values", isinstance(value, Mapping) and _all_text(value)
            elif f.name == "flexible":
                wanted, right = "true or false", isinstance(value, bool)
            else:
                wanted, right = "text", value is None or isinstance(value, str)
            if not right:
                raise ValueError(f"got {f.name} = {value!r}, wanted {wanted}")

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
            # Commands make their flags of this class; openmm is loaded where it is needed.
            from flashmd_rs.reference.openmm_sources import forcefield_system

            return forcefield_system(self.structure, self.forcefield, self.description)
        structures = load_structures(self.structure, self.structure_args)
        return System(tuple(structures), self.load_potential())

    def load_all(self) -> list[System]:
        """The systems of all structures, those of the same atoms in the same cell together.

        Raises:
            ValueError: as :meth:`load`.
            OSError: a file is missing.
        """
        if not self.calculator or self.openmm or self.forcefield:
            return [self.load()]
        potential = self.load_potential()
        groups = same_atoms_together(load_structures(self.structure, self.structure_args))
        if not groups:
            raise ValueError("got no structure; wanted a file, or a function that returns ase.Atoms")
        return [System(tuple(group), potential) for group in groups]

    def load_potential(self) -> Potential:
        """The potential for atoms that come from elsewhere; only a force field still needs its structure.

        Raises:
            ValueError: no or several potentials, or something that is not what it should be.
            OSError: a file is missing.
        """
        if self.openmm and not (self.calculator or self.forcefield):
            from flashmd_rs.reference.openmm_sources import openmm_potential

            return openmm_potential(self.openmm, self.openmm_args, self.description, self.flexible)
        if self.calculator and not (self.openmm or self.forcefield):
            return calculator_potential(self.calculator, self.calculator_args, self.description)
        return self.load().potential

    def with_given(self, given: SystemOptions) -> SystemOptions:
        """These options, with those of ``given`` that are not empty in their place.

        Arguments of a function that stays are joined; another structure or potential brings its own.
        """
        changes = {f.name: value for f in fields(self) if (value := getattr(given, f.name))}
        for name in ("structure_args", "calculator_args", "openmm_args"):
            changes[name] = {**getattr(self, name), **getattr(given, name)}
        if given.structure:
            changes["structure_args"] = given.structure_args
        if given.calculator or given.openmm or given.forcefield:
            changes |= {f.name: getattr(given, f.name) for f in fields(self) if not f.name.startswith("structure")}
        return replace(self, **changes)


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def load_system(path: Path, **given: Any) -> System:
    """The system of a YAML or TOML file, with other options in place of some of its own.

    Args:
        path: the file.
        given: fields of :class:`SystemOptions`, such as ``structure_args={"cells": 2}``.

    Raises:
        ValueError: what :func:`read_system_file` and :meth:`SystemOptions.load` refuse.
        OSError: a file is missing.
    """
    options, _ = read_system_file(path)
    return options.with_given(SystemOptions(**given)).load()


def read_system_file(path: Path) -> tuple[SystemOptions, dict[str, dict[str, Any]]]:
    """Options and sections of a YAML or TOML file; files in it are relative to its folder.

    Returns:
        The system, and by command the defaults of its flags.

    Raises:
        ValueError: it is no such file, or has keys that are not known.
        OSError: it is missing.
    """
    content = _parsed(path)
    known = {f.name for f in fields(SystemOptions)}
    unknown = sorted(str(key) for key in content.keys() - known - set(SECTIONS))
    if unknown:
        raise ValueError(
            f"{path} has unknown keys {', '.join(unknown)}; known are {', '.join([*sorted(known), *SECTIONS])}"
        )
    sections = {}
    for name in SECTIONS:
        section = content.pop(name, None) or {}
        if not isinstance(section, dict):
            raise ValueError(f"{path}: got {name} = {section!r}, wanted names and values")
        sections[name] = section
    for name in SEVERAL:
        value = content.get(name, ())
        content[name] = tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value
    try:
        options = SystemOptions(**content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return replace(
        options,
        structure=tuple(_beside(path, source) for source in options.structure),
        forcefield=tuple(_beside(path, f) if (path.parent / f).is_file() else f for f in options.forcefield),
        openmm=options.openmm and _beside(path, options.openmm),
        calculator=options.calculator and _beside(path, options.calculator),
    ), sections


def _beside(path: Path, source: str) -> str:
    """A file that is named in the file ``path``, by its path from here; a module's function as it is."""
    file, colon, _ = source.rpartition(":")
    return source if colon and not file.endswith(".py") else str(path.parent / source)


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
