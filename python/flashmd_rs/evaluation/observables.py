"""What one measures on the frames of a run: how atoms move on, and how they swing."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from scipy.ndimage import gaussian_filter1d

# Lag times of the line through a mean-square displacement, in shares of the run and in ps.
FIRST_LAG_PS, LAST_SHARE = 1.0, 0.2
LAGS = 40
# Width that the spectrum is smoothed with.
SMOOTH_PER_CM = 20.0
PER_CM_OF_PER_FS = 1e15 / (units._c * 100)


def mean_square_displacement(frames: list[Atoms], times_ps: np.ndarray, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """Lag times [L] (ps) and ⟨|r(t + lag) − r(t)|²⟩ [L] (Å²) of a species, less the motion of the centre of mass."""
    masses, chosen = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols()) == symbol
    q = np.array([f.positions[chosen] - masses @ f.positions / masses.sum() for f in frames])
    last = max(1, int(LAST_SHARE * (len(frames) - 1)))
    lags = np.unique(np.linspace(1, last, LAGS).astype(int))
    return times_ps[lags] - times_ps[0], np.array([((q[k:] - q[:-k]) ** 2).sum(-1).mean() for k in lags])


def diffusion(lags_ps: np.ndarray, msd_A2: np.ndarray) -> float | None:
    """D = slope/6 in 1e-5 cm²/s from the lags of at least 1 ps; None if there are too few."""
    late = lags_ps >= FIRST_LAG_PS
    if late.sum() < 3:
        return None
    return float(np.polyfit(lags_ps[late], msd_A2[late], 1)[0] / 6 * 10)


def vibrations(frames: list[Atoms], spacing_fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Vibrational density of states, Σ_i |FFT √m_i v_i|², area one: wavenumbers [W] (cm⁻¹) and density (cm)."""
    root = np.sqrt(frames[0].get_masses())[:, None]
    scaled = np.array([(f.get_momenta() / root).ravel() for f in frames])
    window = np.hanning(len(frames))[:, None]
    power = (np.abs(np.fft.rfft(scaled * window, axis=0)) ** 2).sum(1)
    wavenumber = np.fft.rfftfreq(len(frames), spacing_fs) * PER_CM_OF_PER_FS
    step = wavenumber[1]
    smooth = gaussian_filter1d(power, SMOOTH_PER_CM / step)
    return wavenumber, smooth / (smooth.sum() * step)


def highest(wavenumber: np.ndarray, density: np.ndarray, beyond: float) -> float | None:
    """Position of the highest peak beyond a wavenumber, cm⁻¹; None where the spectrum does not reach that far."""
    inside = wavenumber >= beyond
    if inside.sum() < 10:
        return None
    k = int(np.argmax(np.where(inside, density, 0.0)))
    return float(wavenumber[k])
