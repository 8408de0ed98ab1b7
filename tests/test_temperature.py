"""Momenta and temperatures: the right distribution, the right degrees of freedom."""

import numpy as np
import pytest
from ase.units import kB
from scipy import stats

from flashmd_rs.temperature import degrees_of_freedom, draw_momenta, kinetic_energy, temperatures

MASSES = np.array([15.999, 1.008, 1.008] * 300)
SYMBOLS = np.array(["O", "H", "H"] * 300)


def test_draw_has_no_net_momentum_and_is_seeded():
    momenta = draw_momenta(MASSES, 300.0, seed=7)
    assert np.abs(momenta.sum(axis=0)).max() < 1e-10
    assert np.array_equal(momenta, draw_momenta(MASSES, 300.0, seed=7))
    assert not np.array_equal(momenta, draw_momenta(MASSES, 300.0, seed=8))


@pytest.mark.parametrize("symbol", ["O", "H"])
def test_draw_is_maxwell_boltzmann(symbol):
    """Kolmogorov–Smirnov at the 0.1 % level, with the variance m kT (1 − m/M) that zero net momentum leaves."""
    chosen = symbol == SYMBOLS
    mass = MASSES[chosen][0]
    sample = np.concatenate([draw_momenta(MASSES, 300.0, seed=s)[chosen].ravel() for s in range(20)])
    width = np.sqrt(mass * kB * 300.0 * (1 - mass / MASSES.sum()))
    assert stats.kstest(sample / width, "norm").pvalue > 1e-3


def test_mean_temperature_is_the_target():
    """Over 2 000 draws of 6 atoms, where 3N − 3 and 3N differ by a fifth: within 4 standard errors."""
    masses, symbols = MASSES[:6], SYMBOLS[:6]
    draws = [temperatures(draw_momenta(masses, 300.0, seed=s), masses, symbols) for s in range(2000)]
    for name in ("total", "O", "H"):
        values = np.array([draw[name] for draw in draws])
        assert abs(values.mean() - 300.0) < 4 * values.std() / np.sqrt(len(values)), name


def test_degrees_of_freedom_add_up():
    counts = degrees_of_freedom(MASSES, SYMBOLS)
    assert counts["total"] == 3 * 900 - 3
    assert counts["O"] + counts["H"] == pytest.approx(counts["total"], abs=1e-9)


def test_motion_of_the_whole_is_no_heat():
    momenta = draw_momenta(MASSES, 300.0, seed=1)
    moving = momenta + MASSES[:, None] * [0.0, 0.5, 0.0]
    assert temperatures(moving, MASSES, SYMBOLS)["H"] == pytest.approx(temperatures(momenta, MASSES, SYMBOLS)["H"])
    assert kinetic_energy(moving, MASSES) > kinetic_energy(momenta, MASSES)


def test_what_cannot_move_has_no_temperature():
    """Zero, and never a number that is none."""
    assert temperatures(np.ones((1, 3)), MASSES[:1], SYMBOLS[:1]) == {"total": 0.0, SYMBOLS[0]: 0.0}
    fixed = SYMBOLS == "O"
    momenta = draw_momenta(MASSES, 300.0, seed=1, fixed=fixed)
    found = temperatures(momenta, MASSES, SYMBOLS, fixed)
    assert found["O"] == 0.0
    assert found["H"] == found["total"] == pytest.approx(300.0, rel=0.2)
