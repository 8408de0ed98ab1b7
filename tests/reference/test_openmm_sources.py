"""OpenMM systems from files, functions and force fields: taken as they are, made flexible on request, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm
import pytest
from ase import Atoms
from openmm import app, unit
from systems import FOLDER, example

from flashmd_rs.reference.openmm_sources import openmm_potential
from flashmd_rs.reference.options import SystemOptions
from flashmd_rs.reference.system import System

DIPEPTIDE = FOLDER / "alanine-dipeptide" / "alanine_dipeptide.pdb"


@pytest.fixture(scope="module")
def water() -> Atoms:
    return example("water", molecules=64).structures[0]


@pytest.fixture(scope="module")
def modeller(water: Atoms) -> app.Modeller:
    """The waters as OpenMM knows them."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(64):
        residue = topology.addResidue("HOH", chain)
        for name in ("O", "H1", "H2"):
            topology.addAtom(name, app.Element.getBySymbol(name[0]), residue)
    topology.createStandardBonds()
    topology.setPeriodicBoxVectors(water.cell.array * unit.angstrom)
    return app.Modeller(topology, water.positions * unit.angstrom)


def built(modeller: app.Modeller, forcefield: str = "tip3p.xml", **options: object) -> openmm.System:
    given = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.5, "rigidWater": False, "removeCMMotion": False}
    return app.ForceField(forcefield).createSystem(modeller.topology, **given | options)


def written(system: openmm.System, folder: Path) -> str:
    path = folder / "system.xml"
    path.write_text(openmm.XmlSerializer.serialize(system))
    return str(path)


def test_a_serialised_system_beside_a_pdb_file(modeller: app.Modeller, water: Atoms, tmp_path: Path) -> None:
    with (tmp_path / "water.pdb").open("w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    source = written(built(modeller, removeCMMotion=True), tmp_path)
    options = SystemOptions(structure=(str(tmp_path / "water.pdb"),), openmm=source)
    system = options.load()
    # A PDB file has three digits.
    assert np.abs(system.structures[0].positions - water.positions).max() < 6e-4
    reference = system.reference()
    kinds = [type(force).__name__ for force in reference.context.getSystem().getForces()]
    assert "NonbondedForce" in kinds
    assert "CMMotionRemover" not in kinds
    # A remover of the centre of mass's motion would take the push away.
    push = np.full_like(water.positions, 0.1)
    reference.set(water.positions, push)
    reference.nve(1.0)
    assert np.allclose(reference.momenta().sum(0), push.sum(0), rtol=1e-3)


def test_constraints_go_where_bonds_hold_the_atoms_and_are_refused_otherwise(
    modeller: app.Modeller, water: Atoms, tmp_path: Path
) -> None:
    rigid = written(built(modeller, rigidWater=True, flexibleConstraints=True), tmp_path)
    with pytest.raises(ValueError, match=r"system\.xml has 192 constraints.*--flexible"):
        openmm_potential(rigid)
    flexible, free = openmm_potential(rigid, flexible=True), openmm_potential(written(built(modeller), tmp_path))
    frames = []
    for potential in (flexible, free):
        reference = potential.reference([water], 0.25)
        reference.set(water.positions, np.zeros_like(water.positions))
        frames.append(reference.get())
    assert np.abs(frames[0].forces - frames[1].forces).max() < 1e-3 * np.abs(frames[1].forces).max()
    alone = written(built(modeller, rigidWater=True), tmp_path)
    with pytest.raises(ValueError, match="are held by a constraint alone"):
        openmm_potential(alone, flexible=True)


def _barostat(system: openmm.System) -> None:
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))


def _thermostat(system: openmm.System) -> None:
    system.addForce(openmm.AndersenThermostat(300.0, 1.0))


def _drude(system: openmm.System) -> None:
    system.addForce(openmm.DrudeForce())


def _massless(system: openmm.System) -> None:
    system.setParticleMass(4, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_barostat, "has a MonteCarloBarostat: take it out"),
        (_thermostat, "has a AndersenThermostat: take it out"),
        (_drude, "has a DrudeForce: Drude particles are not supported"),
        (_massless, "particle 4 of .* has no mass"),
    ],
)
def test_what_a_reference_refuses_by_name(
    change: Callable[[openmm.System], None], message: str, modeller: app.Modeller, tmp_path: Path
) -> None:
    system = built(modeller)
    change(system)
    with pytest.raises(ValueError, match=message):
        openmm_potential(written(system, tmp_path))


def test_virtual_sites_are_refused(modeller: app.Modeller, tmp_path: Path) -> None:
    four = app.Modeller(modeller.topology, modeller.positions)
    four.addExtraParticles(app.ForceField("tip4pew.xml"))
    with pytest.raises(ValueError, match=r"particle 3 of .* is a virtual site"):
        openmm_potential(written(built(four, "tip4pew.xml", rigidWater=False), tmp_path))


def test_masses_are_the_systems(modeller: app.Modeller, water: Atoms, tmp_path: Path) -> None:
    potential = openmm_potential(written(built(modeller, hydrogenMass=4 * unit.amu), tmp_path))
    system = System((water,), potential)
    hydrogen = system.structures[0].get_masses()[water.numbers == 1]
    assert np.allclose(hydrogen, 4.0)
    assert system.reference().masses.sum() == pytest.approx(64 * 18.015, rel=1e-3)
    # A step for hydrogen four times as heavy is twice as long.
    assert system.reference().timestep_fs == 0.5


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([1, 0, 2], "particle 0 of the OpenMM system has the mass of O, 15.9994 u, atom 0 of the structure is H"),
        ([0, 1], "the OpenMM system has 192 particles, the structure 128 atoms"),
    ],
)
def test_other_atoms_than_the_systems(
    order: list[int], message: str, modeller: app.Modeller, water: Atoms, tmp_path: Path
) -> None:
    potential = openmm_potential(written(built(modeller), tmp_path))
    index = (3 * np.arange(64)[:, None] + order).ravel()
    with pytest.raises(ValueError, match=message):
        System((water[index],), potential)


def test_a_left_handed_cell_is_refused(modeller: app.Modeller, water: Atoms, tmp_path: Path) -> None:
    potential, mirrored = openmm_potential(written(built(modeller), tmp_path)), water.copy()
    mirrored.cell[2, 2] *= -1
    with pytest.raises(ValueError, match="OpenMM wants a cell in reduced form"):
        System((mirrored,), potential).reference()


def test_a_periodic_system_needs_a_cell(modeller: app.Modeller, water: Atoms, tmp_path: Path) -> None:
    alone = Atoms(water.numbers, water.positions)
    with pytest.raises(ValueError, match="is periodic, the structure has no cell"):
        System((alone,), openmm_potential(written(built(modeller), tmp_path))).reference()


def test_a_force_field_in_vacuum() -> None:
    system = SystemOptions(structure=(str(DIPEPTIDE),), forcefield=("amber14-all.xml",)).load()
    reference = system.reference()
    assert system.formula == "C6H12N2O2"
    assert system.potential.description == "OpenMM force field amber14-all.xml without constraints"
    assert not reference.periodic.any()
    assert reference.context.getSystem().getNumConstraints() == 0
    reference.start()
    frame = reference.get()
    step = np.zeros_like(frame.positions)
    step[5, 1] = 1e-3
    slope = (reference.energy(frame.positions + step) - reference.energy(frame.positions - step)) / 2e-3
    assert slope == pytest.approx(-frame.forces[5, 1], abs=2e-2)


def test_a_force_field_in_a_box_is_the_example(modeller: app.Modeller, water: Atoms, tmp_path: Path) -> None:
    with (tmp_path / "water.cif").open("w") as file:
        app.PDBxFile.writeFile(modeller.topology, modeller.positions, file)
    found = SystemOptions(structure=(str(tmp_path / "water.cif"),), forcefield=("tip3p.xml",)).load().reference()
    known = example("water", molecules=64).reference()
    assert found.periodic.all()
    for reference in (found, known):
        reference.set(water.positions, np.zeros_like(water.positions))
    largest = np.abs(known.get().forces).max()
    assert np.abs(found.get().forces - known.get().forces).max() < 1e-3 * largest


def test_every_model_of_a_file_is_a_start_structure(tmp_path: Path) -> None:
    body = [line for line in DIPEPTIDE.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    models = [f"MODEL     {k:4d}\n" + "\n".join(body) + "\nENDMDL\n" for k in (1, 2)]
    path = tmp_path / "two.pdb"
    path.write_text("".join(models) + "END\n")
    assert len(SystemOptions(structure=(str(path),), forcefield=("amber14-all.xml",)).load().structures) == 2


def test_repartitioned_masses_of_a_molecule_are_refused(tmp_path: Path) -> None:
    pdb = app.PDBFile(str(DIPEPTIDE))
    system = app.ForceField("amber14-all.xml").createSystem(pdb.topology, hydrogenMass=3 * unit.amu)
    options = SystemOptions(structure=(str(DIPEPTIDE),), openmm=written(system, tmp_path))
    with pytest.raises(ValueError, match=r"C has masses of .* one model knows one mass per element"):
        options.load()


def test_what_a_force_field_cannot_do_is_one_sentence(tmp_path: Path) -> None:
    bare = tmp_path / "bare.pdb"
    bare.write_text("\n".join(line for line in DIPEPTIDE.read_text().splitlines() if not line.rstrip().endswith(" H")))
    for structure, forcefield, message in (
        (bare, "amber14-all.xml", r"does not fit .*bare\.pdb: No template found.*Add what is missing"),
        (DIPEPTIDE, "tip3p.xml", "No template found for residue 0 .ACE."),
        (DIPEPTIDE, "no-such.xml", "no-such.xml"),
        (FOLDER / "water" / "water.py", "tip3p.xml", "wanted a PDB or PDBx/mmCIF file"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            SystemOptions(structure=(str(structure),), forcefield=(forcefield,)).load()
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.pdb"):
        SystemOptions(structure=(str(tmp_path / "none.pdb"),), forcefield=("tip3p.xml",)).load()


def test_what_is_no_system(tmp_path: Path) -> None:
    path = tmp_path / "notes.xml"
    path.write_text("<notes/>")
    with pytest.raises(ValueError, match=r"notes\.xml is no serialised OpenMM system"):
        openmm_potential(str(path))
    path.write_text(openmm.XmlSerializer.serialize(openmm.VerletIntegrator(0.001)))
    with pytest.raises(ValueError, match=r"notes\.xml gives VerletIntegrator, wanted an OpenMM system"):
        openmm_potential(str(path))
    with pytest.raises(FileNotFoundError):
        openmm_potential(str(tmp_path / "none.xml"))


def test_the_placeholder_of_a_box_is_none(tmp_path: Path) -> None:
    """PDB files of structures without a box have one of 1 Å."""
    text = DIPEPTIDE.read_text()
    (tmp_path / "a.pdb").write_text("CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n" + text)
    made, plain = (
        SystemOptions(structure=(str(path),), forcefield=("amber14-all.xml",)).load()
        for path in (tmp_path / "a.pdb", DIPEPTIDE)
    )
    assert not made.structures[0].pbc.any()
    positions = plain.structures[0].positions
    assert made.reference().energy(positions) == plain.reference().energy(positions)


def test_a_run_that_breaks_is_a_floating_point_error(water: Atoms, modeller: app.Modeller, tmp_path: Path) -> None:
    options = SystemOptions(openmm=written(built(modeller), tmp_path))
    reference = options.load_potential().reference([water], 50.0)
    reference.start()
    with pytest.raises(FloatingPointError, match="OpenMM fails in a step of 50 fs"):
        reference.nve(50.0 * 500)
