"""Kinds of bonds and angles of a data set, with constants fitted to its forces.

What they leave of the forces decides how long a stride can be. Torsions and what acts between molecules are slow and
left to the network.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from ase import units
from scipy.optimize import least_squares

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.segments import Segments
from flashmd_train.data.topology import Connections, Reaches, connect, covalent_reaches, nearest_images
from flashmd_train.graph.nef import join
from flashmd_train.models.bonded_forces import BondedForces
from flashmd_train.models.config import AngleKind, BondedConfig, BondKind

# Frames that bonds are looked for in, and whose forces are fitted.
LOOKED_AT, FITTED = 200, 75
# A Morse bond's steepness to begin with, 1/Å.
MORSE_PER_A = 2.0
# An angle that opens further than this has no sine to divide by: it is slow, and left to the network.
STRAIGHT_RAD = np.radians(165.0)
# Tenths of logarithms that constants may change by in the fit: force constants tenfold, lengths and angles by a sixth.
FREEDOM = np.array([23.0, 1.5, 9.0])
# Cutoff of graphs of which only the bonds are looked at, Å.
NO_EDGES_A = 0.1


def fit_bonded(data: Dataset) -> tuple[BondedConfig, float]:
    """Kinds of bonds and angles by environment, their constants by least squares on forces.

    Args:
        data: with forces.

    Returns:
        The kinds, and the share of the rms force that they leave.

    Raises:
        ValueError: there are no bonds, bonds change, or a file has no forces.
    """
    data.require("forces")
    config = first_guess(data)
    data.find_bonds(config)
    picks = data.evenly(FITTED)
    graph = join([data.frame_graph(file, segment, 0, NO_EDGES_A) for file, segment in picks])
    forces = torch.cat([torch.tensor(data.files[file].forces[segment, 0]) for file, segment in picks]).double()
    atoms = graph.bonded._replace(vectors=graph.bonded.vectors.double(), signs=graph.bonded.signs.double())
    model = BondedForces(config, inner_timestep_fs=1.0).double()
    shapes = [model.log_bonds.shape, model.log_angles.shape]

    def residual(logarithms: torch.Tensor) -> torch.Tensor:
        bonds, angles = (
            part.reshape(shape) for part, shape in zip(logarithms.split([s.numel() for s in shapes]), shapes)
        )
        of_these = {"log_bonds": bonds, "log_angles": angles}
        fitted = torch.func.functional_call(model, of_these, (atoms,))
        return (fitted - forces).flatten()

    jacobian = torch.func.jacfwd(residual)
    bound = np.concatenate([np.tile(FREEDOM[: shape[1]], shape[0]) for shape in shapes])
    with torch.no_grad():
        best = least_squares(
            lambda x: residual(torch.tensor(x)).numpy(),
            np.zeros(len(bound)),
            lambda x: jacobian(torch.tensor(x)).numpy(),
            bounds=(-bound, bound),
        )
        bonds, angles = torch.tensor(best.x).split([s.numel() for s in shapes])
        model.log_bonds.copy_(bonds.reshape(shapes[0]))
        model.log_angles.copy_(angles.reshape(shapes[1]))
    left = (2 * best.cost / float(forces.square().sum())) ** 0.5
    return model.trained(), left


def first_guess(data: Dataset) -> BondedConfig:
    """The kinds, with lengths and angles as they are on average and constants by equipartition, k = k_B T/⟨(r − r̄)²⟩.

    Raises:
        ValueError: there are no bonds, or they change.
    """
    lengths: dict[tuple, list] = defaultdict(list)
    angles: dict[tuple, list] = defaultdict(list)
    reaches = covalent_reaches(data.symbols)
    for number, file in enumerate(data.files):
        found = _connections(file, 0, reaches)
        every = [segment for f, segment in data.evenly(LOOKED_AT) if f == number]
        for segment in every:
            if not np.array_equal(_connections(file, segment, reaches).pairs, found.pairs):
                raise ValueError(
                    f"atoms of {file.path} that are bonded in segment 0 are not in segment {segment}, or the other way "
                    "round: bonds that change cannot be known; give kind splitting or direct"
                )
        vectors = np.stack([_vectors(file, segment, found) for segment in every])
        temperature = file.temperature_K[every]
        r = np.linalg.norm(vectors, axis=-1)
        for bond, name in enumerate(found.bond_names()):
            lengths[name].append((r[:, bond], temperature))
        arms = vectors[:, found.arms] * found.signs[..., None] / r[:, found.arms][..., None]
        theta = np.arccos(np.clip((arms[:, :, 0] * arms[:, :, 1]).sum(-1), -1, 1))
        for angle, name in enumerate(found.angle_names()):
            angles[name].append((theta[:, angle], temperature))
    if not lengths:
        raise ValueError("no two atoms of the data are covalently bonded: there are no molecules; leave the kind out")
    longest = {(a, b): reach for a, b, reach in reaches} | {(b, a): reach for a, b, reach in reaches}
    bonds = [
        BondKind(
            species=name,
            constant_eV_per_A2=_stiffness(seen),
            length_A=_mean(seen),
            morse_per_A=MORSE_PER_A,
            longest_A=longest[name[0].partition("[")[0], name[1].partition("[")[0]],
        )
        for name, seen in sorted(lengths.items())
    ]
    bent = {name: seen for name, seen in angles.items() if _mean(seen) < STRAIGHT_RAD}
    bends = [
        AngleKind(species=name, constant_eV_per_rad2=_stiffness(seen), angle_rad=_mean(seen))
        for name, seen in sorted(bent.items())
    ]
    return BondedConfig(bonds=tuple(bonds), angles=tuple(bends))


def _connections(file: Segments, segment: int, reaches: Reaches) -> Connections:
    return connect(file.numbers, file.positions[segment, 0], file.cell, file.periodic, reaches)


def _vectors(file: Segments, segment: int, found: Connections) -> np.ndarray:
    positions = np.asarray(file.positions[segment, 0], float)
    vectors = positions[found.pairs[:, 1]] - positions[found.pairs[:, 0]]
    return nearest_images(vectors, np.asarray(file.cell, float), np.asarray(file.periodic, bool))


def _mean(seen: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return float(f"{np.mean([values.mean() for values, _ in seen]):.7g}")


def _stiffness(seen: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """k_B T over the mean square fluctuation, of each bond or angle about its own mean."""
    fluctuation = np.mean([np.mean((values - values.mean()) ** 2 / (units.kB * t)) for values, t in seen])
    return float(f"{1 / fluctuation:.7g}")
