"""OpenMM systems from files, functions and force fields, and what of them a reference refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flashmd_rs.reference.factories import Factory
from flashmd_rs.reference.potentials import OpenMMPotential
from flashmd_rs.reference.system import System, is_factory


def openmm_potential(
    source: str,
    arguments: Mapping[str, Any] | None = None,
    description: str | None = None,
    folder: Path | None = None,
) -> OpenMMPotential:
    """The potential of a serialised OpenMM system, or of one that a function returns.

    Args:
        source: ``.xml`` file, or ``file.py:name`` or ``package.module:name`` of a function.
        arguments: keyword arguments of the function.
        description: potential in words; None for the source's name.
        folder: that a file is relative to; None is the working directory.

    Raises:
        ValueError: it is no OpenMM system, or one that a reference refuses.
        OSError: the file is missing.
    """
    from openmm import System as OpenMMSystem
    from openmm import XmlSerializer

    if is_factory(source):
        system = Factory(source, tuple((arguments or {}).items()), folder)()
    else:
        system = XmlSerializer.deserialize(((folder or Path()) / source).read_text())
    if not isinstance(system, OpenMMSystem):
        raise ValueError(f"{source} gives {type(system).__name__}, wanted an OpenMM system")
    return OpenMMPotential(XmlSerializer.serialize(system), description or f"OpenMM system {Path(source).name}")


def forcefield_system(
    structures: Sequence[str], forcefield: Sequence[str], description: str | None, folder: Path | None
) -> System:
    """The system of PDB or PDBx/mmCIF files under an OpenMM force field, without constraints."""
    raise NotImplementedError
