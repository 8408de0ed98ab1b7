"""What the evaluation measures, against motion whose answer is known."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np
import pytest
import small_systems
from ase import units
from scipy.stats import norm

from flashmd_rs.evaluation.estimates import at_mean_energies, slope
from flashmd_rs.evaluation.integrators.barostat import MonteCarloBarostat
from flashmd_rs.evaluation.integrators.stepped import Respa, VelocityVerlet
from flashmd_rs.evaluation.measures.bond_energy import stretch_excess
from flashmd_rs.evaluation.measures.momenta import departure
from flashmd_rs.evaluation.measures.nve import measure_run
from flashmd_rs.evaluation.measures.observables import (
    diffusion,
    dihedral_blocks,
    dihedral_map,
    internal_positions,
    mean_square_displacement,
    neighbor_density,
    pair_blocks,
    pairs_of,
    vibrations,
)
from flashmd_rs.evaluation.measures.symplecticity import reversibility, symplecticity
from flashmd_rs.evaluation.page.nve_tables import equipartition_table
from flashmd_rs.reference.ase_system import ASEReference
from flashmd_rs.reference.explosion import hottest_K

FIXTURES = Path(__file__).parents[1] / "fixtures"


def walk(frames: np.ndarray, symbols: str) -> list[ase.Atoms]:
    return [ase.Atoms(symbols, q) for q in frames]


def test_a_random_walk_diffuses_as_it_was_told_within_its_error() -> None:
    """⟨Δq²⟩ = 6 D t, also where the centre of mass moves along."""
    rng, steps, atoms, step_ps, wanted = np.random.default_rng(0), 1000, 30, 0.05, 2.5
    width = np.sqrt(2 * 0.1 * wanted * step_ps)  # 1e-5 cm²/s is 0.1 Å²/ps
    found, errors = [], []
    for _ in range(30):
        q = np.cumsum(width * rng.normal(size=(steps, atoms, 3)), 0) + 0.3 * np.arange(steps)[:, None, None]
        positions = internal_positions(walk(q, f"O{atoms}"))
        lags, msd = mean_square_displacement(positions, step_ps * np.arange(steps))
        mean, error, _ = diffusion(lags, msd)
        found.append(mean)
        errors.append(error)
    # The centre of mass of the walkers, which is taken out, holds one of thirty.
    assert np.mean(found) == pytest.approx(wanted * 29 / 30, rel=0.05)
    assert 0.7 < np.std(found) / np.sqrt(np.mean(np.square(errors))) < 1.4
    assert diffusion(lags[lags < 0.5], msd[:, lags < 0.5]) is None


def test_a_swing_shows_at_its_frequency() -> None:
    spacing, wavenumber = 2.0, 3500.0
    times = spacing * np.arange(2000)
    swing = np.sin(2 * np.pi * times * wavenumber * units._c * 100 * 1e-15)
    momenta = np.zeros((2000, 2, 3))
    momenta[:, 0, 0], momenta[:, 1, 0] = swing, -swing
    found, density = vibrations(momenta, np.ones(2), spacing)
    assert abs(found[np.argmax(density)] - wavenumber) < 10
    assert np.isclose(density.sum() * found[1], 1.0)


def test_pairs_of_crystals_slabs_and_clusters() -> None:
    alloy = ase.build.bulk("Cu", cubic=True, a=3.6) * (3, 3, 3)
    alloy.symbols[::4] = "Au"
    assert pairs_of(alloy) == [("Au", "Au"), ("Au", "Cu"), ("Cu", "Cu")]
    assert pairs_of(ase.Atoms("AuCu3")) == [("Au", "Cu"), ("Cu", "Cu")]
    assert len(pairs_of(ase.Atoms("H4C3N2O"))) == 6  # Of the three most abundant.
    r, blocks = pair_blocks([alloy] * 20, ("Au", "Cu"))
    assert blocks.shape == (10, len(r))
    assert r[-1] < 5.4
    # Each Au has twelve Cu around it, in the crystal and in a slab's middle; g(r) says so, and n(r).
    density = np.count_nonzero(alloy.symbols == "Cu") / alloy.get_volume()
    shell = r < 3.0
    assert np.isclose((blocks[0] * 4 * np.pi * r**2 * density * 0.05)[shell].sum(), 12, rtol=1e-3)
    alloy.pbc = (True, True, False)
    r, slab = pair_blocks([alloy] * 20, ("Au", "Cu"))
    assert 8 < slab[0][r < 3.0].sum() * 0.05 < 12
    r, pair = neighbor_density([ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.12]])], ("C", "O"), r_max_A=8.0)
    assert np.isclose(pair.sum() * 0.05, 1.0)
    assert abs(r[np.argmax(pair)] - 1.12) < 0.05


def test_two_dihedrals_are_found_together_where_they_were_set() -> None:
    """φ of −75° and ψ of 145° fall into one bin of the map, the first angle along its first axis."""
    chain = ase.Atoms("CCCCC", np.array([[0, 0, 0], [1, 1, 0], [2, 0, 0], [3, 1, 0], [4, 0, 0.5]], float))
    chain.set_dihedral(0, 1, 2, 3, -75.0 % 360, indices=[3, 4])
    chain.set_dihedral(1, 2, 3, 4, 145.0, indices=[4])
    angles, blocks = dihedral_map([chain] * 20, (0, 1, 2, 3), (1, 2, 3, 4))
    assert blocks.sum((1, 2)) == pytest.approx(np.ones(len(blocks)))
    phi, psi = np.unravel_index(blocks[0].argmax(), blocks[0].shape)
    assert (angles[phi], angles[psi]) == (-75.0, 145.0)


def test_a_dihedral_is_found_where_it_was_set() -> None:
    frames = []
    for degrees in np.linspace(50, 59, 40):
        atoms = ase.Atoms("C4", [[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]])
        atoms.set_dihedral(0, 1, 2, 3, degrees, indices=[3])
        frames.append(atoms)
    angles, blocks = dihedral_blocks(frames, (0, 1, 2, 3))
    assert angles[np.argmax(blocks.mean(0))] == 55.0
    assert np.isclose(blocks.mean(0).sum() * 10.0, 1.0)


def test_a_barostat_gives_an_ideal_gas_its_volume() -> None:
    """P(V) ∝ V^N e^(−pV/k_BT): mean (N + 1) k_BT/p, variance (N + 1) (k_BT/p)²."""
    kelvin, bar, atoms, rng = 300.0, 20.0, 20, np.random.default_rng(8)

    def in_cell(cell: np.ndarray, positions: np.ndarray, momenta: np.ndarray) -> ASEReference:
        gas = ase.Atoms(f"Ar{atoms}", positions, cell=cell, pbc=True, momenta=momenta)
        made = ASEReference([gas], small_systems.FreeAtoms, 2.0, "free atoms")
        made.set(positions, momenta)
        return made

    unit_volume = units.kB * kelvin / (bar * units.bar)
    edge = ((atoms + 1) * unit_volume) ** (1 / 3)
    reference = in_cell(edge * np.eye(3), rng.uniform(0, edge, (atoms, 3)), np.zeros((atoms, 3)))
    barostat, volumes = MonteCarloBarostat(in_cell, kelvin, bar), []
    for _ in range(3000):
        reference = barostat.move(reference, rng)
        volumes.append(np.linalg.det(reference.cell))
    settled = np.array(volumes[200:]) / unit_volume
    assert settled.mean() == pytest.approx(atoms + 1, rel=0.06)
    assert settled.std() == pytest.approx((atoms + 1) ** 0.5, rel=0.25)


def test_departure_of_momenta_from_maxwell_and_boltzmann() -> None:
    """None but chance of normal ones, whatever their width; of others what their distributions say."""
    rng, n = np.random.default_rng(4), 40_000
    for width in (0.1, 3.0):
        assert departure(width * rng.normal(size=n)) < 1.6 / np.sqrt(n)
    x = np.linspace(-6, 6, 100_001)
    # A flat one of width 1, and two temperatures in one species, 150 and 450 K where the mean is 300.
    mixed = np.sqrt(np.where(rng.random(n) < 0.5, 0.5, 1.5)) * rng.normal(size=n)
    flat = np.sqrt(3) * (2 * rng.random(n) - 1)
    of_mixed = 0.5 * (norm.cdf(x, scale=0.5**0.5) + norm.cdf(x, scale=1.5**0.5))
    for values, law in ((flat, np.clip(0.5 + x / 12**0.5, 0, 1)), (mixed, of_mixed)):
        assert abs(departure(values) - np.abs(law - norm.cdf(x)).max()) < 1.6 / np.sqrt(n)


def test_a_drift_is_found_within_its_error() -> None:
    rng, times = np.random.default_rng(1), np.linspace(0, 50, 200)
    off = []
    for _ in range(100):
        energy = 0.02 * times + 0.1 * rng.normal(size=200)
        fit, error, _ = slope({"trace": {"times_ps": times.tolist(), "energy_eV": energy.tolist()}, "stable_ps": 50.0})
        off.append((fit - 0.02) / error)
    assert 0.8 < np.std(off) < 1.5  # of Student's t with eight degrees of freedom: 1.15


def test_the_last_half_of_a_drift_is_told_from_the_whole() -> None:
    times = np.linspace(0, 50, 200)
    bent = np.maximum(0.0, times - 25.0) * 0.02
    run = {"trace": {"times_ps": times.tolist(), "energy_eV": bent.tolist()}, "stable_ps": 50.0}
    assert np.isclose(slope(run, last=0.5)[0], 0.02)
    assert 0.005 < slope(run)[0] < 0.015


def test_what_a_start_has_of_its_own_cancels_against_verlet() -> None:
    """Hydrogen 12, 8, 10 K above oxygen in Verlet's runs, and 1 K less than that in each of the others that it has."""

    def runs(name: str, apart: dict[int, float]) -> list[dict]:
        found = []
        for start, a in apart.items():
            half, whole = ({"total": 300.0, "H": h + a, "O": 300.0} for h in (300.0, 301.0))
            found.append({"name": name, "start": start, "temperature_K": half, "whole_temperature_K": whole})
        return found

    verlet, others = runs("Verlet", {0: 12, 1: 8, 2: 10}), runs("m", {0: 11, 2: 9, 3: 7})
    lines = equipartition_table({"verlet:0.5": verlet, "m": others})
    assert lines[2] == "| Verlet | -11.0 ± 1.2 | – | – | -10.0 ± 1.2 | – | – |"
    assert lines[3] == "| m | -10.0 ± 1.2 | +1.0 ± 0.0 | – | -9.0 ± 1.2 | +1.0 ± 0.0 | – |"


def test_what_starts_hold_by_chance_is_taken_out() -> None:
    """y = 150 − 4 x + 8 e + noise: the regression is four times closer than the mean, and as close as it says.

    The mean of the energies is itself known within an error only, which its own error allows for.
    """
    rng, off, of_means = np.random.default_rng(5), [], []
    for _ in range(400):
        x, e, missed = 13 * rng.normal(size=12), 6 * rng.normal(size=12), 0.5 * rng.normal()
        values = dict(enumerate(150 - 4 * x + 8 * (e + missed) + 10 * rng.normal(size=12)))
        runs = [
            {"start": k, "stretch_excess_K": x[k], "energy_excess_K": e[k], "energy_excess_error_K": 0.5}
            for k in range(12)
        ]
        found, error, _ = at_mean_energies(runs, values)
        off.append((found - 150, error))
        of_means.append(np.mean(list(values.values())) - 150)
    errors, said = np.array(off).T
    assert np.std(of_means) / np.std(errors) > 4
    assert 0.9 < np.std(errors / said) < 1.3  # of Student's t with nine degrees of freedom: 1.13
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 20
    unknown = [dict(run, stretch_excess_K=None) if run["start"] > 6 else run for run in runs]
    assert at_mean_energies(unknown, values) is None


def test_bonds_hold_what_a_bath_gives_them() -> None:
    """Stiff ones in a bath of 1 fs, which stretches them by 14 % of k_B·T; then at twice the temperature."""
    kelvin, pairs, rng = 300.0, 300, np.random.default_rng(6)
    reference = small_systems.hydroxyls(pairs).reference(1.0)
    reference.start()
    reference.langevin(500.0, kelvin, rng, friction_per_ps=20.0, timestep_fs=1.0)
    found, hot, canonical = [], [], []
    for _ in range(40):
        reference.langevin(100.0, kelvin, rng, friction_per_ps=20.0, timestep_fs=1.0)
        found.append(stretch_excess(reference, kelvin, 1.0))
        canonical.append(stretch_excess(reference, kelvin, 1e-3))
        kept = reference.momenta()
        reference.draw_momenta(2 * kelvin, rng)
        hot.append(stretch_excess(reference, kelvin, 1.0))
        reference.set_momenta(kept)
    # k_B·T is also the standard deviation of a mode's energy; 100 fs keep e⁻² of it.
    error = kelvin / np.sqrt(pairs * 40) * 1.15
    assert abs(np.mean(found)) < 4 * error
    assert np.mean(canonical) > 14
    assert abs(np.mean(hot) - kelvin / 2) < 4 * 1.6 * error


def test_bonds_hold_what_is_due_whatever_pulls() -> None:
    """Soft ones, sampled exactly, under a pull of two k_B·T: the divergence of the field and the pull count."""
    kelvin, pairs, draws, constant, pull, rng = 300.0, 300, 40, 0.3, 0.05, np.random.default_rng(7)
    reference = small_systems.hydroxyls(pairs, constant, pull).reference(1e-3)
    thermal, length = units.kB * kelvin, small_systems.BOND_A
    lowest = -pull * (length + 0.5 * pull / constant)
    found = []
    for _ in range(draws):
        # p(d) ∝ exp(−(½k(|d| − r₀)² − f d_x)/k_BT), by rejection from a cube that holds all but e⁻²⁵ of it.
        d = rng.uniform(-3.3, 3.3, (400 * pairs, 3))
        energy = 0.5 * constant * (np.linalg.norm(d, axis=1) - length) ** 2 - pull * d[:, 0]
        d = d[rng.random(len(d)) < np.exp((lowest - energy) / thermal)][:pairs]
        positions = np.zeros((2 * pairs, 3))
        positions[reference.numbers == 1] = d
        momenta = np.sqrt(reference.masses[:, None] * thermal) * rng.normal(size=(2 * pairs, 3))
        reference.set(positions, momenta)
        found.append(stretch_excess(reference, kelvin, 1e-3))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(draws)
    assert np.std(found) / np.sqrt(draws) < 4


def test_without_bonds_there_is_no_excess() -> None:
    assert stretch_excess(small_systems.crystal(2).reference(), 300.0, 1.0) is None


def test_r_respa_follows_verlet() -> None:
    """1 fs against 0.25 fs over 20 fs: apart by what a step's error makes, not by a wrong force or velocity."""
    reference = small_systems.hydroxyls(20).reference()
    reference.equilibrate(300.0, np.random.default_rng(2), 0.5)
    start = reference.atoms()
    runs = []
    for integrator in (VelocityVerlet(0.25), Respa(1.0)):
        reference.set(start.positions, start.get_momenta())
        runs.append(integrator.run(reference, 20.0, 4.0, None, 1))
    one, other = (run.frames[-1] for run in runs)
    moved = np.abs(one.positions - start.positions).max()
    assert np.allclose(runs[0].times_ps, runs[1].times_ps)
    assert np.allclose(runs[0].samples.times_ps, runs[0].times_ps)
    assert np.abs(one.positions - other.positions).max() < 0.03 * moved
    assert np.abs(one.get_momenta() - other.get_momenta()).max() < 0.1 * np.abs(one.get_momenta()).max()


def test_a_step_that_is_too_long_ends_the_run_and_not_the_page() -> None:
    reference = small_systems.hydroxyls(4, periodic=False).reference()
    reference.equilibrate(300.0, np.random.default_rng(2), 0.5)
    run = VelocityVerlet(16.0).run(reference, 8000.0, 80.0, None, 1)
    assert run.stopped
    assert np.isfinite(run.frames[-1].positions).all()
    assert len(run.frames) == len(run.times_ps)


def test_reversibility_and_symplecticity_of_strides_that_are_known() -> None:
    """Velocity Verlet has none; keeping four fifths of the internal momenta takes 0.2 from Ω, 0.36 there and back."""
    rng = np.random.default_rng(3)
    atoms = ase.build.bulk("Ar", "sc", a=2.5) * (2, 2, 2)
    atoms.pbc = False
    atoms.rattle(0.02, seed=1)
    momenta = 0.06 * np.sqrt(atoms.get_masses())[:, None] * rng.normal(size=(8, 3))
    atoms.set_momenta(momenta - momenta.mean(0))
    assert symplecticity(FIXTURES / "verlet.onnx", atoms) < 2e-3
    assert max(reversibility(FIXTURES / "verlet.onnx", atoms).values()) < 1e-6
    # The runtime restores the eighth of it that is the centre of mass's.
    assert np.isclose(symplecticity(FIXTURES / "freezes.onnx", atoms), 0.2 * 7 / 8, atol=1e-3)
    assert np.isclose(reversibility(FIXTURES / "freezes.onnx", atoms)["momenta"], 0.36, atol=1e-4)


def test_atoms_of_a_slab_do_not_meet_their_own_images() -> None:
    """Along its two axes a slab is as narrow as a crystal; across it there is no limit."""
    slab = ase.build.fcc110("Al", (2, 2, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    frames = [slab.copy() for _ in range(20)]
    for frame in frames:
        frame.rattle(0.1, seed=len(frames))
    r, _ = pair_blocks(frames, ("Al", "Al"))
    shortest = slab.cell.lengths()[:2].min()
    assert r.max() < 0.5 * shortest < r.max() + 0.06
    cluster = [ase.Atoms("Al2", [[0, 0, 0], [0, 0, 6.0]])] * 20
    assert pair_blocks(cluster, ("Al", "Al"))[0].max() > 7.9


class Reluctant(small_systems.FreeAtoms):
    """Fails where an atom is far away, as graph networks do."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        if np.abs(atoms.positions).max() > 50.0:
            raise RuntimeError("isolated atoms")
        super().calculate(atoms, properties, system_changes)


def test_a_reference_that_fails_ends_the_run_and_not_the_evaluation() -> None:
    atoms = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]])
    atoms.set_momenta([[0, 0, -1.0], [0, 0, 1.0]])
    reference = ASEReference([atoms], Reluctant, 100.0, "reluctant")
    reference.set(atoms.positions, atoms.get_momenta())
    run = VelocityVerlet(100.0).run(reference, 100_000.0, 1000.0, None, seed=1)
    assert run.stopped == "isolated atoms"
    assert 0 < run.times_ps[-1] < 100
    far = run.frames[-1].copy()
    far.positions *= 10
    figures = measure_run([*run.frames, far], [*run.times_ps, 101.0], reference)
    assert figures["exploded"]
    assert figures["stable_ps"] == pytest.approx(run.times_ps[-1])


@pytest.mark.parametrize("atoms", [2, 3, 13, 100])
def test_equilibrium_is_no_explosion(atoms: int) -> None:
    """Few atoms are often more than three times as hot as their bath; many never are."""
    freedom = 3 * atoms - 3
    kelvin = 300 * np.random.default_rng(1).chisquare(freedom, 200_000) / freedom
    assert kelvin.max() < hottest_K(300.0, atoms)
    assert (kelvin.max() > 900.0) == (atoms < 10)
    assert hottest_K(300.0, 100) == 900.0
