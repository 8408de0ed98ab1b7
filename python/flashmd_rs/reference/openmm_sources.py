"""OpenMM systems from files, functions and force fields, and what of them a reference refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from ase import Atoms
from openmm import app, unit

from flashmd_rs._structure import F64
from flashmd_rs.reference.factories import Factory
from flashmd_rs.reference.potentials import OpenMMPotential
from flashmd_rs.reference.system import System, is_factory

# Cutoff of a force field, where the box allows it, and how much less than half of the box it must be, Å.
CUTOFF_A = 9.0
CUTOFF_MARGIN_A = 0.1


def openmm_potential(
    source: str, arguments: Mapping[str, Any] | None = None, description: str | None = None, flexible: bool = False
) -> OpenMMPotential:
    """The potential of a serialised OpenMM system, or of one that a function returns.

    Args:
        source: ``.xml`` file, or ``file.py:name`` or ``package.module:name`` of a function.
        arguments: keyword arguments of the function.
        description: potential in words; None for the source's name.
        flexible: take out constraints whose atoms a harmonic bond or angle holds as well.

    Raises:
        ValueError: it is no OpenMM system, or one that a reference refuses.
        OSError: the file is missing.
    """
    if is_factory(source):
        factory = Factory(source, tuple((arguments or {}).items()))
        system, name = factory(), factory.short_name
    else:
        system, name = _deserialised(Path(source)), Path(source).name
    if not isinstance(system, openmm.System):
        raise ValueError(f"{name} gives {type(system).__name__}, wanted an OpenMM system")
    return _potential(system, name, description or f"OpenMM system {name}", flexible)


def forcefield_system(structures: Sequence[str], forcefield: Sequence[str], description: str | None) -> System:
    """The system of PDB or PDBx/mmCIF files under an OpenMM force field, without constraints.

    Electrostatics are PME where the file has a box, with a cutoff of 9 Å or the largest the box allows; without a box
    nothing is cut off.

    Args:
        structures: files of the same atoms; every model in a file is a start structure.
        forcefield: XML files, of one's own or of those that come with OpenMM.
        description: potential in words; None for the names of the force field's files.

    Raises:
        ValueError: the force field does not know a residue as it is in the file, or a reference refuses the system.
        OSError: a file is missing.
    """
    files = [_topology_file(Path(name)) for name in structures]
    topology, title = files[0].topology, "+".join(Path(name).name for name in forcefield)
    box = _box(topology)
    half = np.inf if box is None else 0.5 * np.diag(box).min()
    try:
        system = app.ForceField(*forcefield).createSystem(
            topology,
            nonbondedMethod=app.NoCutoff if box is None else app.PME,
            nonbondedCutoff=min(CUTOFF_A, half - CUTOFF_MARGIN_A) * unit.angstrom,
            constraints=None,
            rigidWater=False,
            removeCMMotion=False,
        )
    except Exception as error:  # OpenMM raises plain ones too
        raise ValueError(
            f"the force field {title} does not fit {structures[0]}: {' '.join(str(error).split())} Add what is "
            "missing, such as hydrogens (OpenMM's Modeller, PDBFixer), or name these residues' force field as well"
        ) from error
    potential = _potential(system, title, description or f"OpenMM force field {title} without constraints", False)
    return System(tuple(atoms for file in files for atoms in _structures(file)), potential)


def _deserialised(path: Path) -> Any:
    text = path.read_text()
    try:
        return openmm.XmlSerializer.deserialize(text)
    except (openmm.OpenMMException, ValueError) as error:
        raise ValueError(f"{path} is no serialised OpenMM system: {error}") from error


def _topology_file(path: Path) -> Any:
    """A PDB or PDBx/mmCIF file, read by OpenMM."""
    readers = {".pdb": app.PDBFile, ".cif": app.PDBxFile, ".pdbx": app.PDBxFile, ".mmcif": app.PDBxFile}
    if path.suffix not in readers:
        raise ValueError(f"got {path} with a force field, wanted a PDB or PDBx/mmCIF file, which knows residues")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return readers[path.suffix](str(path))
    except Exception as error:  # of a parser
        raise ValueError(f"{path} cannot be read: {error!r}") from error


def _box(topology: app.Topology) -> F64 | None:
    """Lattice vectors [3, 3], Å; None without a box."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return None
    box = np.array(vectors.value_in_unit(unit.angstrom))
    # A PDB file of a structure without a box states one of 1 Å.
    return None if np.allclose(box, np.eye(3)) else box


def _structures(file: Any) -> list[Atoms]:
    """Every model in a file."""
    unknown = [atom.name for atom in file.topology.atoms() if atom.element is None]
    if unknown:
        raise ValueError(f"atoms {', '.join(sorted(set(unknown)))} have no element: wanted one for every atom")
    numbers, box = [atom.element.atomic_number for atom in file.topology.atoms()], _box(file.topology)
    frames = range(file.getNumFrames())
    positions = [file.getPositions(asNumpy=True, frame=k).value_in_unit(unit.angstrom) for k in frames]
    return [Atoms(numbers, q, cell=box, pbc=box is not None) for q in positions]


def _potential(system: openmm.System, name: str, description: str, flexible: bool) -> OpenMMPotential:
    """The potential of a system that a reference accepts, which is changed to one without constraints.

    Raises:
        ValueError: it has parts that no potential of these atoms alone can have.
    """
    for k in reversed(range(system.getNumForces())):
        force = system.getForce(k)
        kind = type(force).__name__
        if "Barostat" in kind or "Thermostat" in kind:
            raise ValueError(f"{name} has a {kind}: take it out, a reference has its own bath and keeps the volume")
        if "Drude" in kind:
            raise ValueError(f"{name} has a {kind}: Drude particles are not supported, take a force field without them")
        if isinstance(force, openmm.CMMotionRemover):
            # The bath keeps the momentum at zero.
            system.removeForce(k)
    for i in range(system.getNumParticles()):
        if system.isVirtualSite(i):
            raise ValueError(f"particle {i} of {name} is a virtual site: take a model of atoms alone, such as TIP3P")
        if system.getParticleMass(i).value_in_unit(unit.dalton) <= 0:
            raise ValueError(f"particle {i} of {name} has no mass: wanted atoms that all move")
    if system.getNumConstraints():
        _remove_constraints(system, name, flexible)
    return OpenMMPotential(openmm.XmlSerializer.serialize(system), description)


def _remove_constraints(system: openmm.System, name: str, flexible: bool) -> None:
    """Take out all constraints of a system in which bonds and angles hold their atoms as well."""
    number = system.getNumConstraints()
    if not flexible:
        raise ValueError(
            f"{name} has {number} constraints, a reference moves every atom: build it with constraints=None and "
            "rigidWater=False, or with flexibleConstraints=True and ask for it to be made flexible (--flexible)"
        )
    held = _held_pairs(system)
    for k in reversed(range(number)):
        i, j, _ = system.getConstraintParameters(k)
        if frozenset((i, j)) not in held:
            raise ValueError(
                f"particles {i} and {j} of {name} are held by a constraint alone: without it they would have no bond; "
                "build it with constraints=None and rigidWater=False, or with flexibleConstraints=True"
            )
        system.removeConstraint(k)


def _held_pairs(system: openmm.System) -> set[frozenset[int]]:
    """Pairs of particles at the ends of a harmonic bond or angle."""
    pairs = set()
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            pairs |= {frozenset(force.getBondParameters(k)[:2]) for k in range(force.getNumBonds())}
        elif isinstance(force, openmm.HarmonicAngleForce):
            pairs |= {frozenset(force.getAngleParameters(k)[:3:2]) for k in range(force.getNumAngles())}
    return pairs
