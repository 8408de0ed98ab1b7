"""Frames of simulation packages through MDAnalysis, and of this program's own H5MD."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import fs, kJ, mol

from flashmd_rs.errors import InputError
from flashmd_rs.structure_files.elements import WITHOUT_MASS, element_of_mass, elements_of, is_without_mass
from flashmd_rs.structure_files.sources import frame_number
from flashmd_rs.writers.frames import require
from flashmd_rs.writers.h5md import H5mdSegment

if TYPE_CHECKING:
    import ase

H5MD = "h5md"
# Suffixes of formats that hold no elements, and of those that hold no positions, with MDAnalysis' names.
COORDINATES = {"xtc": "XTC", "dcd": "DCD", "trr": "TRR", "nc": "NCDF", "ncdf": "NCDF", H5MD: "H5MD"}
TOPOLOGIES = {"psf": "PSF", "prmtop": "TOP", "parm7": "TOP", "top": "TOP", "tpr": "TPR"}

_A_PER_PS = 1.0 / (1000.0 * fs)  # in ASE's unit of velocity
_EV_PER_KJ_MOL = kJ / mol


def read_own_h5md(path: Path, name: str, index: int) -> ase.Atoms | None:
    """A frame of an H5MD file that this program wrote; None if another did, whose files do not say their elements.

    Raises:
        InputError: there is no such frame; or h5py is missing.
    """
    import ase

    require("h5py", f".{H5MD}")
    try:
        kind = H5mdSegment.species(path)
        if kind is None:
            return None
        numbers, masses, pbc = kind
        frame = H5mdSegment.read(path, frame_number(index, H5mdSegment.count(path), name))
    except (KeyError, OSError) as error:
        raise InputError(f"{name} is not a whole H5MD file: {error}") from None
    return ase.Atoms(numbers, positions=frame.positions, masses=masses, momenta=frame.momenta, cell=frame.cell, pbc=pbc)


def read_all_own_h5md(path: Path, name: str) -> list[ase.Atoms] | None:
    """All frames of an H5MD file that this program wrote, with times and energies; None if another did.

    Raises:
        InputError: the file is damaged, or h5py is missing.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    require("h5py", f".{H5MD}")
    try:
        count = H5mdSegment.count(path)
        times_fs, energies = H5mdSegment.times_and_energies(path)
    except (KeyError, OSError) as error:
        raise InputError(f"{name} is not a whole H5MD file: {error}") from None
    frames = []
    for index in range(count):
        atoms = read_own_h5md(path, name, index)
        if atoms is None:
            return None
        atoms.info["time_fs"] = float(times_fs[index])
        if energies is not None:
            atoms.calc = SinglePointCalculator(atoms, energy=float(energies[index]))
        frames.append(atoms)
    return frames


def read_coordinates(path: Path, name: str, index: int | None, template: ase.Atoms, kind: str) -> list[ase.Atoms]:
    """Copies of ``template`` in a frame or in all, with velocities, cell, time and forces where the file has them.

    Args:
        path: the file.
        name: what messages call it.
        index: of the frame; None for all.
        template: structure of the same atoms.
        kind: one of ``COORDINATES``.

    Raises:
        InputError: MDAnalysis cannot read it, it has other atoms, or there is no such frame; or MDAnalysis is missing.
    """
    require("MDAnalysis", f".{kind}")
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        link = Path(folder) / path.name  # MDAnalysis leaves an index of the frames beside the file
        link.symlink_to(path.absolute())
        try:
            with _opened(link, kind, len(template)) as frames:
                chosen = frames if index is None else [frames[frame_number(index, len(frames), name)]]
                return [on_template(template, _as_atoms(frame, template), name) for frame in chosen]
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name} cannot be read with a topology of {len(template)} atoms: {_why(error)}") from None


def _as_atoms(frame: Any, template: ase.Atoms) -> ase.Atoms:
    """A frame of MDAnalysis, with the masses of ``template``."""
    import ase
    from ase.calculators.singlepoint import SinglePointCalculator

    masses = template.get_masses() if len(template) == frame.n_atoms else None
    atoms = ase.Atoms(positions=frame.positions.astype(float), numbers=[0] * frame.n_atoms, masses=masses)
    atoms.info["time_fs"] = 1000.0 * float(frame.time)
    if frame.dimensions is not None and np.all(frame.dimensions[:3] > 0.0):
        atoms.set_cell(frame.triclinic_dimensions.astype(float))
    if frame.has_velocities:
        atoms.set_velocities(frame.velocities.astype(float) * _A_PER_PS)
    if frame.has_forces:
        atoms.calc = SinglePointCalculator(atoms, forces=frame.forces.astype(float) * _EV_PER_KJ_MOL)
    return atoms


def _opened(path: Path, kind: str, atoms: int) -> Any:
    """MDAnalysis' reader; one that cannot open its file is not closed, which would fail out of reach."""
    from MDAnalysis.coordinates.core import get_reader_for

    form = get_reader_for(str(path), format=COORDINATES[kind])
    reader = form.__new__(form)
    reader.close = lambda: None
    reader.__init__(str(path), n_atoms=atoms)
    del reader.close
    return reader


def on_template(template: ase.Atoms, frame: ase.Atoms, name: str) -> ase.Atoms:
    """A copy of ``template`` with what ``frame`` holds: positions, velocities or none, cell, energy and forces, notes.

    Raises:
        InputError: they have different numbers of atoms.
    """
    if len(frame) != len(template):
        raise InputError(f"{name} holds {len(frame)} atoms, the topology {len(template)}")
    atoms: ase.Atoms = template.copy()
    atoms.calc = frame.calc
    atoms.info |= frame.info
    atoms.positions = frame.positions
    atoms.arrays.pop("momenta", None)
    if frame.cell.any():
        atoms.set_cell(frame.cell)
        atoms.pbc = template.pbc if template.pbc.any() else True
    if frame.has("momenta"):
        atoms.set_velocities(frame.get_velocities())
    return atoms


def read_topology(path: Path, name: str, kind: str) -> ase.Atoms:
    """Elements, masses and names of a topology; its positions are zero.

    Raises:
        InputError: MDAnalysis cannot read it, or it does not say an atom's element.
    """
    import ase

    require("MDAnalysis", path.suffix)
    import MDAnalysis

    form = TOPOLOGIES[kind]
    if kind == "top" and not path.read_text(errors="replace").lstrip().startswith("%"):
        form = "ITP"  # .top is AMBER's and GROMACS' suffix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = MDAnalysis.Universe(str(path), topology_format=form, to_guess=()).atoms
        except Exception as error:
            raise InputError(f"{name} is not a topology that MDAnalysis can read: {_why(error)}") from None
    labels = [str(label) for label in found.names]
    symbols = _symbols(found, labels)
    unknown = [k for k, symbol in enumerate(symbols) if symbol is None]
    if unknown:
        label = labels[unknown[0]]
        if is_without_mass(label):
            raise InputError(f"atom {unknown[0]} of {name} is {label!r}, {WITHOUT_MASS}")
        raise InputError(f"{name} does not say which element its atom {unknown[0]}, {label!r}, is")
    atoms = ase.Atoms(symbols, positions=np.zeros((len(labels), 3)), masses=found.masses)
    atoms.set_array("atomtypes", np.array(labels))
    return atoms


def _symbols(found: Any, labels: list[str]) -> list[str | None]:
    """Elements as the topology gives them, else by masses, else by names."""
    given = [str(element).capitalize() for element in getattr(found, "elements", [""] * len(labels))]
    by_name = elements_of(labels, [(r, s) for r, s in zip(found.resids, found.segids, strict=True)])
    return [
        element or element_of_mass(float(mass)) or name
        for element, mass, name in zip(given, found.masses, by_name, strict=True)
    ]


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
