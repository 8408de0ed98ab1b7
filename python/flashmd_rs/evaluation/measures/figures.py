"""Structure and motion of one run as plain figures: distributions by block, mean-square displacements, diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from flashmd_rs._structure import F64
from flashmd_rs.analysis import first_peak
from flashmd_rs.evaluation.measures.observables import (
    Dihedral,
    diffusion,
    dihedral_blocks,
    dihedral_map,
    internal_positions,
    mean_square_displacement,
    pair_blocks,
    pairs_of,
    species_of,
    successive,
)
from flashmd_rs.evaluation.results import RunFigures

# Frames of a run from which structure is taken, at most; more of small systems, up to so many atoms in all of them.
STRUCTURE_FRAMES, STRUCTURE_ATOMS = 200, 200_000
# Significant digits of curves.
DIGITS = 5


def motion_figures(frames: list[Atoms], times_ps: F64) -> RunFigures:
    """Mean-square displacement and diffusion coefficient by species."""
    positions = internal_positions(frames)
    msd, coefficients = {}, {}
    for symbol, mask in species_of(frames[0]).items():
        lags, blocks = mean_square_displacement(positions[:, mask], times_ps)
        msd[symbol], coefficients[symbol] = rounded(blocks.mean(0)), diffusion(lags, blocks)
    return {"lags_ps": lags.tolist(), "msd_A2": msd, "diffusion": coefficients}


def structure_figures(frames: list[Atoms], dihedrals: Sequence[Dihedral] = ()) -> RunFigures:
    """Distributions of pairs and of dihedral angles, by block."""
    most = max(STRUCTURE_FRAMES, STRUCTURE_ATOMS // len(frames[0]))
    chosen = frames[:: -(-len(frames) // most)]
    pairs = {}
    for pair in pairs_of(frames[0]):
        r, blocks = pair_blocks(chosen, pair)
        pairs["–".join(pair)] = {
            "r_A": rounded(r),
            "blocks": rounded(blocks),
            "peak_A": first_peak(r, blocks.mean(0))[0],
        }
    angles = {}
    for dihedral in dihedrals:
        degrees, blocks = dihedral_blocks(frames, dihedral)
        angles[",".join(map(str, dihedral))] = {"degrees": rounded(degrees), "blocks": rounded(blocks)}
    maps = {}
    for first, second in successive(dihedrals):
        degrees, blocks = dihedral_map(frames, first, second)
        name = " and ".join(",".join(map(str, dihedral)) for dihedral in (first, second))
        maps[name] = {"degrees": rounded(degrees), "blocks": rounded(blocks)}
    return {"pairs": pairs, "periodic": bool(frames[0].pbc.all()), "dihedrals": angles, "dihedral_maps": maps}


def rounded(values: F64) -> Any:
    """Values as lists, with :data:`DIGITS` significant digits."""
    return np.vectorize(lambda x: float(f"{x:.{DIGITS}g}"), otypes=[float])(values).tolist()
