"""One model: its facts, one stride, its energy."""

import hashlib
import json
import os
import shutil

import numpy as np
import onnx
import pytest
from ase import Atoms, units
from ase.calculators.fd import calculate_numerical_forces

import flashmd_rs
from flashmd_rs import InputError, Model, ModelError

from conftest import fixture_model, make_crystal

SPRING, REST, CUTOFF = 0.6, 2.5, 4.5


def reference_energy_forces(atoms):
    """The pair energy of the fixtures in float64, straight from its formula."""
    i, j, d, D = flashmd_rs.neighbor_list("ijdD", atoms, CUTOFF)
    u = 1 - d**2 / CUTOFF**2
    energy = 0.25 * SPRING * np.sum((d - REST) ** 2 * u**3)
    slope = 0.5 * SPRING * ((d - REST) * u**3 - 3 * (d - REST) ** 2 * u**2 * d / CUTOFF**2)
    forces = np.zeros((len(atoms), 3))
    pull = (slope / d)[:, None] * D
    np.add.at(forces, i, pull)
    np.add.at(forces, j, -pull)
    return energy, forces


def test_facts(models):
    model = models("pair_stride")
    data = fixture_model("pair_stride").read_bytes()
    assert model.sha256 == hashlib.sha256(data).hexdigest()
    assert (model.kind, model.stride_fs, model.cutoff_A, model.device) == ("direct", 2.0, 4.5, "cpu")
    assert model.species == ["H", "O", "Ne", "Al", "Ar"]
    assert model.metadata["contract"] == 1
    assert repr(model) == "<flashmd_rs.Model 'pair_stride': direct, stride 2 fs, H/O/Ne/Al/Ar, on cpu, threads=1>"
    assert models("pair_energy").stride_fs is None


def test_fixtures_are_what_their_script_makes(tmp_path):
    """The committed files and tests/fixtures/make.py agree."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make", fixture_model("x").parent / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for name, model in make.good_models():
        committed = onnx.load(fixture_model(name))
        assert committed.graph == model.graph, name
        assert json.loads(committed.metadata_props[0].value) == json.loads(model.metadata_props[0].value)


def test_an_existing_path_wins_over_a_bundled_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(fixture_model("free_flight"), "water")
    assert Model("water", device="cpu").sha256 == hashlib.sha256((tmp_path / "water").read_bytes()).hexdigest()


def test_free_flight_is_exact(models, gas):
    """Positions move by p/m·Δ; the network's part is float32, the rest float64."""
    after = models("free_flight").stride(gas)
    step = gas.get_momenta() / gas.get_masses()[:, None] * units.fs
    np.testing.assert_allclose(after.positions, gas.positions + step, atol=1e-7)
    np.testing.assert_allclose(after.get_momenta(), gas.get_momenta(), rtol=1e-6, atol=1e-9)


def test_stride_matches_formula(models, crystal):
    after = models("pair_stride").stride(crystal)
    dt = 2.0 * units.fs
    momenta = crystal.get_momenta() + dt * reference_energy_forces(crystal)[1]
    positions = crystal.positions + dt * momenta / crystal.get_masses()[:, None]
    np.testing.assert_allclose(after.get_momenta(), momenta, atol=2e-6)
    np.testing.assert_allclose(after.positions, positions, atol=2e-6)


def test_stride_leaves_its_input_alone_and_conserves_momentum(models, crystal):
    before = crystal.copy()
    crystal.set_momenta(crystal.get_momenta() + 0.3)
    total = crystal.get_momenta().sum(axis=0)
    after = models("pair_stride").stride(crystal)
    assert np.array_equal(crystal.positions, before.positions)
    np.testing.assert_allclose(after.get_momenta().sum(axis=0), total, atol=1e-10)
    drift = after.get_center_of_mass() - crystal.get_center_of_mass()
    np.testing.assert_allclose(drift, total / crystal.get_masses().sum() * 2.0 * units.fs, atol=1e-10)


@pytest.mark.parametrize("name", ["free_flight", "pair_stride"])
class TestInvariance:
    """What must not matter does not: to 1e-10 in the bookkeeping, to float32 round-off through the network."""

    def check(self, name, models, one, other, shift, order=slice(None)):
        model = models(name)
        a, b = model.stride(one), model.stride(other)
        atol = {"free_flight": 1e-10, "pair_stride": 2e-6}[name]
        np.testing.assert_allclose(b.positions - shift, a.positions[order], rtol=0, atol=atol)
        np.testing.assert_allclose(b.get_momenta(), a.get_momenta()[order], rtol=0, atol=atol)

    def test_translation(self, name, models, crystal):
        moved = crystal.copy()
        moved.positions += 1e4
        self.check(name, models, crystal, moved, 1e4)

    def test_permutation(self, name, models, crystal):
        order = np.random.default_rng(0).permutation(len(crystal))
        self.check(name, models, crystal, crystal[order], 0.0, order)

    def test_periodic_image(self, name, models, crystal):
        shifts = np.random.default_rng(1).integers(-5, 6, (len(crystal), 3)) @ crystal.cell.array
        moved = crystal.copy()
        moved.positions += shifts
        self.check(name, models, crystal, moved, shifts)


def test_energy_and_forces_match_formula(models, crystal):
    model = models("pair_energy")
    energy, forces = reference_energy_forces(crystal)
    assert model.energy(crystal) == pytest.approx(energy, rel=1e-6)
    np.testing.assert_allclose(model.forces(crystal), forces, atol=2e-6)
    np.testing.assert_allclose(model.forces(crystal).sum(axis=0), 0.0, atol=1e-5)


def test_forces_are_finite_differences_of_the_energy(models):
    """Central differences over 0.02 Å of a float32 energy: 1e-3 eV/Å."""
    cluster = make_crystal(2)
    cluster.set_pbc([True, False, True])
    cluster.rattle(0.1, seed=9)
    cluster.calc = models("pair_energy").calculator()
    np.testing.assert_allclose(
        calculate_numerical_forces(cluster, eps=1e-2), models("pair_energy").forces(cluster), atol=1e-3
    )


def test_calculator_gives_ase_energy_forces_and_stress(models):
    from ase.calculators.fd import calculate_numerical_stress

    atoms = make_crystal(3)
    atoms.calc = models("pair_energy").calculator()
    assert atoms.get_potential_energy() == models("pair_energy").energy(atoms)
    assert np.array_equal(atoms.get_forces(), models("pair_energy").forces(atoms))
    numerical = calculate_numerical_stress(atoms, eps=1e-3)
    np.testing.assert_allclose(atoms.get_stress(), numerical, atol=2e-4)


def test_isolated_atom_has_no_energy(models):
    assert models("pair_energy").energy(Atoms("Ar")) == pytest.approx(0.0, abs=1e-9)
    assert models("pair_energy").forces(Atoms("Ar")).shape == (1, 3)


def test_kinds_do_not_mix(models, crystal):
    with pytest.raises(ModelError, match="does not move atoms"):
        models("pair_energy").stride(crystal)
    with pytest.raises(ModelError, match="has no energy"):
        models("free_flight").energy(crystal)
    with pytest.raises(ModelError, match="'energy' model"):
        models("free_flight").calculator()


def test_stride_needs_momenta_and_no_constraints(models, crystal):
    from ase.constraints import FixAtoms

    bare = crystal.copy()
    del bare.arrays["momenta"]
    with pytest.raises(InputError, match="no momenta"):
        models("free_flight").stride(bare)
    crystal.set_constraint(FixAtoms([0]))
    with pytest.raises(InputError, match="FixAtoms"):
        models("free_flight").stride(crystal)


def test_threads_do_not_change_much(crystal):
    """More threads may sum in another order, no more."""
    one, two = (Model(fixture_model("pair_stride"), device="cpu", threads=n).stride(crystal) for n in (1, 2))
    np.testing.assert_allclose(one.positions, two.positions, atol=1e-6)


def test_path_types(models):
    assert Model(os.fspath(fixture_model("free_flight")), device="cpu").name == "free_flight"
    with pytest.raises(InputError, match="wanted a path"):
        Model(3)
