"""How much atoms of each species move, carry and feel in the data: what the outputs of PET are measured in.

Of a model that begins from other weights only new elements are measured: for the others a new unit would be another
prediction. Theirs is what they have in the data times what the known ones' is of theirs, on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flashmd_train.data.dataset import Dataset, stratified
from flashmd_train.data.pairs import StridePairs
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy
from flashmd_train.models.prior import NoPrior

# Boxes, or frames, that are looked at.
BOXES = 100


def measure_direct(model: Direct, pairs: StridePairs, new: Sequence[str] | None = None) -> None:
    """Measure the outputs of a model without prior in the rms of q' − q and p', or p' − p, by species.

    Args:
        model: changed in place.
        pairs: unperturbed.
        new: symbols of the only elements whose units are set; None for all.
    """
    prior = model.prior
    assert isinstance(prior, NoPrior)
    root = torch.tensor(np.sqrt(pairs.data.masses))
    displacement, momenta = _strides(pairs, prior.momenta_as_difference)
    _set(prior.position_unit, displacement / root, pairs.data.symbols, new)
    _set(prior.momentum_unit, momenta * root, pairs.data.symbols, new)


def measure_action(model: PETAction, pairs: StridePairs) -> None:
    """Measure an action in the product of rms displacement and rms momentum: ∂S/∂p̄ is Δq."""
    displacement, momenta = _strides(pairs, False)
    model.scale.copy_((displacement.square().mean() * momenta.square().mean()).sqrt())


def measure_energy(model: PETEnergy, data: Dataset, index: np.ndarray, new: Sequence[str] | None = None) -> None:
    """Measure energies in the rms force times 1 Å by species, over segments ``index`` [n, 2]; ``new`` as above."""
    squares, counts = torch.zeros(2, len(data.symbols), dtype=torch.float64)
    for file, segment in index[stratified(index, BOXES)]:
        _add(squares, counts, data.species[file], torch.tensor(data.files[file].forces[segment, 0]))
    _set(model.scale, _root_mean(squares, counts), data.symbols, new)


def _strides(pairs: StridePairs, momenta_as_difference: bool) -> tuple[Tensor, Tensor]:
    """Rms of a component of √m Δq (Å·√u) and of p'/√m, or (p' − p)/√m (√eV), by species [S] each."""
    kinds = len(pairs.data.symbols)
    displaced, carried, counts, again = torch.zeros(4, kinds, dtype=torch.float64)
    for k in stratified(pairs.index, BOXES):
        batch = pairs.unaugmented(int(k))
        momenta = batch.momenta[0] - batch.graph.momenta if momenta_as_difference else batch.momenta[0]
        species = batch.graph.species.numpy()
        _add(displaced, counts, species, batch.displacement[0])
        _add(carried, again, species, momenta)
    return _root_mean(displaced, counts), _root_mean(carried, again)


def _add(squares: Tensor, counts: Tensor, species: np.ndarray, vectors: Tensor) -> None:
    """Add vectors of atoms [N, 3] to sums of squares and counts by species [S]."""
    kinds = torch.tensor(species).long()
    squares.index_add_(0, kinds, vectors.double().square().sum(-1))
    counts += 3 * torch.bincount(kinds, minlength=len(counts))


def _root_mean(squares: Tensor, counts: Tensor) -> Tensor:
    """By species [S]; one of which there is nothing gets what all together have."""
    return torch.where(counts > 0, squares / counts.clamp(min=1), squares.sum() / counts.sum()).sqrt()


def _set(unit: Tensor, measured: Tensor, symbols: Sequence[str], new: Sequence[str] | None) -> None:
    chosen = torch.tensor([new is None or symbol in new for symbol in symbols])
    if not chosen.all():
        measured = measured * (unit.double() / measured)[~chosen].log().mean().exp()
    unit[chosen] = measured[chosen].to(unit.dtype)
