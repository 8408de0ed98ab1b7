"""How much atoms of each species move, carry and feel in the data: what the outputs of PET are measured in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from flashmd_train.backbones.pet import Head
from flashmd_train.data.dataset import Dataset, stratified
from flashmd_train.data.pairs import StridePairs
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy
from flashmd_train.models.prior import NoPrior

# Boxes, or frames, that are looked at.
BOXES = 100


def measure_direct(model: Direct, pairs: StridePairs, keep: bool = False) -> None:
    """Measure the outputs of a model without prior in the rms of q' − q and p', or p' − p, by species.

    Args:
        model: changed in place.
        pairs: unperturbed.
        keep: if predictions shall stay what they are; they do where units of all species change alike.
    """
    prior = model.prior
    assert isinstance(prior, NoPrior)
    root = torch.tensor(np.sqrt(pairs.data.masses))
    displacement, momenta = _strides(pairs, prior.momenta_as_difference)
    of_positions, of_momenta = model.backbone.pet.outputs
    _set(prior.position_unit, displacement / root, of_positions if keep else ())
    _set(prior.momentum_unit, momenta * root, of_momenta if keep else ())


def measure_action(model: PETAction, pairs: StridePairs, keep: bool = False) -> None:
    """Measure an action in the product of rms displacement and rms momentum: ∂S/∂p̄ is Δq. Arguments as above."""
    displacement, momenta = _strides(pairs, False)
    product = (displacement.square().mean() * momenta.square().mean()).sqrt()
    _set(model.scale, product, model.pet.outputs[0] if keep else ())


def measure_energy(model: PETEnergy, data: Dataset, index: np.ndarray, keep: bool = False) -> None:
    """Measure energies in the rms force times 1 Å by species, over segments ``index`` [n, 2]; ``keep`` as above."""
    squares, counts = torch.zeros(2, len(data.symbols), dtype=torch.float64)
    for file, segment in index[stratified(index, BOXES)]:
        _add(squares, counts, data.species[file], torch.tensor(data.files[file].forces[segment, 0]))
    _set(model.scale, _root_mean(squares, counts), model.pet.outputs[0] if keep else ())


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


def _set(unit: Tensor, measured: Tensor, readouts: Iterable[Head]) -> None:
    """Set a unit; readouts are multiplied by the geometric mean of what it was over what it is."""
    ratio = float((unit.double() / measured).log().mean().exp())
    unit.copy_(measured)
    for head in readouts:
        for last in (head.node[-1], head.edge[-1]):
            last.weight.data *= ratio
            last.bias.data *= ratio
