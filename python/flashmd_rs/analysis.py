"""Structure of a liquid or solid, from frames; means of what a run measured, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs import _checks
from flashmd_rs._structure import F64
from flashmd_rs.errors import InputError
from flashmd_rs.neighbors import neighbor_list

if TYPE_CHECKING:
    import ase

# Independent values below which a standard error means nothing.
FEWEST = 5


def radial_distribution(
    frames: Sequence[ase.Atoms], pair: tuple[str, str], *, r_max_A: float = 8.0, bin_A: float = 0.05
) -> tuple[F64, F64]:
    """Radial distribution function g(r) of two species, averaged over frames.

    Args:
        frames: structures, periodic along every axis, all of the same species.
        pair: chemical symbols of centre and neighbour.
        r_max_A: largest distance, Å (may exceed half the box: periodic images are counted).
        bin_A: width of a bin, Å.

    Returns:
        Bin centres [B] in Å and g [B].

    Raises:
        InputError: no frames, a number out of its range, an axis that is not periodic, or a species that is missing.
    """
    if not frames:
        raise InputError("no frames to average over")
    r_max_A, bin_A = _checks.positive("r_max_A", r_max_A, "Å"), _checks.positive("bin_A", bin_A, "Å")
    if bin_A > r_max_A:
        raise InputError(f"got bin_A={bin_A:g}, wider than r_max_A={r_max_A:g}: wanted several bins")
    edges = np.arange(0.0, r_max_A + 0.5 * bin_A, bin_A)
    symbols = np.array(frames[0].get_chemical_symbols())
    centre, neighbor = symbols == pair[0], symbols == pair[1]
    pairs = centre.sum() * neighbor.sum() - (centre.sum() if pair[0] == pair[1] else 0)
    if pairs == 0:
        raise InputError(f"no {pair[0]}–{pair[1]} pairs in a structure of {', '.join(sorted(set(symbols.tolist())))}")
    total = np.zeros(len(edges) - 1)
    for frame in frames:
        if not frame.pbc.all():
            raise InputError("g(r) needs a structure that is periodic along every axis")
        i, j, d = neighbor_list("ijd", frame, float(edges[-1]))
        counts, _ = np.histogram(d[centre[i] & neighbor[j]], edges)
        total += counts * frame.get_volume() / pairs
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return 0.5 * (edges[1:] + edges[:-1]), total / shells / len(frames)


def first_peak(r: F64, g: F64) -> tuple[float, float]:
    """Position (Å) and height of the highest peak of g(r), from a parabola through its three highest bins."""
    k = int(np.clip(np.argmax(g), 1, len(g) - 2))
    left, top, right = g[k - 1 : k + 2]
    curvature = left - 2.0 * top + right
    shift = 0.0 if curvature == 0.0 else 0.5 * (left - right) / curvature
    return float(r[k] + shift * (r[1] - r[0])), float(top - 0.25 * (left - right) * shift)


def mean_and_error(series: F64) -> tuple[float, float | None]:
    """Mean of a stationary series [F] and its standard error, values that follow each other being alike.

    The error is √(variance/F·g) with the statistical inefficiency g = 1 + 2·Σ ρ(t), summed over lag times t up to
    W = 5·g/2 (Madras and Sokal, J. Stat. Phys. 50, 109 (1988)), times √(1 + (2W + 1)/F) for what the subtraction of the
    series' own mean takes away (Wolff, Comput. Phys. Commun. 156, 143 (2004), eq. 49). It is None for fewer than
    :data:`FEWEST` independent values.
    """
    count, mean = len(series), float(np.mean(series))
    rest = np.asarray(series, dtype=float) - mean
    variance = float(rest @ rest) / count
    if count < FEWEST:
        return mean, None
    if variance == 0.0:
        return mean, 0.0
    correlation = np.fft.irfft(np.abs(np.fft.rfft(rest, 2 * count)) ** 2)[:count] / (variance * count)
    inefficiency = 2.0 * np.cumsum(correlation) - 1.0
    window = int(np.argmax(np.arange(count) >= 2.5 * inefficiency))
    independent = count / max(float(inefficiency[window]), 1.0)
    unbiased = variance * (1.0 + (2.0 * window + 1.0) / count)
    return mean, (unbiased / independent) ** 0.5 if independent >= FEWEST else None
