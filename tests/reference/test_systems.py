"""Every reference system: velocities at the instant of positions, energy kept, the right distribution."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.emt import EMT
from scipy.stats import kstest
from systems import FOLDER, NAMES, example

from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.options import read_system_file

SMALL = {
    "water": {"molecules": 64},
    "alanine-dipeptide": {"waters": 64},
    "aluminium": {"cells": 2},
    "aluminium-110": {"cells": 2},
    "copper-gold": {"cells": 2},
    "ethanol-liquid": {"molecules": 8},
    "silver-iodide": {"cells": 3},
}
HOT_K = 400.0


@pytest.fixture(scope="module", params=sorted(SMALL))
def reference(request: pytest.FixtureRequest) -> Reference:
    built = example(request.param, **SMALL[request.param]).reference()
    built.equilibrate(HOT_K, np.random.default_rng(1), 0.15)
    return built


def total_energy(reference: Reference) -> float:
    frame = reference.get()
    return frame.energy + float((frame.momenta**2 / reference.masses[:, None]).sum() / 2)


def test_velocities_are_the_central_difference_of_positions(reference: Reference) -> None:
    step = reference.timestep_fs
    before = reference.get()
    reference.nve(step)
    now = reference.get()
    reference.nve(step)
    after = reference.get()
    difference = reference.masses[:, None] * (after.positions - before.positions) / (2 * step * units.fs)
    # Half a step of force is how far off a leapfrog's momenta would be.
    half_a_step = np.linalg.norm(0.5 * step * units.fs * now.forces)
    assert np.linalg.norm(now.momenta - difference) < 1e-3 * half_a_step


def test_energy_is_conserved_and_momentum_stays_zero(reference: Reference) -> None:
    energies, kinetic = [], []
    for _ in range(60):
        reference.nve(4.0)
        energies.append(total_energy(reference))
        kinetic.append(energies[-1] - reference.get().energy)
    # Over 240 fs the total moves by a small part of what kinetic and potential energy exchange.
    assert np.std(energies) < 0.05 * np.std(kinetic)
    per_atom = np.polyfit(0.004 * np.arange(60), energies, 1)[0] / len(reference.masses)
    assert abs(per_atom) < 1e-3  # eV/ps
    assert np.abs(reference.momenta().sum(0)).max() < 1e-2


def test_what_follows_set_is_the_same_to_the_last_bit(reference: Reference) -> None:
    frame = reference.get()
    ends = []
    for _ in range(2):
        reference.set(frame.positions, frame.momenta)
        reference.nve(20 * reference.timestep_fs)
        ends.append(reference.get())
        # A detour, so that neighbour lists have another past the second time.
        reference.nve(60 * reference.timestep_fs)
    for first, second in zip(*ends, strict=True):
        assert np.array_equal(first, second)


def test_drawn_momenta_are_maxwell_boltzmann(reference: Reference) -> None:
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(200):
        reference.draw_momenta(HOT_K, rng)
        draws.append(reference.momenta())
    # Zero total momentum takes the share m/M of an atom's variance.
    share = 1 - reference.masses / reference.masses.sum()
    scaled = np.array(draws) / np.sqrt(reference.masses * units.kB * HOT_K * share)[:, None]
    for number in np.unique(reference.numbers):
        assert kstest(scaled[:, reference.numbers == number].ravel(), "norm").pvalue > 0.01


def test_the_bath_holds_the_temperature_that_verlet_then_keeps() -> None:
    """The chain samples what velocity Verlet conserves: kinetic energy does not relax when the bath is taken away."""
    reference, rng, temperature = example("silver-iodide", cells=2).reference(2.0), np.random.default_rng(3), 600.0
    reference.equilibrate(temperature, rng, 2.0)
    freedom = 3 * len(reference.masses) - 3

    def kinetic_temperature() -> float:
        return float((reference.momenta() ** 2 / reference.masses[:, None]).sum() / freedom / units.kB)

    in_bath, after = [], []
    for _ in range(50):
        reference.langevin(100.0, temperature, rng, 20.0)
        in_bath.append(kinetic_temperature())
        reference.nve(60.0)
        after.append(kinetic_temperature())
    error = temperature * np.sqrt(2 / freedom / 50)
    assert abs(np.mean(in_bath) - temperature) < 3 * error
    assert abs(np.mean(after) - temperature) < 3 * error


def test_the_constants_of_silver_iodide_follow_its_construction() -> None:
    """H = A (σ_i + σ_j)^n of three pairs from two radii, P = α Z²/2 per polarisable end: a misprint would not fit."""
    file = runpy.run_path(str(FOLDER / "silver-iodide" / "silver_iodide.py"))
    strength, silver, iodide, polarisability = 0.010249, 0.517, 2.3, 6.52
    ends = np.array([0, 1, 2])
    lengths = np.array([2 * silver, silver + iodide, 2 * iodide])
    assert np.allclose(strength * lengths ** np.array(file["EXPONENT"]), file["STERIC"], rtol=5e-4)
    assert np.allclose(0.5 * polarisability * file["CHARGE"] ** 2 * ends, file["POLARISATION"], rtol=1e-4)


def test_silver_flows_through_a_standing_lattice_of_iodide() -> None:
    reference, rng = example("silver-iodide", cells=3).reference(2.0), np.random.default_rng(5)
    reference.equilibrate(600.0, rng, 2.0)
    start = reference.get().positions
    reference.nve(4000.0)
    squared = ((reference.get().positions - start) ** 2).sum(1)
    silver, iodide = squared[reference.numbers == 47].mean(), squared[reference.numbers == 53].mean()
    # α-AgI: 2e-5 to 4e-5 cm²/s, so 5 to 10 Å² in 4 ps; iodide only vibrates.
    assert silver > 4.0
    assert iodide < 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_system_file_says_what_it_is(name: str) -> None:
    options, sections = read_system_file(FOLDER / name / "system.yaml")
    assert options.description
    assert any("temperature_k" in section for section in sections.values())


def test_silver_starts_on_other_sites_in_every_structure() -> None:
    first, *others = (atoms.positions for atoms in example("silver-iodide", cells=3).structures)
    assert len(others) == 3
    for other in others:
        assert np.array_equal(first[1::2], other[1::2])
        assert (np.abs(first[::2] - other[::2]).max(1) > 1e-3).mean() > 0.5


def test_aluminium_surface_has_two_free_faces_and_no_images() -> None:
    slab, bulk = (example(name, cells=2).reference() for name in ("aluminium-110", "aluminium"))
    assert slab.periodic.tolist() == [True, True, False]
    slab.start()
    bulk.start()
    frame = slab.get()
    images = Atoms(slab.numbers, frame.positions, cell=slab.cell, pbc=True, calculator=EMT())
    assert images.get_potential_energy() == pytest.approx(frame.energy, abs=1e-9)
    cost = frame.energy / len(slab.numbers) - bulk.get().energy / len(bulk.numbers)
    assert cost > 0.1  # eV an atom, for broken bonds


def test_liquid_ethanol_is_whole_and_at_its_density() -> None:
    """Bonds as long as in OPLS-AA, nothing overlaps, and no net charge."""
    (atoms,) = example("ethanol-liquid").structures
    assert atoms.get_masses().sum() / atoms.get_volume() * 1.66053907 == pytest.approx(0.785, rel=1e-3)
    for first in range(0, len(atoms), 9):
        assert atoms.get_distance(first, first + 1, mic=True) == pytest.approx(1.529, abs=0.05)
        assert atoms.get_distance(first + 2, first + 3, mic=True) == pytest.approx(0.945, abs=0.03)
    molecule, distances = np.arange(len(atoms)) // 9, atoms.get_all_distances(mic=True)
    assert distances[molecule[:, None] != molecule].min() > 1.5
    reference = example("ethanol-liquid").reference()
    (forces,) = (f for f in reference.context.getSystem().getForces() if f.getName() == "NonbondedForce")
    charges = [forces.getParticleParameters(k)[0]._value for k in range(9)]
    assert sum(charges) == pytest.approx(0.0, abs=1e-12)
    assert np.array_equal(reference.molecules, molecule)


def test_alanine_dipeptide_is_whole_flexible_and_at_the_density_of_water() -> None:
    reference = example("alanine-dipeptide", waters=64).reference()
    counts = {int(z): int((reference.numbers == z).sum()) for z in np.unique(reference.numbers)}
    assert counts == {1: 12 + 128, 6: 6, 7: 2, 8: 2 + 64}
    assert reference.context.getSystem().getNumConstraints() == 0
    assert reference.molecules.max() == 64
    grams = reference.masses.sum() * 1.66053907
    assert grams / np.linalg.det(reference.cell) == pytest.approx(0.997, abs=1e-3)


def test_a_cell_of_water_has_one_molecule_number_per_molecule() -> None:
    assert np.array_equal(example("water", molecules=64).reference().molecules, np.repeat(np.arange(64), 3))


def test_density_of_water_is_an_argument() -> None:
    (atoms,) = example("water", molecules=64, density_g_per_cm3=1.027).structures
    assert atoms.get_masses().sum() * 1.66053907 / atoms.get_volume() == pytest.approx(1.027, abs=1e-3)
