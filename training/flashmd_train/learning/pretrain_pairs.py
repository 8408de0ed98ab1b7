"""Pair terms and pair tables by least squares on reference forces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from flashmd_train.backbones.pair_field import held_apart
from flashmd_train.data.approaches import measure_approaches
from flashmd_train.data.dataset import Dataset, Frame, stratified
from flashmd_train.data.force_samples import force_sample
from flashmd_train.graph.distances import cosine_cutoff, norm
from flashmd_train.graph.gather import gather_rows
from flashmd_train.learning.ridge import RIDGE
from flashmd_train.models.bonded import bonded_forces
from flashmd_train.models.bonded_forces import BondedForces, known_bonds
from flashmd_train.models.energy import Energy, radial_derivative, radial_terms
from flashmd_train.models.splitting import LARGEST_RATIO, WALL_POWER, Splitting

PRETRAINING_FRAMES = 40
# Tables, which training does not change, are fitted to as many more frames of small structures as hold so many atoms.
TABLES_ATOMS = 10000
# A radial function whose mean square is below this share of the mean over all is one of distances at which the data
# holds next to no pairs. Its weight stays zero: nothing says what it is, and noise would make holes of many eV of it.
UNSEEN = 1e-3
# Ridge of the whitening: of functions that are seen, training may move none 30 times as far as the mean.
WHITENING_RIDGE = 1e-3


@torch.no_grad()
def fit_pairs(
    model: Energy,
    data: Dataset,
    index: np.ndarray,
    frames: int,
    rng: np.random.Generator,
    closest: torch.Tensor | None = None,
    bonded: BondedForces | None = None,
    nearest: Sequence[Frame] = (),
) -> None:
    """Set the pair weights by ridge regression of reference forces less bonds and angles.

    Args:
        model: changed in place.
        data: the files.
        index: (file, segment) of the training part [n, 2].
        frames: first frames of about how many random segments, each file's share.
        rng: draws them.
        closest: distances of pairs of species below which pair terms do not change [S, S], Å.
        bonded: bonds and angles of the data's molecules, whose atoms have no pair terms with each other.
        nearest: further frames, in which atoms are near each other.
    """
    fan, kinds = model.pair.shape[1], int(model.pair_of.max()) + 1
    xx, xy = torch.zeros(fan, fan, dtype=torch.float64), torch.zeros(fan, dtype=torch.float64)
    rows = 0
    first = [Frame(*pick, 0) for pick in index[stratified(index, frames, rng)]]
    for frame in [*first, *nearest]:
        graph, _, forces, _ = force_sample(data, np.array(frame[:2]), frame.number, model.config.cutoff_A)
        molecules = model.molecules(graph.species, graph.edge_vectors, graph.mask, graph.neighbors)
        slow, outside = forces, graph.mask
        if molecules is not None:
            slow = forces - bonded_forces(molecules, torch.zeros_like(forces), model.reference)
            outside = graph.mask & ~molecules.intra
        if bonded is not None:
            slow = forces - bonded.forces(graph, torch.zeros_like(forces))
            outside = graph.mask & ~known_bonds(graph).joined
        d = norm(graph.edge_vectors)
        both = graph.species[:, None], gather_rows(graph.species, graph.neighbors)
        pair = model.pair_of[both]
        one_hot = torch.nn.functional.one_hot(pair, kinds).float() * outside[..., None]
        slope = radial_derivative(model, d.transpose(1, 2), None if closest is None else closest[both][:, None])
        field = torch.einsum("nkx,nkt,nrk->nxtr", graph.edge_vectors / d, one_hot, slope).flatten(2)
        x, y = field.flatten(0, 1).double(), slow.flatten().double()
        xx += x.T @ x
        xy += x.T @ y
        rows += len(y)
    mean, eye = xx.diagonal().mean(), torch.eye(fan, dtype=torch.float64)
    seen = xx.diagonal() > UNSEEN * mean
    xx, xy, eye = xx[seen][:, seen], xy[seen], eye[seen][:, seen]
    weights = torch.linalg.solve(xx + RIDGE * mean * eye, xy)
    root = torch.linalg.cholesky(xx + WHITENING_RIDGE * mean * eye)
    whiten = torch.linalg.solve_triangular(root.T, rows**0.5 * eye, upper=True)
    model.whiten.zero_()
    model.whiten[seen.nonzero(), seen.nonzero().T] = whiten.float()
    model.pair[0].zero_()
    model.pair[0, seen] = torch.linalg.solve(whiten, weights).float()


@torch.no_grad()
def fit_tables(model: Splitting, data: Dataset, index: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a splitting's tables from the ridge regression of pair terms, plus walls; its scalars get no pair terms."""
    energy, tables = model.scalar, model.tables
    atoms = sum(len(species) for species in data.species) / len(data.species)
    frames = max(PRETRAINING_FRAMES, round(TABLES_ATOMS / atoms))
    strangers = measure_approaches(
        data, model.config.cutoff_A, tables.pair_of, lambda graph: graph.mask & ~model.joined(graph)
    )
    fit_pairs(energy, data, index, frames, rng, bonded=model.bonded, nearest=strangers.nearest(index))
    weight = (energy.whiten.double() @ energy.pair[0].double()).reshape(-1, energy.config.radial)
    closest = strangers.closest[:, None]

    def fitted(d: torch.Tensor) -> torch.Tensor:
        return torch.einsum("pr,prg->pg", weight, radial_terms(energy, d[:, None]))

    # As in Splitting.wall: what is fitted ends at the closest approach, and its force there goes on.
    _, slope = torch.func.jvp(fitted, (closest,), (torch.ones_like(closest),))
    repulsion = (-slope).clamp(min=0.0)

    def curves(d: torch.Tensor) -> torch.Tensor:
        seen = held_apart(d, closest)
        wall = model.config.repulsion_eV * (closest / d).clamp(max=LARGEST_RATIO) ** WALL_POWER
        flank = cosine_cutoff(d, energy.config.cutoff_A, energy.config.width)
        return fitted(seen) + (wall + repulsion * (seen - d)) * flank

    distances = tables.distances
    energies, slopes = torch.func.jvp(curves, (distances,), (torch.ones_like(distances),))
    tables.energies.copy_(energies)
    tables.slopes.copy_(slopes)
    energy.pair.zero_()
