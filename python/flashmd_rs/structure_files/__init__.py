"""Structures from files: what ASE reads, trajectories beside a topology, and what this program writes itself."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs import _checks
from flashmd_rs._velocities import in_ase_units, velocity_columns
from flashmd_rs.errors import InputError
from flashmd_rs.structure_files import ase_files, fixed_columns, lammps, trajectories
from flashmd_rs.structure_files.elements import WITHOUT_MASS, replace_stand_ins
from flashmd_rs.structure_files.sources import find_source, opened

if TYPE_CHECKING:
    import ase

__all__ = ["read_frames", "read_structure", "structure_path"]


def read_structure(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    index: int | None = None,
    units: str | None = None,
    topology: str | os.PathLike[str] | None = None,
) -> ase.Atoms:
    """Read a structure, with momenta where the file has velocities in a known unit.

    Args:
        path: file that ASE reads, also compressed (.gz, .bz2, .xz), LAMMPS data under any name, ``.h5md`` that
            flashmd-rs wrote, or, beside a topology, ``.xtc``, ``.dcd``, ``.trr`` or ``.nc``; ``FILE@INDEX``; ``"-"``
            for standard input; or a bundled name.
        format: the format as ASE calls it (``ase info --formats``); None finds it by the file's name and contents.
        index: of the frame; None is the last.
        units: LAMMPS' name for the units of a LAMMPS file (``"real"``, ``"metal"``, …), or for those of the velocities
            in a column of an extended XYZ file, which become momenta. None is what a LAMMPS file states, else
            ``"metal"``.
        topology: file of the same atoms that their elements and masses are taken from: a structure, or ``.psf``,
            ``.prmtop``, ``.parm7``, ``.top`` or ``.tpr``.

    Returns:
        The frame. Hydrogen's isotopes are H with their masses.

    Raises:
        InputError: the file is not a structure, holds no such frame, sites without mass or alternate locations, or does
            not say its elements; or a library that it needs is not installed.
        OSError: the file is missing or not readable.
    """
    source = find_source(path, index)
    template = None if topology is None else _read_topology(topology)
    with opened(source) as file:
        atoms = replace_stand_ins(_read(file, source.name, source.index, format, units, template))
    dummies = np.flatnonzero(atoms.numbers == 0)
    if len(dummies):
        raise InputError(f"atom {dummies[0]} of {source.name} is X, {WITHOUT_MASS}")
    return atoms


def read_frames(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    units: str | None = None,
    topology: str | os.PathLike[str] | ase.Atoms | None = None,
) -> list[ase.Atoms]:
    """Read all frames of a trajectory, with momenta, energies and forces where the file has them.

    The time of a frame is ``info["time_fs"]``, where the file says it in a known unit.

    Args:
        path: file of several frames that :func:`read_structure` reads; LAMMPS dumps included.
        format: as of :func:`read_structure`.
        units: as of :func:`read_structure`.
        topology: as of :func:`read_structure`, or a structure itself.

    Raises:
        InputError: as :func:`read_structure`.
        OSError: the file is missing or not readable.
    """
    source = find_source(path)
    template = None if topology is None else _read_topology(topology)
    with opened(source) as file:
        return [replace_stand_ins(atoms) for atoms in _read_all(file, source.name, format, units, template)]


def _read_all(
    file: Path, name: str, format: str | None, units: str | None, template: ase.Atoms | None
) -> list[ase.Atoms]:
    """All frames by the reader of their format."""
    kind = _kind(file, name, format)
    own = trajectories.read_all_own_h5md(file, name) if kind == trajectories.H5MD else None
    if own is not None:
        return own
    if kind in trajectories.COORDINATES and template is not None:
        return trajectories.read_coordinates(file, name, None, template, kind)
    if kind in (lammps.DATA, fixed_columns.GROMACS, fixed_columns.PDB, *trajectories.TOPOLOGIES):
        raise InputError(f"{name}, by its format {kind}, is no trajectory that is read: write .extxyz, .trr or .h5md")
    if kind in trajectories.COORDINATES:
        raise InputError(f"{name} does not say its elements: give a structure or a .psf of its atoms as topology")
    frames: list[ase.Atoms] = []

    def read(**options: str) -> ase.Atoms:
        frames.extend(ase_files.read_all_with_ase(file, name, kind, **options))
        return frames[0]

    if kind == lammps.DUMP:
        lammps.read_lammps(file, name, kind, units, read, template is None)
    else:
        read()
        if units is not None:
            frames = [_with_velocities(atoms, name, units) for atoms in frames]
    return frames if template is None else [trajectories.on_template(template, atoms, name) for atoms in frames]


def structure_path(path: str | os.PathLike[str]) -> Path | None:
    """The file that :func:`read_structure` reads; None for standard input."""
    return find_source(path).path


def _read(
    file: Path, name: str, index: int, format: str | None, units: str | None, template: ase.Atoms | None
) -> ase.Atoms:
    """A frame by the reader of its format."""
    kind = _kind(file, name, format)
    if units is not None and kind not in (*ase_files.XYZ, lammps.DATA, lammps.DUMP):
        raise InputError(f"got units {units!r} for {name}, whose format, {kind}, has its own: leave them out")
    if kind in trajectories.TOPOLOGIES:
        raise InputError(f"{name} holds no positions: give their file as the structure, and it as topology")
    own = trajectories.read_own_h5md(file, name, index) if kind == trajectories.H5MD else None
    if own is None and kind in trajectories.COORDINATES:
        if template is None:
            raise InputError(f"{name} does not say its elements: give a structure or a .psf of its atoms as topology")
        return trajectories.read_coordinates(file, name, index, template, kind)[0]
    read = partial(ase_files.read_with_ase, file, name, index, kind)
    if own is not None:
        atoms = own
    elif kind in (lammps.DATA, lammps.DUMP):
        atoms = lammps.read_lammps(file, name, kind, units, read, template is None)
    elif kind == fixed_columns.GROMACS:
        atoms = fixed_columns.read_gromacs(file, name, index, template is None)
    elif kind == fixed_columns.PDB:
        atoms = fixed_columns.read_pdb(file, name, index, template is None)
    else:
        atoms = read()
        if units is not None:
            atoms = _with_velocities(atoms, name, units)
    return atoms if template is None else trajectories.on_template(template, atoms, name)


def _kind(file: Path, name: str, format: str | None) -> str:
    """The format of a file: a suffix of MDAnalysis' formats and of topologies, else ASE's name."""
    others = (*trajectories.COORDINATES, *trajectories.TOPOLOGIES)
    if format is not None:
        return format if format in others else ase_files.known_format(format)
    suffix = file.suffix.lower().removeprefix(".")
    if suffix in others:
        return suffix
    return lammps.DATA if file.is_file() and lammps.is_data(file) else ase_files.ase_format(file, name)


def _read_topology(topology: str | os.PathLike[str] | ase.Atoms) -> ase.Atoms:
    """Elements and masses of a topology, or of any structure."""
    if not isinstance(topology, str | os.PathLike):
        return topology
    source = find_source(topology)
    if source.path is not None:
        kind = source.path.suffix.lower().removeprefix(".")
        if kind in trajectories.TOPOLOGIES:
            return trajectories.read_topology(source.path, source.name, kind)
    return read_structure(topology)


def _with_velocities(atoms: ase.Atoms, name: str, units: str) -> ase.Atoms:
    """The structure with momenta in place of its column of velocities."""
    from ase.calculators.lammps.unitconvert import UNITSETS

    _checks.one_of("units", units, tuple(UNITSETS))
    found = velocity_columns(atoms)
    if atoms.has("momenta") or len(found) != 1:
        has = "has momenta, whose unit is ASE's" if atoms.has("momenta") else f"has {len(found)} columns of velocities"
        raise InputError(f"got units {units!r} for {name}, which {has}: leave them out")
    [(column, velocities)] = found.items()
    for part in column.split(", "):
        del atoms.arrays[part]
    atoms.set_velocities(in_ase_units(velocities, units))
    return atoms
