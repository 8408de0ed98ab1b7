"""What comes with the package works: the water box, its model, the demo, the README."""

import re

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

import flashmd_rs
from flashmd_rs import InputError, Langevin, Model, bundled, load_structure, rollout
from flashmd_rs.temperature import draw_momenta

from conftest import TESTS

README = TESTS.parent / "README.md"


def test_names():
    assert {"aluminium", "water", "water-energy", "water-nve"} <= set(bundled()["models"])
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


def test_a_weak_bath_keeps_equipartition():
    """T of O against H under 1 ps, a mean over 4.5 ps of which is known to some 5 K; the first file was 40 K off."""
    bath = {"temperature_K": 300, "thermostat": Langevin(1000)}
    run = rollout(load_structure("water258"), "water", time_ps=6.0, interval=4, seed=1, progress=False, **bath)
    late = run.times_ps > 1.5
    assert abs(run.temperature_K["O"][late].mean() - run.temperature_K["H"][late].mean()) < 15


def test_reference_energy_is_used_in_nve():
    run = rollout(load_structure("water258"), "water", steps=3, progress=False)
    assert run.report["energy_model"] == "water-energy"
    np.testing.assert_allclose(run.total_energy, run.total_energy[0], rtol=1e-9)


def aluminium():
    """108 atoms at about 500 K after a little of the reference's own dynamics."""
    atoms = bulk("Al", "fcc", a=4.05, cubic=True) * (3, 3, 3)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 1000.0, seed=2))
    atoms.calc = EMT()
    VelocityVerlet(atoms, timestep=4 * units.fs).run(60)
    atoms.calc = None
    return atoms


@pytest.mark.parametrize(
    ("name", "kind", "start"),
    [("water-nve", "hybrid", lambda: load_structure("water258")), ("aluminium", "splitting", aluminium)],
)
def test_symplectic_models_run_nve_as_they_stand_and_back(name, kind, start):
    """Forward, flip, back: the defect of a stride is below 1e-5 of the rms momentum, in f32."""
    atoms, model = start(), Model(name, device="cpu")
    assert model.kind == kind
    there = rollout(atoms, model, steps=4, progress=False).frames[-1]
    there.set_momenta(-there.get_momenta())
    back = rollout(there, model, steps=4, progress=False).frames[-1]
    momenta = atoms.get_momenta()
    assert np.sqrt(np.mean((back.get_momenta() + momenta) ** 2)) < 1e-5 * np.sqrt(np.mean(momenta**2))
    assert np.abs(there.get_momenta().sum(axis=0) + momenta.sum(axis=0)).max() < 1e-9


def test_aluminium_keeps_the_energy_of_its_reference():
    """2.4 ps in strides of 24 fs, energies from EMT: a tenth of what velocity Verlet gains at this step."""
    atoms = aluminium()
    run = rollout(atoms, "aluminium", steps=100, energy_model=EMT(), progress=False)
    per_atom = 1000 * np.polyfit(run.times_ps, run.total_energy, 1)[0] / len(atoms)
    assert abs(per_atom) < 2.7
    assert np.std(run.total_energy) < 0.1


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
