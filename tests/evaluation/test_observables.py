"""What the evaluation measures, against motion whose answer is known."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np
import openmm
from ase import units
from scipy.stats import norm
from systems import example

from flashmd_rs.evaluation.bond_energy import stretch_excess
from flashmd_rs.evaluation.estimates import at_mean_energies, slope
from flashmd_rs.evaluation.integrators import Respa, VelocityVerlet
from flashmd_rs.evaluation.momenta import departure
from flashmd_rs.evaluation.observables import diffusion, highest_peak, mean_square_displacement, vibrations
from flashmd_rs.evaluation.page import equipartition_table
from flashmd_rs.evaluation.symplecticity import reversibility, symplecticity
from flashmd_rs.reference.openmm_system import EV_PER_KJ_MOL, OpenMMReference

# Force constant (eV/Å²) and length (Å) of the bonds of flexible TIP3P.
OH_BOND = (462750.4 * 0.01 * EV_PER_KJ_MOL, 0.9572)
FIXTURES = Path(__file__).parents[1] / "fixtures"


def walk(frames: np.ndarray, symbols: str) -> list[ase.Atoms]:
    return [ase.Atoms(symbols, q) for q in frames]


def test_a_random_walk_diffuses_as_it_was_told() -> None:
    """⟨Δq²⟩ = 6 D t, also where the centre of mass moves along."""
    rng, steps, atoms, step_ps, wanted = np.random.default_rng(0), 2000, 300, 0.05, 2.5
    width = np.sqrt(2 * 0.1 * wanted * step_ps)  # 1e-5 cm²/s is 0.1 Å²/ps
    q = np.cumsum(width * rng.normal(size=(steps, atoms, 3)), 0) + 0.3 * np.arange(steps)[:, None, None]
    lags, msd = mean_square_displacement(walk(q, f"O{atoms}"), step_ps * np.arange(steps), "O")
    assert np.isclose(diffusion(lags, msd), wanted, rtol=0.05)
    assert diffusion(lags[lags < 0.5], msd[lags < 0.5]) is None


def test_a_swing_shows_at_its_frequency() -> None:
    spacing, wavenumber = 2.0, 3500.0
    times = spacing * np.arange(2000)
    momenta = np.sin(2 * np.pi * times * wavenumber * units._c * 100 * 1e-15)
    frames = [ase.Atoms("H2", np.zeros((2, 3)), momenta=[[p, 0, 0], [-p, 0, 0]]) for p in momenta]
    found, density = vibrations(frames, spacing)
    assert abs(highest_peak(found, density, 2500.0) - wavenumber) < 10
    assert np.isclose(density.sum() * found[1], 1.0)
    assert highest_peak(*vibrations(frames[::8], 8 * spacing), 2500.0) is None


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
        fit, error = slope({"trace": {"times_ps": times.tolist(), "energy_eV": energy.tolist()}, "stable_ps": 50.0})
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
        found, error = (float(number) for number in at_mean_energies(runs, values).split(" ± "))
        off.append((found - 150, error))
        of_means.append(np.mean(list(values.values())) - 150)
    errors, said = np.array(off).T
    assert np.std(of_means) / np.std(errors) > 4
    assert 0.9 < np.std(errors / said) < 1.3  # of Student's t with nine degrees of freedom: 1.13
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 20
    unknown = [dict(run, stretch_excess_K=None) if run["start"] > 6 else run for run in runs]
    assert at_mean_energies(unknown, values) == "–"


class Hydroxyls(OpenMMReference):
    """OH pairs that do not feel each other, every second one written HO, each at the face of its box and split by it.

    ``pull``: a force on each H, eV/Å.
    """

    def __init__(self, pairs: int, constant: float, pull: float, timestep_fs: float) -> None:
        system, bonds = openmm.System(), openmm.HarmonicBondForce()
        outside = openmm.CustomExternalForce(f"{-pull * 10 / EV_PER_KJ_MOL} * x")
        bonds.setUsesPeriodicBoundaryConditions(True)
        for k in range(pairs):
            for at, mass in enumerate((16.0, 1.0) if k % 2 else (1.0, 16.0)):
                system.addParticle(mass)
                if mass == 1.0:
                    outside.addParticle(2 * k + at, [])
            bonds.addBond(2 * k, 2 * k + 1, 0.1 * OH_BOND[1], 100 * constant / EV_PER_KJ_MOL)
        system.addForce(bonds)
        system.addForce(outside)
        # The first pair is HO, the second OH, and so on.
        atoms = ase.Atoms([1, 8, 8, 1] * (pairs // 2), cell=200.0 * np.eye(3), pbc=True)
        super().__init__(system, [atoms], timestep_fs)
        self.hydrogens = self.masses == 1.0

    def start(self, structure: int = 0) -> None:
        positions = np.zeros((len(self.masses), 3))
        positions[self.hydrogens] = [0.0, 0.0, OH_BOND[1] - self.cell[2, 2]]
        self.set(positions, np.zeros_like(positions))


def test_bonds_hold_what_a_bath_gives_them() -> None:
    """Stiff ones in a bath of 1 fs, which stretches them by 14 % of k_B·T; then at twice the temperature."""
    kelvin, pairs, rng = 300.0, 300, np.random.default_rng(6)
    reference = Hydroxyls(pairs, OH_BOND[0], pull=0.0, timestep_fs=1.0)
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
    reference = Hydroxyls(pairs, constant, pull, timestep_fs=1e-3)
    thermal, length = units.kB * kelvin, OH_BOND[1]
    lowest = -pull * (length + 0.5 * pull / constant)
    found = []
    for _ in range(draws):
        # p(d) ∝ exp(−(½k(|d| − r₀)² − f d_x)/k_BT), by rejection from a cube that holds all but e⁻²⁵ of it.
        d = rng.uniform(-3.3, 3.3, (400 * pairs, 3))
        energy = 0.5 * constant * (np.linalg.norm(d, axis=1) - length) ** 2 - pull * d[:, 0]
        d = d[rng.random(len(d)) < np.exp((lowest - energy) / thermal)][:pairs]
        positions = np.zeros((2 * pairs, 3))
        positions[reference.hydrogens] = d
        momenta = np.sqrt(reference.masses[:, None] * thermal) * rng.normal(size=(2 * pairs, 3))
        reference.set(positions, momenta)
        found.append(stretch_excess(reference, kelvin, 1e-3))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(draws)
    assert np.std(found) / np.sqrt(draws) < 4


def test_without_bonds_there_is_no_excess() -> None:
    assert stretch_excess(example("aluminium").reference(), 300.0, 1.0) is None


def test_r_respa_follows_verlet() -> None:
    """1 fs against 0.25 fs over 20 fs: apart by what a step's error makes, not by a wrong force or velocity."""
    reference = example("water", molecules=64).reference()
    reference.equilibrate(300.0, np.random.default_rng(2), 0.5)
    start = reference.atoms()
    runs = []
    for integrator in (VelocityVerlet(0.25), Respa(1.0)):
        reference.set(start.positions, start.get_momenta())
        runs.append(integrator.run(reference, 20.0, 4.0, None, 1))
    one, other = (run.frames[-1] for run in runs)
    moved = np.abs(one.positions - start.positions).max()
    assert np.allclose(runs[0].times_ps, runs[1].times_ps)
    assert np.abs(one.positions - other.positions).max() < 0.03 * moved
    assert np.abs(one.get_momenta() - other.get_momenta()).max() < 0.1 * np.abs(one.get_momenta()).max()


def test_a_step_that_is_too_long_ends_the_run_and_not_the_page() -> None:
    reference = example("water", molecules=64).reference()
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
