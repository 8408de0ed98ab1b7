"""Strides inside a real OpenMM simulation."""

import csv
import io
import sys
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from ase import Atoms, units

import flashmd_rs
from flashmd_rs import FlashMDWarning, InputError, Langevin, Model, Simulation

openmm = pytest.importorskip("openmm")
from openmm import app, unit  # noqa: E402

from flashmd_rs.adapters.openmm import ForceGroups, from_atoms, run, striding, to_atoms  # noqa: E402

from conftest import fixture_model  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples" / "systems" / "water"
sys.path.insert(0, str(EXAMPLES))
import water  # noqa: E402

MOLECULES = 64
BATH = {"temperature_K": 300, "thermostat": Langevin(100), "seed": 3}
INTEGRATORS = {
    "Verlet": lambda: openmm.VerletIntegrator(0.0005),
    "Langevin": lambda: openmm.LangevinIntegrator(0, 0, 0.0005),
    "Langevin middle": lambda: openmm.LangevinMiddleIntegrator(0, 0, 0.0005),
    "variable Verlet": lambda: openmm.VariableVerletIntegrator(1e-6),
    "Nosé–Hoover": lambda: openmm.NoseHooverIntegrator(300, 1e-6, 0.0005),
}


@pytest.fixture(scope="module")
def model():
    return Model("water", device="cpu", threads=1)


@pytest.fixture(scope="module")
def liquid():
    """A small box of water near equilibrium."""
    simulation = make(openmm.LangevinMiddleIntegrator(300, 5, 0.0005))
    simulation.context.setPositions(water.structure(MOLECULES).positions * unit.angstrom)
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(300, 1)
    simulation.integrator.setRandomNumberSeed(1)
    simulation.step(1000)
    return simulation.context.getState(positions=True, velocities=True)


def make(integrator, platform="Reference", **changes):
    system = water.system(MOLECULES)
    box = np.eye(3) * water.box_length_A(MOLECULES, water.DENSITY_G_PER_CM3)
    topology = water.topology(MOLECULES, box[0, 0])
    for change in changes.values():
        change(system)
    return app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName(platform))


@pytest.fixture
def simulation(liquid):
    made = make(openmm.LangevinMiddleIntegrator(300, 1, 0.0005), "CPU")
    made.context.setState(liquid)
    made.context.setTime(0)
    made.context.setStepCount(0)
    return made


def velocities(simulation):
    """Å/fs, as they are stored."""
    state = simulation.context.getState(velocities=True)
    return state.getVelocities(asNumpy=True).value_in_unit(unit.angstrom / unit.femtosecond)


def positions(simulation):
    return simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.angstrom)


@pytest.mark.parametrize("name", INTEGRATORS)
def test_momenta_are_of_the_instant_of_the_positions(liquid, name):
    """Against the central difference of positions, which is exact to the square of the time step."""
    simulation = make(INTEGRATORS[name]())
    simulation.context.setState(liquid)
    simulation.step(20)
    times, seen, stored, taken = [], [], [], []
    for _ in range(3):
        times.append(simulation.context.getTime().value_in_unit(unit.femtosecond))
        seen.append(positions(simulation))
        stored.append(velocities(simulation))
        taken.append(to_atoms(simulation))
        simulation.step(1)
    central = (seen[2] - seen[0]) / (times[2] - times[0])
    mine = taken[1].get_velocities() * units.fs
    rms = np.sqrt(np.mean(central**2))
    assert np.sqrt(np.mean((mine - central) ** 2)) < 0.01 * rms
    if name != "variable Verlet":  # its steps are too short to tell
        assert np.sqrt(np.mean((stored[1] - central) ** 2)) > 0.02 * rms


def test_what_is_handed_over_comes_back(simulation):
    before = velocities(simulation), positions(simulation)
    atoms = to_atoms(simulation)
    assert np.allclose(atoms.get_masses()[:3], [15.99943, 1.007947, 1.007947])
    from_atoms(simulation, atoms)
    assert np.allclose(velocities(simulation), before[0], atol=1e-7)
    assert np.allclose(positions(simulation), before[1], atol=1e-5)


def test_strides_are_those_of_a_simulation_and_reporters_see_each(simulation, model, tmp_path):
    lines, seen = io.StringIO(), []
    columns = {"step": True, "time": True, "potentialEnergy": True, "temperature": True}
    simulation.reporters.append(app.StateDataReporter(lines, 2, **columns))
    simulation.reporters.append(app.DCDReporter(str(tmp_path / "run.dcd"), 3))
    simulation.reporters.append(app.CheckpointReporter(str(tmp_path / "run.chk"), 6))

    class Seen:
        def describeNextReport(self, of):
            return {"steps": 1, "periodic": False, "include": ["positions"]}

        def report(self, of, state):
            seen.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))

    simulation.reporters.append(Seen())
    alone = Simulation(to_atoms(simulation), model, **BATH)
    integrator = simulation.integrator
    report = run(simulation, model, steps=6, **BATH)
    assert simulation.integrator is integrator
    for frame in seen:
        alone.step()
        # OpenMM's CPU platform keeps positions in 32 bits.
        assert np.abs(frame - alone.atoms.positions).max() < 1e-4
    assert np.abs(to_atoms(simulation).get_velocities() - alone.atoms.get_velocities()).max() < 1e-4
    assert (len(seen), simulation.currentStep, report["model"]) == (6, 6, "water")
    rows = list(csv.reader(io.StringIO(lines.getvalue().replace("#", ""))))
    assert [row[0] for row in rows[1:]] == ["2", "4", "6"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([0.032, 0.064, 0.096])
    temperature = alone.state.temperature_K["total"]
    assert float(rows[-1][3]) == pytest.approx(temperature, rel=0.02)
    topology = MDAnalysis.Universe.empty(3 * MOLECULES, trajectory=True)
    topology.load_new(str(tmp_path / "run.dcd"))
    assert len(topology.trajectory) == 2
    # The time between frames is that of three strides, ps.
    assert topology.trajectory.dt == pytest.approx(0.048, rel=1e-3)
    # Both go on from there.
    simulation.step(5)
    assert simulation.currentStep == 11
    simulation.loadCheckpoint(str(tmp_path / "run.chk"))
    assert simulation.currentStep == 6
    run(simulation, model, time_ps=0.032, **BATH)
    assert simulation.currentStep == 8


def test_pressure_changes_the_box_of_the_context(simulation, model):
    before = simulation.context.getState().getPeriodicBoxVolume()
    run(simulation, model, steps=20, pressure_bar=2000.0, **BATH)
    assert abs(simulation.context.getState().getPeriodicBoxVolume() / before - 1) > 1e-3


def test_energies_of_the_context_are_kept(simulation, model):
    """The energy that is kept can be OpenMM's own."""

    def total():
        atoms = to_atoms(simulation)
        energy = simulation.context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return atoms.get_kinetic_energy() + energy * units.kJ / units.mol

    before = total()
    run(simulation, model, steps=5, thermostat="none", rescale_energy=True, energy_model=simulation.context)
    assert total() == pytest.approx(before, abs=0.01)


def test_an_unstable_stride_hands_back_the_last_good_state():
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("AR", topology.addChain())
    for _ in range(8):
        topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
        system.addParticle(39.948)
    made = app.Simulation(topology, system, openmm.VerletIntegrator(0.001))
    made.context.setPositions(3.0 * np.array(np.unravel_index(range(8), (2, 2, 2))).T * unit.angstrom)
    made.context.setVelocitiesToTemperature(60, 1)
    with pytest.raises(flashmd_rs.StabilityError):
        run(made, fixture_model("explodes"), steps=100, guard="off", rescale_energy=False)
    assert np.isfinite(positions(made)).all()
    assert isinstance(made.integrator, openmm.VerletIntegrator)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.addConstraint(0, 1, 0.1), "the OpenMM system has 1 constraints, .* rigidWater=False"),
        (lambda s: s.setParticleMass(4, 0), "particle 4 has no mass, one of 1"),
        (
            lambda s: s.setVirtualSite(s.addParticle(0), openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5)),
            "is a virtual site, one of 1",
        ),
    ],
)
def test_what_strides_cannot_honour_is_refused(model, change, said):
    system = water.system(MOLECULES)
    change(system)
    topology = water.topology(MOLECULES, 12.0)
    for _ in range(3 * MOLECULES, system.getNumParticles()):
        topology.addAtom("M", None, topology.addResidue("M", topology.addChain()))
        next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)).addParticle(0, 1, 0)
    with pytest.raises(InputError, match=said):
        run(app.Simulation(topology, system, openmm.VerletIntegrator(0.0005)), model, steps=1)


def test_options_and_integrators_that_do_not_fit_are_refused(simulation, model):
    for name in ("trajectory", "interval", "observers"):
        with pytest.raises(InputError, match=f"got {name}, which is OpenMM's part here"):
            run(simulation, model, steps=1, **{name: 1})
    with pytest.raises(InputError, match=r"got no length: give steps \(strides\) or time_ps \(ps\)"):
        run(simulation, model)
    custom = make(openmm.CustomIntegrator(0.001))
    with pytest.raises(InputError, match="got a CustomIntegrator, whose velocities may belong to any instant"):
        run(custom, model, steps=1)


def test_a_barostat_of_the_system_is_said_to_be_left_out(liquid, model):
    made = make(openmm.VerletIntegrator(0.0005), add=lambda s: s.addForce(openmm.MonteCarloBarostat(1, 300)))
    made.context.setState(liquid)
    with pytest.warns(FlashMDWarning, match="leave the system's MonteCarloBarostat out: give pressure_bar"):
        run(made, model, steps=1, **BATH)


def test_metadynamics_finds_a_free_energy():
    """OpenMM's own, on the distance of two atoms: U(r) − 2 kT ln r, with U of the model's energy."""
    topology, system = app.Topology(), openmm.System()
    residue = topology.addResidue("AR", topology.addChain())
    for _ in range(2):
        topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
        system.addParticle(39.948)
    kelvin, lowest, highest = 100.0, 0.21, 0.33
    distance = openmm.CustomBondForce("r")
    distance.addBond(0, 1)
    # Walls, nm, so that they do not part.
    walls = openmm.CustomBondForce(f"20000 * (max(0, r - {highest})^2 + max(0, {lowest} - r)^2)")
    walls.addBond(0, 1)
    walls.setForceGroup(1)
    system.addForce(walls)
    variable = app.BiasVariable(distance, lowest - 0.03, highest + 0.03, 0.006, False)
    metadynamics = app.Metadynamics(system, [variable], kelvin, 4, 0.1, 20)
    made = app.Simulation(
        topology, system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    made.context.setPositions([[0, 0, 0], [0.25, 0, 0]])
    made.context.setVelocitiesToTemperature(kelvin, 1)
    model = Model(fixture_model("pair_stride"), device="cpu", threads=1)
    bias = ForceGroups(made.context, {1, metadynamics._force.getForceGroup()})
    bath = {"temperature_K": kelvin, "thermostat": Langevin(100), "seed": 5, "guard": "off", "rescale_energy": False}
    with striding(made, model, bias=bias, **bath):
        metadynamics.step(made, 20_000)
    found = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole) * units.kJ / units.mol
    grid = 10 * np.linspace(lowest - 0.03, highest + 0.03, len(found))
    inside = (grid > 10 * lowest + 0.1) & (grid < 10 * highest - 0.1)
    energy, kT = Model(fixture_model("pair_energy"), device="cpu", threads=1), units.kB * kelvin
    wanted = np.array([energy.energy(Atoms("Ar2", [[0, 0, 0], [r, 0, 0]])) - 2 * kT * np.log(r) for r in grid])
    difference = (found - wanted)[inside]
    assert np.ptp(wanted[inside]) > 1.2 * kT
    # Of 20 000 strides, hills of a tenth of kT and more.
    assert difference.std() < 0.5 * kT
    assert np.corrcoef(found[inside], wanted[inside])[0, 1] > 0.7
