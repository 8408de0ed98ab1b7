"""What the evaluation measures, against motion whose answer is known."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np
import openmm
import pytest
from ase import units

from flashmd_train.data.openmm_reference import EV_PER_KJ_MOL, OpenMMReference
from flashmd_train.data.recipe import Recipe
from flashmd_train.data.water import TIP3P_BOND, Water
from flashmd_train.studies.evaluation_page import at_no_excess, equipartition_table, slope
from flashmd_train.studies.movers import Respa, Verlet
from flashmd_train.studies.observables import diffusion, highest, mean_square_displacement, vibrations
from flashmd_train.studies.ranking import _row
from flashmd_train.studies.stretches import stretch_excess

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"


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
    assert abs(highest(found, density, 2500.0) - wavenumber) < 10
    assert np.isclose(density.sum() * found[1], 1.0)
    assert highest(*vibrations(frames[::8], 8 * spacing), 2500.0) is None


def test_a_drift_is_found_within_its_error() -> None:
    rng, times = np.random.default_rng(1), np.linspace(0, 50, 200)
    off = []
    for _ in range(100):
        energy = 0.02 * times + 0.1 * rng.normal(size=200)
        fit, error = slope(dict(trace=dict(times_ps=times.tolist(), energy_eV=energy.tolist()), stable_ps=50.0))
        off.append((fit - 0.02) / error)
    assert 0.8 < np.std(off) < 1.5  # of Student's t with eight degrees of freedom: 1.15


def test_the_last_half_of_a_drift_is_told_from_the_whole() -> None:
    times = np.linspace(0, 50, 200)
    bent = np.maximum(0.0, times - 25.0) * 0.02
    run = dict(trace=dict(times_ps=times.tolist(), energy_eV=bent.tolist()), stable_ps=50.0)
    assert np.isclose(slope(run, last=0.5)[0], 0.02)
    assert 0.005 < slope(run)[0] < 0.015


def test_what_a_start_has_of_its_own_cancels_against_verlet() -> None:
    """Hydrogen 12, 8, 10 K above oxygen in Verlet's runs, and 1 K less than that in each of the others."""

    def runs(name: str, apart: list[float]) -> list[dict]:
        halves = [{"total": 300.0, "H": 300.0 + a, "O": 300.0} for a in apart]
        wholes = [{"total": 300.0, "H": 301.0 + a, "O": 300.0} for a in apart]
        return [dict(name=name, temperature_K=t, whole_temperature_K=w) for t, w in zip(halves, wholes)]

    lines = equipartition_table({"verlet:0.5": runs("Verlet", [12, 8, 10]), "m": runs("m", [11, 7, 9])})
    assert lines[2] == "| Verlet | -11.0 ± 1.2 | – | – | -10.0 ± 1.2 | – | – |"
    assert lines[3] == "| m | -10.0 ± 1.2 | +1.0 ± 0.0 | – | -9.0 ± 1.2 | +1.0 ± 0.0 | – |"


def test_what_hot_bonds_do_is_taken_out() -> None:
    """y = 1.5 − 0.4 x + noise: the mean of few starts is off by their x, the regression's intercept is not."""
    rng, off = np.random.default_rng(5), []
    for _ in range(200):
        excess = 13 * rng.normal(size=8)
        values = 1.5 - 0.4 * excess + rng.normal(size=8)
        text = at_no_excess([dict(stretch_excess_K=float(x)) for x in excess], values.tolist())
        found, error = (float(number) for number in text.split(" ± "))
        off.append((found - 1.5) / error)
    assert abs(np.mean(off)) < 0.3
    assert np.std(off) < 1.6  # of Student's t with six degrees of freedom: 1.2
    assert at_no_excess([dict(stretch_excess_K=1.0)] * 4, [1.0] * 4) == "–"


class Pairs(OpenMMReference):
    """Bonded pairs that do not feel each other."""

    def start(self, rng: np.random.Generator) -> None:
        raise NotImplementedError


def oxygen_hydrogen(pairs: int) -> OpenMMReference:
    """OH on a line."""
    system, (constant, length) = openmm.System(), TIP3P_BOND
    force = openmm.HarmonicBondForce()
    force.setUsesPeriodicBoundaryConditions(True)
    for k in range(pairs):
        # Either way round, so that the light end has to be found.
        for mass in (16.0, 1.0)[:: 1 if k % 2 else -1]:
            system.addParticle(mass)
        force.addBond(2 * k, 2 * k + 1, 0.1 * length, 100 * constant / EV_PER_KJ_MOL)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*(np.diag([pairs, 2.0, 2.0])))
    return Pairs(system, [1, 8] * pairs, timestep_fs=0.5)


@pytest.mark.parametrize("step_fs", [1e-3, 1.0])
def test_bonds_hold_what_is_due_to_them(step_fs: float) -> None:
    """Sampled exactly, as the bath of a step leaves them; then with their momenta at twice the temperature."""
    kelvin, pairs, draws, (constant, length), rng = 300.0, 300, 25, TIP3P_BOND, np.random.default_rng(6)
    reference = oxygen_hydrogen(pairs)
    squeezed = 1 - constant * (1 + 1 / 16) * (0.5 * step_fs * units.fs) ** 2
    width = np.sqrt(units.kB * kelvin / constant / squeezed)
    found: dict[float, list[float]] = {1.0: [], 2.0: []}
    for _ in range(draws):
        # p(r) ∝ r² exp(−(r − r₀)²/2w²), by rejection.
        r = length + width * rng.normal(size=20 * pairs)
        r = r[rng.random(len(r)) < (r / (length + 6 * width)) ** 2][:pairs]
        away = rng.normal(size=(pairs, 3))
        q = np.zeros((pairs, 2, 3))
        q[:, :, 0] = 10.0 * np.arange(pairs)[:, None]
        q[:, 1] += r[:, None] * away / np.linalg.norm(away, axis=1)[:, None]
        for hotter in found:
            p = np.sqrt(reference.masses[:, None] * units.kB * kelvin * hotter) * rng.normal(size=(2 * pairs, 3))
            reference.set(q.reshape(-1, 3), p)
            found[hotter].append(stretch_excess(reference, kelvin, step_fs))
    # k_B·T is also the standard deviation of a mode's energy.
    error = kelvin / np.sqrt(pairs * draws)
    assert abs(np.mean(found[1.0])) < 4 * error
    assert abs(np.mean(found[2.0]) - kelvin / 2) < 6 * error
    assert 0.6 < np.std(found[1.0]) / (error * np.sqrt(draws)) < 1.5


def test_without_bonds_there_is_no_excess() -> None:
    aluminium = Recipe.of("aluminium", size=3).build()
    assert stretch_excess(aluminium, 300.0, 1.0) is None


def test_r_respa_follows_verlet() -> None:
    """1 fs against 0.25 fs over 20 fs: apart by what a step's error makes, not by a wrong force or velocity."""
    reference = Water(64)
    reference.equilibrate(300.0, np.random.default_rng(2), 0.5)
    start = reference.atoms()
    runs = []
    for mover in (Verlet(0.25), Respa(1.0)):
        reference.set(start.positions, start.get_momenta())
        runs.append(mover.run(reference, 20.0, 4.0, None, 1))
    one, other = (run.frames[-1] for run in runs)
    moved = np.abs(one.positions - start.positions).max()
    assert np.allclose(runs[0].times_ps, runs[1].times_ps)
    assert np.abs(one.positions - other.positions).max() < 0.03 * moved
    assert np.abs(one.get_momenta() - other.get_momenta()).max() < 0.1 * np.abs(one.get_momenta()).max()


def test_a_step_that_is_too_long_ends_the_run_and_not_the_page() -> None:
    reference = Water(64)
    reference.equilibrate(300.0, np.random.default_rng(2), 0.5)
    run = Verlet(16.0).run(reference, 8000.0, 80.0, None, 1)
    assert run.stopped
    assert np.isfinite(run.frames[-1].positions).all()
    assert len(run.frames) == len(run.times_ps)


def test_defects_of_strides_that_are_known() -> None:
    """Velocity Verlet has none; keeping four fifths of the internal momenta takes 0.2 from Ω, 0.36 there and back."""
    pytest.importorskip("flashmd_rs")
    from flashmd_train.studies.defects import reversibility, symplecticity

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


def test_an_uncertainty_that_is_the_error_ranks_it_perfectly() -> None:
    rng = np.random.default_rng(4)
    found = [np.repeat(rng.random((1, 2, 30)) * scale, 2, 0) for scale in (1.0, 2.0, 3.0)]
    assert _row("x", "300", found).endswith("| 1.00 | 1.00 | 1.00 |")
