"""The guard: what is noticed, what becomes of it, and what is said."""

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from flashmd_rs import FlashMDWarning, Guard, InputError, Langevin, Model, StabilityError, load_structure, rollout

from conftest import fixture_model, make_crystal


def hot(atoms, factor):
    atoms = atoms.copy()
    atoms.set_momenta(factor * atoms.get_momenta())
    return atoms


def squeezed(atoms):
    """Two neighbours at 1.5 Å."""
    atoms = atoms.copy()
    atoms.positions[1] = atoms.positions[0] + [0, 0, 1.5]
    return atoms


def kicked(atoms):
    """One atom fast, the whole only warm."""
    atoms = atoms.copy()
    momenta = 0.2 * atoms.get_momenta()
    momenta[5] = [8.0, 0, 0]
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return atoms


def scaled(atoms, factor):
    atoms = atoms.copy()
    atoms.set_cell(factor * atoms.cell.array, scale_atoms=True)
    return atoms


def vapour(atoms):
    """One atom far above a slab."""
    atoms = atoms.copy()
    atoms.pbc = [True, True, False]
    atoms.positions[7, 2] += 40.0
    return atoms


CASES = {
    "pair distance": squeezed,
    "momentum": kicked,
    "number of neighbours": lambda atoms: scaled(atoms, 0.8),
    "density": lambda atoms: scaled(atoms, 1.04),
    "temperature": lambda atoms: hot(atoms, 1.8),
    "uncertainty": kicked,
    "evaporation": vapour,
}


class TestViolations:
    @pytest.mark.parametrize("quantity", CASES)
    def test_each_quantity_is_named(self, models, crystal, quantity):
        with pytest.warns(FlashMDWarning, match="after step 0") as caught:
            run = rollout(CASES[quantity](crystal), models("watched"), steps=1, rescale_energy=False)
        first = {entry["quantity"]: entry for entry in run.report["statistics"]["guard"]["first"]}
        assert quantity in first
        assert first[quantity]["step"] == 0
        assert len(caught) == len(first)
        assert run.report["statistics"]["guard"]["strides"][quantity] == 1
        expected = {"pair distance": {0, 1}, "momentum": {5}, "uncertainty": {5}, "evaporation": {7}}
        if quantity in expected:
            assert expected[quantity] <= set(first[quantity]["atoms"])
            assert f"{min(expected[quantity])}" in first[quantity]["message"]

    def test_a_sound_run_is_quiet(self, models, crystal, recwarn):
        run = rollout(crystal, models("watched"), steps=500, temperature_K=50, seed=2)
        assert run.report["guard"] == Guard()
        assert run.report["statistics"]["guard"] == {"fallback_strides": 0, "strides": {}, "first": []}
        assert len(recwarn) == 0

    def test_the_bundled_model_is_quiet_on_its_water(self, recwarn):
        run = rollout(load_structure("water258"), "water", steps=60, temperature_K=300, seed=2, progress=False)
        assert run.report["statistics"]["guard"]["strides"] == {}
        assert len(recwarn) == 0

    def test_explosion(self, models, gas):
        """A model without a domain that heats by itself: told from the bath."""
        with pytest.warns(FlashMDWarning, match="has exploded: its temperature is"):
            rollout(gas, models("explodes"), steps=6, temperature_K=60.0, thermostat=Langevin(1e6), seed=1)

    def test_freezing(self, models, gas):
        """A model that shrinks momenta by a fifth: 0.64ⁿ of the temperature is below a tenth after six strides."""
        with pytest.warns(FlashMDWarning, match="has frozen"):
            run = rollout(gas, models("freezes"), steps=10, rescale_energy=False)
        assert run.report["statistics"]["guard"]["strides"] == {"freezing": 4}

    def test_off(self, models, crystal, recwarn):
        run = rollout(kicked(crystal), models("watched"), steps=3, guard="off")
        assert run.report["guard"] == Guard("off")
        assert run.report["statistics"]["guard"] is None
        assert len(recwarn) == 0

    def test_a_rotated_frame_changes_nothing(self, models, crystal):
        runs = []
        for rotate in (False, True):
            with pytest.warns(FlashMDWarning):
                runs.append(rollout(kicked(crystal), models("watched"), steps=30, random_rotation=rotate, seed=1))
        assert runs[0].report["statistics"]["guard"]["strides"] == runs[1].report["statistics"]["guard"]["strides"]


class TestPolicies:
    def test_stop(self, models, crystal, tmp_path):
        with pytest.raises(StabilityError, match=r"atoms 0 \(Ar\) and 1 \(Ar\) are 1\.500 Å apart") as caught:
            rollout(squeezed(crystal), models("watched"), steps=5, guard="stop", trajectory=tmp_path / "run.extxyz")
        error = caught.value
        assert error.step == 1
        assert error.quantity == "pair distance"
        assert {0, 1} <= set(error.atoms)
        np.testing.assert_array_equal(error.last_good.positions, squeezed(crystal).positions)

    def test_one_replica_stops(self, models, crystal):
        with pytest.warns(FlashMDWarning, match="replica 1 ended early"):
            runs = rollout([crystal, squeezed(crystal)], models("watched"), steps=5, guard="stop", rescale_energy=False)
        assert runs[0].failure is None
        assert runs[1].failure.quantity == "pair distance"

    def test_fallback_is_verlet(self, models, crystal):
        """Out of bounds for good: every stride is ASE's velocity Verlet on the energy model."""
        atoms = hot(crystal, 1.8)
        with pytest.warns(FlashMDWarning, match="the temperature is"):
            run = rollout(
                atoms, models("watched"), steps=20, guard=Guard("fallback", timestep_fs=0.5), rescale_energy=False
            )
        assert run.report["statistics"]["guard"]["fallback_strides"] == 20
        reference = atoms.copy()
        reference.calc = models("pair_energy").calculator()
        VelocityVerlet(reference, timestep=0.5 * units.fs).run(80)
        np.testing.assert_allclose(run.frames[-1].positions, reference.positions, atol=2e-5)
        np.testing.assert_allclose(run.frames[-1].get_momenta(), reference.get_momenta(), atol=2e-4)

    def test_fallback_goes_back_to_the_model(self, models, crystal):
        """Three strides of Verlet for one out of bounds, and then on."""
        options = {"guard": Guard("fallback", fallback_strides=3), "temperature_K": 50, "thermostat": Langevin(10)}
        with pytest.warns(FlashMDWarning):
            run = rollout(kicked(crystal), models("watched"), steps=60, seed=4, **options)
        guard = run.report["statistics"]["guard"]
        assert 3 <= guard["fallback_strides"] < 60
        assert guard["fallback_strides"] <= 3 * sum(guard["strides"].values())
        assert np.isfinite(run.frames[-1].get_momenta()).all()

    def test_fallback_when_the_network_gives_no_number(self, models, gas):
        """The stride that turned to NaN is taken back; ten atoms by a bath so hot are too few to tell an explosion."""
        options = {"guard": "fallback", "temperature_K": 6000, "energy_model": models("pair_energy"), "seed": 1}
        with pytest.warns(FlashMDWarning, match="momenta_out of atom"):
            run = rollout(gas[:10], models("explodes"), steps=20, **options)
        assert run.report["statistics"]["guard"]["fallback_strides"] > 0
        assert np.isfinite(run.frames[-1].get_momenta()).all()

    def test_fallback_with_openmm(self, models):
        """Argon in OpenMM: forces without a virial are enough."""
        openmm = pytest.importorskip("openmm")
        atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.8]], momenta=[[0, 0, 0.3], [0, 0, -0.3]])
        system = openmm.System()
        force = openmm.CustomBondForce("0.5 * 500 * (r - 0.25)^2")
        force.addBond(0, 1)
        for _ in range(2):
            system.addParticle(39.948)
        system.addForce(force)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        options = {"guard": Guard("fallback", fallback_strides=30), "rescale_energy": False}
        with pytest.warns(FlashMDWarning, match="apart"):
            run = rollout(atoms, models("watched"), steps=30, energy_model=context, interval=1, **options)
        assert run.report["statistics"]["guard"]["fallback_strides"] == 30
        drift = np.abs(run.total_energy - run.total_energy[0]).max()
        assert drift < 2e-4 * np.abs(run.kinetic_energy).max()

    def test_collect(self, models, crystal, tmp_path):
        """One structure each time a quantity leaves its bounds, ready for relabelling; a restart repeats none."""
        options = {"seed": 3, "temperature_K": 50, "thermostat": Langevin(20)}
        guard = Guard("collect", violations_file=tmp_path / "whole.extxyz")
        with pytest.warns(FlashMDWarning):
            run = rollout(kicked(crystal), models("watched"), steps=60, guard=guard, **options)
        frames = ase.io.read(tmp_path / "whole.extxyz", ":")
        assert frames[0].info["step"] == 0
        np.testing.assert_allclose(frames[0].positions, kicked(crystal).positions, atol=1e-7)
        assert 1 <= len(frames) <= sum(run.report["statistics"]["guard"]["strides"].values())
        files = {"guard": replace(guard, violations_file=tmp_path / "part.extxyz"), "checkpoint": tmp_path / "c"}
        with pytest.warns(FlashMDWarning):
            rollout(kicked(crystal), models("watched"), steps=13, **files, **options)
        again = rollout(kicked(crystal), models("watched"), steps=60, resume=True, **files, **options)
        assert (tmp_path / "part.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
        assert again.report["statistics"]["guard"]["strides"] == run.report["statistics"]["guard"]["strides"]

    def test_fallback_over_a_restart(self, models, crystal, tmp_path):
        """Stopped among strides of Verlet."""
        options = {"seed": 3, "guard": Guard("fallback", fallback_strides=7), "temperature_K": 50}
        with pytest.warns(FlashMDWarning):
            whole = rollout(kicked(crystal), models("watched"), steps=30, **options)
        with pytest.warns(FlashMDWarning):
            rollout(kicked(crystal), models("watched"), steps=4, checkpoint=tmp_path / "c", **options)
        rest = rollout(kicked(crystal), models("watched"), steps=30, checkpoint=tmp_path / "c", resume=True, **options)
        np.testing.assert_array_equal(rest.frames[-1].positions, whole.frames[-1].positions)
        np.testing.assert_array_equal(rest.frames[-1].get_momenta(), whole.frames[-1].get_momenta())
        assert (
            rest.report["statistics"]["guard"]["fallback_strides"]
            == whole.report["statistics"]["guard"]["fallback_strides"]
        )


def test_refused(models, crystal, tmp_path):
    with pytest.raises(InputError, match="wanted one of 'warn'"):
        rollout(crystal, models("watched"), steps=1, guard="panic")
    with pytest.raises(InputError, match="go together"):
        rollout(crystal, models("watched"), steps=1, guard="collect")
    with pytest.raises(InputError, match="go together"):
        Guard(violations_file=tmp_path / "c.extxyz")
    with pytest.raises(InputError, match="guard='fallback' needs an energy"):
        rollout(crystal, models("pair_alone"), steps=1, guard="fallback", temperature_K=10)
    with pytest.raises(InputError, match="timestep_fs=0"):
        Guard("fallback", timestep_fs=0)
    with pytest.raises(InputError, match="fallback_strides=0"):
        Guard("fallback", fallback_strides=0)


def test_the_command(shell, tmp_path):
    kicked(make_crystal()).write(tmp_path / "start.extxyz")
    result = shell(
        *("run", "start.extxyz", "--model", fixture_model("watched"), "--steps", 5, "--temperature-k", 50),
        *("--guard", "collect", "--guard-violations-file", "odd.extxyz"),
    )
    assert result.returncode == 0, result.stderr
    assert "warning: replica 0, after step 0" in result.stderr
    assert "guard" in result.stdout
    assert len(ase.io.read(tmp_path / "odd.extxyz", ":")) >= 1


def test_uncertainty_is_part_of_the_contract():
    model = Model(fixture_model("watched"))
    assert model.metadata["domain"]["largest_uncertainty"] == [0.5, 0.5]


class EnergyOnly(Calculator):
    """An energy without forces."""

    implemented_properties = ("energy",)

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results = {"energy": 0.0}


def test_forces_are_asked_for_before_the_run(models, crystal, tmp_path):
    """A fallback that could not be done is found at the start, not at the first stride out of bounds."""
    old = tmp_path / "run.extxyz"
    old.write_text("precious")
    options = {"guard": "fallback", "energy_model": EnergyOnly(), "rescale_energy": False, "trajectory": old}
    with pytest.raises(InputError, match="EnergyOnly gives no forces"):
        rollout(crystal, models("watched"), steps=1, **options)
    assert old.read_text() == "precious"


def test_a_time_step_that_never_ends_is_refused(models, crystal):
    with pytest.raises(InputError, match=r"steps of at least 0\.0002 fs"):
        rollout(crystal, models("watched"), steps=1, guard=Guard("fallback", timestep_fs=1e-9))


def test_a_stride_counts_once_for_a_quantity(models, crystal):
    """Two pairs too close, far from each other, are one stride out of bounds."""
    atoms = squeezed(crystal)
    far = int(np.argmax(atoms.get_distances(0, range(len(atoms)), mic=True)))
    near = int(np.argsort(atoms.get_distances(far, range(len(atoms)), mic=True))[1])
    atoms.positions[near] = atoms.positions[far] + [0, 0, 1.5]
    with pytest.warns(FlashMDWarning):
        run = rollout(atoms, models("watched"), steps=1, rescale_energy=False)
    assert run.report["statistics"]["guard"]["strides"]["pair distance"] == 1


def test_what_was_collected_before_is_another_run(models, crystal, tmp_path):
    """As with a trajectory: the file holds what this run found, which may be nothing."""
    file = tmp_path / "odd.extxyz"
    crystal.write(file)
    guard = Guard("collect", violations_file=file)
    rollout(crystal, models("watched"), steps=2, temperature_K=50, seed=2, guard=guard)
    assert not file.exists() or file.read_bytes() == b""
