"""Energies from other programs: OpenMM in any box, ASE calculators of any precision."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.spatial.transform import Rotation

from flashmd_rs import CellRescaling, InputError, MonteCarloBarostat, rollout
from flashmd_rs.energies.calculator_energy import CalculatorEnergy
from flashmd_rs.energies.openmm_context import ContextEnergy, reduced_box

openmm = pytest.importorskip("openmm")

CUBE = np.diag([14.0, 15.0, 16.0])
SHEARED = np.array([[14.0, 0, 0], [3.0, 15.0, 0], [-4.0, 5.0, 16.0]])
TURN = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
HEXAGONAL = np.array([[14.0, 0, 0], [-7.0, 7 * np.sqrt(3), 0], [0, 0, 15.0]])
FCC = np.array([[20.0, 0, 0], [10.0, 10 * np.sqrt(3), 0], [10.0, 10 / np.sqrt(3), 20 * np.sqrt(2 / 3)]])
SAME, SWAPPED = np.eye(3), np.eye(3)[[1, 0, 2]]
# A box that OpenMM takes, other vectors of its lattice in whole numbers of its own, and how these are turned.
BOXES = {
    "cube": (CUBE, SAME, SAME),
    "long": (SHEARED, [[1, 0, 0], [2, 1, 0], [-1, 3, 1]], SAME),
    "left-handed": (SHEARED, SWAPPED, SAME),
    "mirrored": (CUBE, np.diag([1, 1, -1]), SAME),
    "backwards": (SHEARED, np.diag([-1, 1, -1]), SAME),
    "turned": (SHEARED, SAME, TURN),
    "turned, long and left-handed": (SHEARED, [[0, 1, 0], [1, -2, 0], [1, 1, 1]], TURN),
    "hexagonal": (HEXAGONAL, [[1, 0, 0], [1, 1, 0], [0, 0, 1]], SAME),
    "primitive fcc": (FCC, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], TURN),
}


def chiral_chain():
    """Six argon atoms, all bonded, with a torsion that its mirror image does not have, in a periodic system."""
    system = openmm.System()
    # Its list of neighbours is what OpenMM checks the box by; it loses pairs in some sheared ones, so nothing is in it.
    pair = openmm.CustomNonbondedForce("0 * r")
    pair.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    pair.setCutoffDistance(0.6)
    spring = openmm.CustomBondForce("200 * (r - 0.3)^2")
    torsion = openmm.PeriodicTorsionForce()
    torsion.addTorsion(0, 1, 2, 3, 1, 0.9, 30.0)
    for atom in range(6):
        system.addParticle(39.948)
        pair.addParticle([])
        for other in range(atom):
            spring.addBond(atom, other)
    for force in (spring, torsion):
        force.setUsesPeriodicBoundaryConditions(True)
    for force in (pair, spring, torsion):
        system.addForce(force)
    return system


def context(box):
    """The chain in OpenMM's double-precision reference platform."""
    system = chiral_chain()
    system.setDefaultPeriodicBoxVectors(*(box / 10))
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def chain():
    """The same six atoms."""
    turns = np.arange(6)
    return np.column_stack([1.5 * np.cos(turns), 1.5 * np.sin(turns), 0.7 * turns]) + 20.0


@pytest.mark.parametrize("name", BOXES)
def test_openmm_in_any_box_of_a_lattice(name):
    """Energy and forces are those of the box that OpenMM takes, in its own frame, by OpenMM's own hands."""
    plain, whole, turn = BOXES[name]
    other = np.array(whole) @ plain @ turn
    rng = np.random.default_rng(1)
    positions = chain()
    # OpenMM itself.
    own = context(plain)
    own.setPeriodicBoxVectors(*(reduced_box(plain)[0] / 10))
    own.setPositions(positions / 10)
    state = own.getState(getEnergy=True, getForces=True)
    unit = openmm.unit.kilojoule_per_mole
    energy = state.getPotentialEnergy().value_in_unit(unit) / 96.48533
    forces = np.array(state.getForces(asNumpy=True).value_in_unit(unit / openmm.unit.angstrom)) / 96.48533
    moved = positions @ turn + rng.integers(-2, 3, (6, 3)) @ other * (np.arange(6) > 2)[:, None]
    atoms = Atoms("Ar6", moved, cell=other, pbc=True)
    source = ContextEnergy(context(plain), {0: atoms})
    got_energy, got_forces, virial = source.evaluate(0, moved, other)
    assert got_energy == pytest.approx(energy, abs=1e-6)
    assert source.energy(0, moved, other) == got_energy
    np.testing.assert_allclose(got_forces, forces @ turn, atol=1e-6)
    assert virial is None


def test_openmm_forces_are_slopes_in_a_turned_left_handed_box():
    cell = SHEARED[[1, 0, 2]] @ TURN
    positions = chain() @ TURN
    source = ContextEnergy(context(SHEARED), {0: Atoms("Ar6", positions, cell=cell, pbc=True)})
    forces = source.evaluate(0, positions, cell)[1]
    for atom, axis in ((0, 0), (1, 1), (2, 2), (3, 0)):
        shift = np.zeros_like(positions)
        shift[atom, axis] = 1e-4
        slope = (source.energy(0, positions + shift, cell) - source.energy(0, positions - shift, cell)) / 2e-4
        assert forces[atom, axis] == pytest.approx(-slope, rel=1e-4, abs=1e-5)


def test_a_barostat_changes_a_turned_box(models):
    """NpT in a left-handed box that no axis of is along x."""
    cell = SHEARED[[1, 0, 2]] @ TURN
    atoms = Atoms("Ar6", chain() @ TURN, cell=cell, pbc=True)
    barostat = MonteCarloBarostat(interval=1, coupling="isotropic")
    options = {"temperature_K": 100, "pressure_bar": 500, "barostat": barostat, "energy_model": context(SHEARED)}
    run = rollout(atoms, models("free_flight"), steps=20, seed=1, progress=False, **options)
    assert np.linalg.det(run[-1].cell.array) < 0
    assert not np.allclose(run[-1].cell.array, cell)
    assert np.isfinite(run.potential_energy).all()


def test_what_openmm_refuses_is_one_sentence():
    small = 0.5 * CUBE
    atoms = Atoms("Ar6", chain(), cell=small, pbc=True)
    with pytest.raises(InputError, match=r"OpenMM refuses the structure in the box \[\[7\.0.*cutoff"):
        ContextEnergy(context(CUBE), {0: atoms}).energy(0, atoms.positions, small)
    with pytest.raises(InputError, match="system is periodic, the structure has no cell"):
        ContextEnergy(context(CUBE), {0: Atoms("Ar6", chain())})


class Odd(Calculator):
    """Springs to the origin, its results changed on their way out."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy=float, forces=np.array, stress=np.array):
        super().__init__()
        self.change = {"energy": energy, "forces": forces, "stress": stress}

    def calculate(self, atoms=None, properties=None, system_changes=None):
        self.atoms = atoms.copy()
        plain = {
            "energy": 0.1 * np.sum(atoms.positions**2),
            "forces": -0.2 * atoms.positions,
            "stress": np.array([1.0, 2, 3, 0.1, 0.2, 0.3]) * 1e-3,
        }
        self.results = {name: self.change[name](value) for name, value in plain.items()}


def read_only(values):
    values = np.array(values)
    values.flags.writeable = False
    return values


FORMS = {
    "float32": {"energy": np.float32, "forces": np.float32, "stress": np.float32},
    "float16": {"energy": np.float16, "forces": np.float16},
    "array of one": {"energy": lambda e: np.array([e])},
    "array without axes": {"energy": lambda e: np.array(e, dtype=np.float32)},
    "columns first": {"forces": np.asfortranarray},
    "strided": {"forces": lambda f: np.repeat(f, 2, axis=0)[::2]},
    "read only": {"forces": read_only, "stress": read_only},
    "other bytes": {"forces": lambda f: f.astype(">f8"), "stress": lambda s: s.astype(">f4")},
    "lists": {"forces": lambda f: f.tolist()},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_calculator_of_any_precision_and_layout(models, form):
    """All reach the core as float64; under numpy 1.26 a float32 stress made a float32 virial."""
    atoms = Atoms("ArAr", [[0, 0, 0], [4, 1, 0]], cell=[8, 8, 8], pbc=True)
    atoms.set_momenta([[0.1, 0, 0], [0, 0.2, 0]])
    energy, forces, virial = CalculatorEnergy(Odd(**FORMS[form]), {0: atoms}).evaluate(
        0, atoms.positions, atoms.cell.array
    )
    assert type(energy) is float
    assert energy == pytest.approx(1.7, rel=1e-3)
    for values in (forces, virial):
        assert values.dtype == np.float64
        assert values.flags.c_contiguous
        assert values.dtype.isnative
    np.testing.assert_allclose(forces, -0.2 * atoms.positions, rtol=1e-3)
    np.testing.assert_allclose(virial[0], -512e-3 * np.array([1, 0.3, 0.2]), rtol=1e-3)
    options = {"temperature_K": 50, "pressure_bar": 1, "barostat": CellRescaling(interval=1)}
    run = rollout(atoms, models("free_flight"), steps=2, energy_model=Odd(**FORMS[form]), progress=False, **options)
    assert np.isfinite(run.potential_energy).all()


BAD_RESULTS = {
    "a vector for the energy": ({"energy": lambda e: np.array([e, e])}, "Odd gives the energy as float64 of shape"),
    "words": ({"energy": str}, "Odd gives the energy as a builtins.str"),
    "complex": ({"energy": complex}, "Odd gives the energy as a builtins.complex"),
    "forces the wrong way round": ({"forces": np.transpose}, r"Odd gives the forces as float64 of shape \(3, 2\)"),
    "complex forces": ({"forces": lambda f: f + 0j}, "Odd gives the forces as complex128"),
}


@pytest.mark.parametrize("case", BAD_RESULTS)
def test_what_is_no_result_is_said(case):
    change, message = BAD_RESULTS[case]
    atoms = Atoms("ArAr", [[0, 0, 0], [4, 1, 0]])
    with pytest.raises(InputError, match=message):
        CalculatorEnergy(Odd(**change), {0: atoms}).evaluate(0, atoms.positions, atoms.cell.array)


def test_torch_tensors_are_refused_by_name():
    torch = pytest.importorskip("torch")
    atoms = Atoms("ArAr", [[0, 0, 0], [4, 1, 0]])
    for what in ("energy", "forces"):
        with pytest.raises(InputError, match=f"Odd gives the {what} as a torch.Tensor"):
            CalculatorEnergy(Odd(**{what: torch.tensor}), {0: atoms}).evaluate(0, atoms.positions, atoms.cell.array)
