"""Radial distribution functions with known answers."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from flashmd_rs import InputError
from flashmd_rs.analysis import first_peak, radial_distribution


def test_ideal_gas_is_flat():
    """2 × 20 frames of 400 random points, beyond half the box too: 1 within 2 % where bins hold enough."""
    rng = np.random.default_rng(0)
    frames = [
        Atoms(["O", "H"] * 200, positions=rng.uniform(0, 12, (400, 3)), cell=[12, 12, 12], pbc=True) for _ in range(20)
    ]
    for pair in (("O", "O"), ("O", "H")):
        r, g = radial_distribution(frames, pair, r_max_A=8.0, bin_A=0.2)
        assert g[r > 2].mean() == pytest.approx(1.0, abs=0.02)
        assert np.abs(g[r > 4] - 1).max() < 0.05


def test_crystal_shells_hold_their_atoms():
    """The integral over the first peak of fcc is 12."""
    atoms = bulk("Al", cubic=True) * 3
    atoms.rattle(0.02, seed=1)
    r, g = radial_distribution([atoms], ("Al", "Al"), r_max_A=5.0, bin_A=0.05)
    shell = (r > 2.4) & (r < 3.4)
    density = (len(atoms) - 1) / atoms.get_volume()
    volumes = 4 / 3 * np.pi * ((r + 0.025) ** 3 - (r - 0.025) ** 3)
    assert np.sum(volumes[shell] * g[shell]) * density == pytest.approx(12)
    assert first_peak(r, g)[0] == pytest.approx(2.863, abs=0.03)


def test_first_peak_of_a_parabola_is_exact():
    r = np.arange(0, 5, 0.1)
    position, height = first_peak(r, 3.0 - (r - 2.73) ** 2)
    assert (position, height) == (pytest.approx(2.73), pytest.approx(3.0))


def test_bad_arguments():
    with pytest.raises(InputError, match="no frames"):
        radial_distribution([], ("O", "O"))
    with pytest.raises(InputError, match="no Cu–Cu pairs"):
        radial_distribution([bulk("Al", cubic=True)], ("Cu", "Cu"))
    with pytest.raises(InputError, match="periodic along every axis"):
        radial_distribution([Atoms("Al2", positions=[[0, 0, 0], [2, 0, 0]])], ("Al", "Al"))
