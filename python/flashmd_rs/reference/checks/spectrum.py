"""The fastest vibration in the segments of a data file, which may be short and sparse."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
from ase import units
from scipy.optimize import nnls

from flashmd_rs._structure import F64

# Frequencies are told apart by so much, 1/cm, the highest by so much, relatively, and are looked for up to here, 1/cm:
# beyond H2's 4401.
STEP_PER_CM = 10.0
RATIO = 0.02
HIGHEST_PER_CM = 5000.0
# Higher frequencies must explain the correlations better by this root mean square, in units of those at time 0.
TOLERANCE = 0.003
# Correlations are taken over at most this time, fs, and segments.
LONGEST_LAG_FS = 128.0
MOST_SEGMENTS = 200
# Angular frequency, in ASE's unit, of one wave per centimetre.
RADIANS_PER_CM = units.invcm / units._hbar * units._e / (units.s)


def highest_per_cm(path: Path) -> float:
    """The highest frequency with significant power in the motion of any species of a data file, 1/cm.

    Velocities v and, where the file has forces, accelerations a of a species have correlations ⟨v(0)v(t)⟩ = ∫S cos ωt,
    ⟨v(0)a(t)⟩ = −∫S ω sin ωt and ⟨a(0)a(t)⟩ = ∫S ω² cos ωt with one spectral density S ≥ 0 (Wiener–Khinchin). S on a
    grid follows by non-negative least squares (Lawson & Hanson, Solving Least Squares Problems, 1974) from all three at
    the times of the frames; the highest frequency is the lowest end of the grid that twice that end does not improve
    on. As ⟨a²⟩/⟨v²⟩ is the mean of ω², frames need not resolve the fastest vibration. Without forces, differences of
    velocities take their place, and frequencies are found up to half a wave per spacing.

    Raises:
        ValueError: no segments in the file.
    """
    with h5py.File(path, "r") as file:
        spacing_fs = float(json.loads(file.attrs["recipe"])["spacing_fs"])
        numbers, count = file["numbers"][:], len(file["temperature_K"])
        if not count:
            raise ValueError(f"{path} holds no segments yet")
        root = np.sqrt(file["masses"][:])[:, None]
        chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_SEGMENTS)).astype(int))
        velocities = file["momenta"][chosen] / root
        accelerations = file["forces"][chosen] / root if "forces" in file else None
    return max(
        _highest(velocities[:, :, own], None if accelerations is None else accelerations[:, :, own], spacing_fs)
        for own in (numbers == z for z in np.unique(numbers))
    )


def fastest_period_fs(path: Path) -> float:
    """Period of the fastest vibration in a data file, fs.

    Raises:
        ValueError: no segments in the file.
    """
    return period_fs(highest_per_cm(path))


def period_fs(per_cm: float) -> float:
    """Period of a vibration of a wave number, fs."""
    return float(2 * np.pi / (RADIANS_PER_CM * per_cm) / units.fs)


def _highest(v: F64, a: F64 | None, spacing_fs: float) -> float:
    """Highest frequency (1/cm) in velocities and accelerations times √m [S, F, A, 3]."""
    lags = min(v.shape[1], 1 + max(1, int(LONGEST_LAG_FS / spacing_fs)))
    spacing = spacing_fs * units.fs
    top = HIGHEST_PER_CM if a is not None else min(HIGHEST_PER_CM, np.pi / spacing / RADIANS_PER_CM)
    grid = np.arange(STEP_PER_CM, top + STEP_PER_CM, STEP_PER_CM)
    omega = RADIANS_PER_CM * grid
    phase = omega * spacing * np.arange(lags)[:, None]
    if a is None:
        differences = np.diff(v, axis=1) / spacing
        squares = _correlation(differences, differences, min(lags, differences.shape[1]))
        response = 2 / spacing * np.sin(omega * spacing / 2)
    else:
        squares, response = _correlation(a, a, lags), omega
    equations = [(np.cos(phase), _correlation(v, v, lags)), (np.cos(phase) * response**2, squares)]
    if a is not None:
        equations.append((-np.sin(phase) * omega, 0.5 * (_correlation(v, a, lags) - _correlation(a, v, lags))))
    v_size, a_size = (np.sqrt(values[0]) for _, values in equations[:2])
    if not v_size * a_size:
        return STEP_PER_CM  # free flight, or at rest
    rows, right = [], []
    for (matrix, values), size in zip(equations, (v_size**2, a_size**2, v_size * a_size), strict=False):
        # Later lags are means over fewer pairs of frames.
        weight = np.sqrt(np.arange(v.shape[1], v.shape[1] - len(values), -1) / v.shape[1]) / size
        rows.append(weight[:, None] * matrix[: len(values)])
        right.append(weight * values)
    matrix, values = v_size**2 * np.concatenate(rows), np.concatenate(right)

    def error(count: int) -> float:
        return float(nnls(matrix[:, :count], values)[1] / np.sqrt(len(values)))

    least = int(np.searchsorted(grid[:-1], a_size / v_size / RADIANS_PER_CM)) + 1
    counts = np.unique(
        np.geomspace(least, len(grid), 1 + round(np.log(len(grid) / least) / np.log1p(RATIO))).astype(int)
    )
    enough = (n for n in counts if error(n) < error(min(2 * n, len(grid))) + TOLERANCE)
    return float(grid[next(enough) - 1])


def _correlation(first: F64, second: F64, lags: int) -> F64:
    """⟨first(0)·second(t)⟩ at t of 0, 1, … frames [lags]."""
    frames = first.shape[1]
    return np.array([np.mean(first[:, : frames - k] * second[:, k:], dtype=float) for k in range(lags)])
