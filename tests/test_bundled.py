"""What comes with the package works: the water box, its model, the demo, the README."""

import re

import ase.io
import numpy as np
import pytest

import flashmd_rs
from flashmd_rs import InputError, Model, bundled, load_structure, rollout

from conftest import TESTS

README = TESTS.parent / "README.md"


def test_names():
    assert {"water", "water-energy"} <= set(bundled()["models"])
    assert "water258" in bundled()["structures"]


def test_water_box():
    water = load_structure("water258")
    assert len(water) == 774
    assert water.has("momenta")
    assert water.pbc.all()
    assert np.abs(water.get_momenta().sum(axis=0)).max() < 1e-5
    with pytest.raises(InputError, match="water258"):
        load_structure("water257")


@pytest.mark.parametrize("name", ["water", "water.onnx"])
def test_model_by_name(name):
    model = Model(name, device="cpu")
    assert model.name == "water"
    assert model.kind == "direct"
    assert model.path.stat().st_size < 3e6


def test_model_files_are_small():
    assert Model("water-energy", device="cpu").path.stat().st_size < 3e6


def test_a_tenth_of_a_picosecond_of_water():
    """Short enough for every run of the tests; the long study is in benches."""
    run = rollout(load_structure("water258"), "water", time_ps=0.1, temperature_K=300, seed=1, progress=False)
    assert run.temperature_K["total"].mean() == pytest.approx(300, abs=40)
    assert set(run.temperature_K) == {"total", "H", "O"}


def test_companion_is_used_in_nve():
    run = rollout(load_structure("water258"), "water", steps=3, progress=False)
    assert run.report["energy_model"] == "water-energy"
    np.testing.assert_allclose(run.total_energy, run.total_energy[0], rtol=1e-9)


def test_energy_model_forces_are_gradients():
    """One component of ten atoms by central differences of 0.02 Å: 2 % of the typical force."""
    model, water = Model("water-energy", device="cpu"), load_structure("water258")
    forces = model.forces(water)
    scale = np.sqrt(np.mean(forces**2))
    for atom in np.random.default_rng(0).choice(len(water), 10, replace=False):
        energies = []
        for sign in (1, -1):
            moved = water.copy()
            moved.positions[atom, 1] += sign * 0.01
            energies.append(model.energy(moved))
        assert -(energies[0] - energies[1]) / 0.02 == pytest.approx(forces[atom, 1], abs=0.02 * scale + 0.02)


def test_demo(shell, tmp_path):
    result = shell("demo", "--time-ps", 0.1, "--seed", 1, "--output-dir", "out", timeout=240)
    assert result.returncode == 0, result.stderr
    for words in ("strides", "ns/day", "T all", "T H", "T O", "target 300 K", "conserved energy", "g_OO", "demo.png"):
        assert words in result.stdout, words
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")
    frames = ase.io.read(tmp_path / "out" / "demo.extxyz", ":")
    assert len(frames[0]) == 774
    assert frames[-1].info["time_ps"] == pytest.approx(0.1, abs=0.02)


@pytest.mark.skipif(not README.exists(), reason="not run from a source tree")
def test_first_example_of_the_readme(shell):
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block, "README.md shows no Python"
    result = shell("-c", block.group(1), module=False, timeout=240)
    assert result.returncode == 0, result.stderr
    assert flashmd_rs.__version__
