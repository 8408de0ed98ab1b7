"""Many systems in one call of the network: each is what it would be alone."""

import ase.io
import numpy as np
import pytest

from flashmd_rs import FlashMDWarning, InputError, Langevin, rollout

from conftest import make_crystal

BATH = {"thermostat": Langevin(50), "seed": 3, "rescale_energy": False}


def crystals():
    """Of different sizes, so that neighbours and slots differ."""
    return [make_crystal(2), make_crystal(3, seed=4), make_crystal(4, seed=5)]


def test_each_is_what_it_is_alone_to_round_off(models):
    """The batch pads slots, so sums run in another order: a few 1e-7 a stride, which fifty strides of this crystal
    keep below 1e-4.
    """
    options = {"steps": 50, "energy_model": models("pair_energy"), **BATH}
    together = rollout(crystals(), models("pair_stride"), temperature_K=[40.0, 60.0, 80.0], **options)
    assert len(together) == 3
    for r, (atoms, kelvin) in enumerate(zip(crystals(), (40.0, 60.0, 80.0), strict=True)):
        alone = [rollout(atoms, models("pair_stride"), temperature_K=kelvin, replica=r, **options) for _ in range(2)]
        np.testing.assert_array_equal(alone[0][-1].positions, alone[1][-1].positions)
        assert together[r].report["replica"] == r
        assert together[r].report["temperature_K"] == kelvin
        np.testing.assert_allclose(together[r][-1].positions, alone[0][-1].positions, atol=1e-4)
        np.testing.assert_allclose(together[r][-1].get_momenta(), alone[0][-1].get_momenta(), atol=1e-3)
        np.testing.assert_allclose(together[r].conserved_energy, alone[0].conserved_energy, atol=1e-4)


def test_each_draws_its_own_numbers(models):
    """The same structure three times: three different futures, also in the momenta that are drawn."""
    atoms = make_crystal(2)
    atoms.set_momenta(None)
    runs = rollout([atoms] * 3, models("pair_stride"), steps=5, temperature_K=60.0, **BATH)
    for frame in (0, -1):
        momenta = [run[frame].get_momenta() for run in runs]
        assert not np.allclose(momenta[0], momenta[1])
        assert not np.allclose(momenta[1], momenta[2])
    again = rollout(atoms, models("pair_stride"), steps=5, temperature_K=60.0, replica=2, **BATH)
    np.testing.assert_array_equal(again[0].get_momenta(), runs[2][0].get_momenta())
    np.testing.assert_allclose(again[-1].positions, runs[2][-1].positions, atol=1e-5)


def test_each_has_its_own_temperature(models):
    """Langevin on free atoms, from cold: each batch mean within four standard errors of its bath's temperature."""
    rng = np.random.default_rng(3)
    atoms = ase.Atoms("Ne50", positions=rng.uniform(0, 300, (50, 3)), momenta=np.zeros((50, 3)))
    targets = [50.0, 150.0, 450.0]
    options = {"temperature_K": targets, "thermostat": Langevin(5), "seed": 1, "interval": 1}
    runs = rollout([atoms] * 3, models("free_flight"), steps=2000, **options)
    for run, target in zip(runs, targets, strict=True):
        values = run.temperature_K["total"][200:]
        # An Ornstein–Uhlenbeck kinetic energy forgets in τ/2 = 2.5 strides.
        error = target * np.sqrt(2 / (3 * 50 - 3)) / np.sqrt(len(values) / 5)
        assert abs(values.mean() - target) < 4 * error


def test_one_that_dies_leaves_the_others(models, gas):
    """And they go on as if it had never been there."""
    hot = gas.copy()
    hot.set_momenta(100.0 * gas.get_momenta())
    options = {"steps": 6, "temperature_K": 60.0, "guard": "off", **BATH}
    with pytest.warns(FlashMDWarning, match="replica 1 ended early: unstable at step"):
        runs = rollout([gas, hot, gas], models("explodes"), **options)
    assert [run.failure is None for run in runs] == [True, False, True]
    assert runs[1].failure.last_good is not None
    assert runs[0].frames[-1].info["step"] == runs[2].frames[-1].info["step"] == 6
    for r in (0, 2):
        alone = rollout(gas, models("explodes"), replica=r, **options)
        np.testing.assert_allclose(runs[r][-1].positions, alone[-1].positions, atol=1e-4)


def test_all_may_die(models, gas):
    with pytest.warns(FlashMDWarning) as caught:
        runs = rollout([gas, gas], models("explodes"), steps=500, temperature_K=300.0, guard="off", **BATH)
    assert len(caught) == 2
    assert all(run.failure is not None for run in runs)


def test_files_of_each(models, tmp_path):
    files = {"trajectory": tmp_path / "run-{replica}.traj", "logfile": tmp_path / "{replica}.log"}
    runs = rollout(crystals(), models("pair_stride"), steps=4, temperature_K=50.0, replica=7, **files, **BATH)
    for r, run in zip((7, 8, 9), runs, strict=True):
        frames = ase.io.read(tmp_path / f"run-{r}.traj", ":")
        assert [len(frame) for frame in frames] == [len(run[0])] * 5
        np.testing.assert_array_equal(frames[-1].positions, run[-1].positions)
        assert f"replica {r}" in (tmp_path / f"{r}.log").read_text()


def test_refused(models, tmp_path):
    atoms = crystals()
    with pytest.raises(InputError, match=r"put \{replica\} into its name"):
        rollout(atoms, models("pair_stride"), steps=1, trajectory=tmp_path / "run.traj", temperature_K=50.0)
    with pytest.raises(InputError, match="2 temperatures for 3 systems"):
        rollout(atoms, models("pair_stride"), steps=1, temperature_K=[50.0, 60.0])
    with pytest.raises(InputError, match="empty list"):
        rollout([], models("pair_stride"), steps=1, temperature_K=50.0)
    with pytest.raises(InputError, match="replica=-1"):
        rollout(atoms, models("pair_stride"), steps=1, temperature_K=50.0, replica=-1)
