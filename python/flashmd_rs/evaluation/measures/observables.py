"""Observables of the frames of a run, by species and by pairs of them: diffusion, vibrations, structure, dihedrals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from flashmd_rs._structure import F64
from flashmd_rs.analysis import radial_distribution
from flashmd_rs.evaluation.estimates import BLOCKS, Estimate, of_blocks
from flashmd_rs.neighbors import neighbor_list

# Four atoms.
Dihedral = tuple[int, int, int, int]

# A diffusion coefficient is fitted to lag times from FIRST_LAG_PS up to the share LAST_SHARE of the run.
FIRST_LAG_PS, LAST_SHARE = 1.0, 0.1
# Number of lag times of a mean-square displacement, and of blocks of origins that give its error.
LAGS, ORIGIN_BLOCKS = 40, 5
# Width of the Gaussian that smooths a spectrum.
SMOOTH_PER_CM = 20.0
PER_CM_OF_PER_FS = 1e15 / (units._c * 100)
# Distances of pairs go up to this, or to half of the cell.
LARGEST_DISTANCE_A, BIN_A = 8.0, 0.05
# Pairs are those of the most abundant species.
MOST_SPECIES = 3
# Bins of each angle of a map of two dihedral angles.
MAP_BINS = 36
# Bins of a dihedral angle.
DIHEDRAL_BINS = 36


def species_of(atoms: Atoms) -> dict[str, NDArray[np.bool_]]:
    """Atoms of each species, as masks [A]."""
    symbols = np.array(atoms.get_chemical_symbols())
    return {symbol: symbols == symbol for symbol in sorted(set(symbols.tolist()))}


def internal_positions(frames: list[Atoms]) -> F64:
    """Unwrapped positions less the centre of mass [F, A, 3], Å."""
    masses = frames[0].get_masses()
    return np.array([frame.positions - masses @ frame.positions / masses.sum() for frame in frames])


def mean_square_displacement(positions: F64, times_ps: F64) -> tuple[F64, F64]:
    """Mean-square displacement ⟨|r(t + lag) − r(t)|²⟩, over blocks of successive origins t.

    Args:
        positions: unwrapped, of one species [F, A, 3], Å.
        times_ps: evenly spaced [F], ps.

    Returns:
        Lag times [L], ps, and mean-square displacements by block [:data:`ORIGIN_BLOCKS`, L], Å².
    """
    last = max(1, int(LAST_SHARE * (len(positions) - 1)))
    lags = np.unique(np.linspace(1, last, LAGS).astype(int))
    by_origin = [((positions[lag:] - positions[:-lag]) ** 2).sum(-1).mean(-1) for lag in lags]
    blocks = [[part.mean() for part in np.array_split(squares, ORIGIN_BLOCKS)] for squares in by_origin]
    return times_ps[lags] - times_ps[0], np.array(blocks).T


def diffusion(lags_ps: F64, msd_A2: F64) -> Estimate | None:
    """Diffusion coefficient D = slope/6 of blocks [B, L], 1e-5 cm²/s; None for fewer than three lags from 1 ps on."""
    late = lags_ps >= FIRST_LAG_PS
    if late.sum() < 3:
        return None
    return of_blocks(np.polyfit(lags_ps[late], msd_A2[:, late].T, 1)[0] / 6 * 10)


def vibrations(momenta: F64, masses: F64, spacing_fs: float) -> tuple[F64, F64]:
    """Vibrational density of states, Σ_i |FFT √m_i v_i|², normalised to area one.

    Args:
        momenta: [F, A, 3], √(eV·u).
        masses: [A], u.
        spacing_fs: time between frames, fs.

    Returns:
        Wavenumbers [W], cm⁻¹, and density [W], cm.
    """
    scaled = (momenta / np.sqrt(masses)[:, None]).reshape(len(momenta), -1)
    power = (np.abs(np.fft.rfft(scaled * np.hanning(len(momenta))[:, None], axis=0)) ** 2).sum(1)
    wavenumber: F64 = np.fft.rfftfreq(len(momenta), spacing_fs).astype(float) * PER_CM_OF_PER_FS
    step = wavenumber[1]
    smooth = gaussian_filter1d(power, SMOOTH_PER_CM / step)
    return wavenumber, smooth / (smooth.sum() * step)


def pairs_of(atoms: Atoms) -> list[tuple[str, str]]:
    """All pairs of the species, of the three most abundant where there are more, that the structure has."""
    counts = Counter(atoms.get_chemical_symbols())
    species = sorted(symbol for symbol, _ in counts.most_common(MOST_SPECIES))
    return [(a, b) for a, b in combinations_with_replacement(species, 2) if a != b or counts[a] > 1]


def pair_blocks(frames: list[Atoms], pair: tuple[str, str]) -> tuple[F64, F64]:
    """Distribution of the distances of a pair of species, by block of successive frames.

    It is g(r) where the frames are periodic along every axis, and elsewhere :func:`neighbor_density`.

    Returns:
        Distances [B], Å, and distributions [:data:`~flashmd_rs.evaluation.estimates.BLOCKS`, B].
    """
    periodic = frames[0].pbc
    # Beyond half of the cell an atom would meet its own image.
    widths = 1 / np.linalg.norm(np.linalg.inv(frames[0].cell.complete().array), axis=0)
    largest = min(LARGEST_DISTANCE_A, 0.5 * float(widths[periodic].min(initial=np.inf)))
    distribution = radial_distribution if periodic.all() else neighbor_density
    chosen = np.array_split(np.arange(len(frames)), BLOCKS)
    found = [distribution([frames[k] for k in block], pair, r_max_A=largest, bin_A=BIN_A) for block in chosen]
    return found[0][0], np.array([values for _, values in found])


def neighbor_density(
    frames: list[Atoms], pair: tuple[str, str], *, r_max_A: float, bin_A: float = BIN_A
) -> tuple[F64, F64]:
    """Mean number of neighbours of an atom per distance, 1/Å: what slabs and clusters have in place of g(r).

    Args:
        frames: structures of the same species.
        pair: species of centre and neighbour.
        r_max_A: largest distance, Å.
        bin_A: width of a bin, Å.

    Returns:
        Bin centres [B], Å, and neighbours per Å [B].
    """
    edges = np.arange(0.0, r_max_A + 0.5 * bin_A, bin_A)
    masks, total = species_of(frames[0]), np.zeros(len(edges) - 1)
    for frame in frames:
        i, j, d = neighbor_list("ijd", frame, float(edges[-1]))
        total += np.histogram(d[masks[pair[0]][i] & masks[pair[1]][j]], edges)[0]
    return 0.5 * (edges[1:] + edges[:-1]), total / len(frames) / masks[pair[0]].sum() / bin_A


def dihedral_blocks(frames: list[Atoms], dihedral: Dihedral) -> tuple[F64, F64]:
    """Distribution of a dihedral angle by block of successive frames.

    Returns:
        Angles [D], degrees from −180 to 180, and densities [B, D], 1/degree.
    """
    angles = dihedral_angles(frames, dihedral)
    edges = np.linspace(-180.0, 180.0, DIHEDRAL_BINS + 1)
    blocks = [np.histogram(block, edges, density=True)[0] for block in np.array_split(angles, BLOCKS)]
    return 0.5 * (edges[1:] + edges[:-1]), np.array(blocks)


def dihedral_angles(frames: list[Atoms], dihedral: Dihedral) -> F64:
    """A dihedral angle of every frame, degrees from −180 to 180."""
    angles = np.array([frame.get_dihedral(*dihedral, mic=bool(frame.pbc.any())) for frame in frames])
    return (angles + 180.0) % 360.0 - 180.0


def dihedral_map(frames: list[Atoms], first: Dihedral, second: Dihedral) -> tuple[F64, F64]:
    """Joint distribution of two dihedral angles by block of successive frames, such as a Ramachandran map.

    Returns:
        Angles [:data:`MAP_BINS`], degrees from −180 to 180, and shares of the frames [B, M, M], the first angle first.
    """
    edges = np.linspace(-180.0, 180.0, MAP_BINS + 1)
    both = np.stack([dihedral_angles(frames, dihedral) for dihedral in (first, second)], 1)
    blocks = [np.histogramdd(block, (edges, edges))[0] / len(block) for block in np.array_split(both, BLOCKS)]
    return 0.5 * (edges[1:] + edges[:-1]), np.array(blocks)


def successive(dihedrals: Sequence[Dihedral]) -> list[tuple[Dihedral, Dihedral]]:
    """Pairs of dihedral angles of which the second begins at the first's second atom, as ψ at φ's."""
    return [(one, other) for one in dihedrals for other in dihedrals if one[1:] == other[:3]]
