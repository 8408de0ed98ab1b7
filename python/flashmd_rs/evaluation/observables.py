"""Observables of the frames of a run: diffusion and vibrations."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from scipy.ndimage import gaussian_filter1d

from flashmd_rs._structure import F64

# A diffusion coefficient is fitted to lag times from FIRST_LAG_PS up to the share LAST_SHARE of the run.
FIRST_LAG_PS, LAST_SHARE = 1.0, 0.2
# Number of lag times of a mean-square displacement.
LAGS = 40
# Width of the Gaussian that smooths a spectrum.
SMOOTH_PER_CM = 20.0
PER_CM_OF_PER_FS = 1e15 / (units._c * 100)


def mean_square_displacement(frames: list[Atoms], times_ps: F64, symbol: str) -> tuple[F64, F64]:
    """Mean-square displacement ⟨|r(t + lag) − r(t)|²⟩ of a species, less the motion of the centre of mass.

    Args:
        frames: frames with unwrapped positions.
        times_ps: their times, evenly spaced, ps.
        symbol: the species.

    Returns:
        Lag times [L], ps, and mean-square displacements [L], Å².
    """
    masses, chosen = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols()) == symbol
    q = np.array([frame.positions[chosen] - masses @ frame.positions / masses.sum() for frame in frames])
    last = max(1, int(LAST_SHARE * (len(frames) - 1)))
    lags = np.unique(np.linspace(1, last, LAGS).astype(int))
    return times_ps[lags] - times_ps[0], np.array([((q[lag:] - q[:-lag]) ** 2).sum(-1).mean() for lag in lags])


def diffusion(lags_ps: F64, msd_A2: F64) -> float | None:
    """Diffusion coefficient D = slope/6 in 1e-5 cm²/s, from lags of at least 1 ps; None for fewer than three lags."""
    late = lags_ps >= FIRST_LAG_PS
    if late.sum() < 3:
        return None
    return float(np.polyfit(lags_ps[late], msd_A2[late], 1)[0] / 6 * 10)


def vibrations(frames: list[Atoms], spacing_fs: float) -> tuple[F64, F64]:
    """Vibrational density of states, Σ_i |FFT √m_i v_i|², normalised to area one.

    Returns:
        Wavenumbers [W], cm⁻¹, and density [W], cm.
    """
    root = np.sqrt(frames[0].get_masses())[:, None]
    scaled = np.array([(frame.get_momenta() / root).ravel() for frame in frames])
    window = np.hanning(len(frames))[:, None]
    power = (np.abs(np.fft.rfft(scaled * window, axis=0)) ** 2).sum(1)
    wavenumber: F64 = np.fft.rfftfreq(len(frames), spacing_fs).astype(float) * PER_CM_OF_PER_FS
    step = wavenumber[1]
    smooth = gaussian_filter1d(power, SMOOTH_PER_CM / step)
    return wavenumber, smooth / (smooth.sum() * step)


def highest_peak(wavenumber: F64, density: F64, beyond: float) -> float | None:
    """Wavenumber of the highest peak beyond a limit, cm⁻¹; None if the spectrum does not reach that far."""
    inside = wavenumber >= beyond
    if inside.sum() < 10:
        return None
    return float(wavenumber[int(np.argmax(np.where(inside, density, 0.0)))])
