"""The loss of strides, term by term; each is dimensionless and of order one for a model without training.

=====  ==========================================================  =========
δq     error of a position                                         Å
δp     error of a momentum                                         √(eV·u)
m      mass                                                        u
kT     thermal energy at 300 K                                     eV
τ      POSITION_TIME, over which a thermal momentum displaces      Å √(u/eV)
L      Cholesky factor of the stochastic noise, as predicted
=====  ==========================================================  =========
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from ase import units
from torch import Tensor, nn

from flashmd_train.data.pairs import Batch
from flashmd_train.graph.nef import Graph, displaced
from flashmd_train.learning.config import Loss
from flashmd_train.models.prior import NoPrior
from flashmd_train.models.stride import POSITION_TIME, THERMAL_MOMENTUM, Prediction, Stride

KT = 300 * units.kB
# Unit of forces in losses, eV/Å.
FORCE_UNIT = 0.5
Pair = tuple[Tensor, Tensor]
# Weight of the noise's likelihood: its head shares no weights with the mean, so this only scales that head's steps.
NOISE_WEIGHT = 0.1


def mass_scaled(stride: Prediction, displacement: Tensor, momenta: Tensor) -> Pair:
    """Mean square errors of positions and momenta over the thermal energy: m δq²/τ² and δp²/m over kT."""
    dq = (stride.displacement - displacement) / (POSITION_TIME * THERMAL_MOMENTUM)
    dp = (stride.momenta - momenta) / THERMAL_MOMENTUM
    return dq.square().mean(), dp.square().mean()


def plain(stride: Prediction, displacement: Tensor, momenta: Tensor, masses: Tensor) -> Pair:
    """Mean square errors of Δq (Å) and p' (√(eV·u)) over those of the target: momenta of heavy atoms count most."""
    root = masses.sqrt()[:, None]
    dq, q = (stride.displacement - displacement) / root, displacement / root
    dp, p = (stride.momenta - momenta) * root, momenta * root
    return dq.square().mean() / q.square().mean(), dp.square().mean() / p.square().mean()


def scaled(stride: Prediction, displacement: Tensor, momenta: Tensor, graph: Graph, prior: NoPrior) -> Pair:
    """Mean square errors of Δq and p' in the units of the network's outputs, which are those of each species."""
    species, root = graph.species.long(), graph.masses.sqrt()[:, None]
    dq = (stride.displacement - displacement) / root / prior.position_unit[species][:, None]
    dp = (stride.momenta - momenta) * root / prior.momentum_unit[species][:, None]
    return dq.square().mean(), dp.square().mean()


def noise_likelihood(stride: Prediction, displacement: Tensor, momenta: Tensor) -> Tensor:
    """−log N(r | 0, L Lᵀ) per component of the residual r = (√m δq, δp/√m), less a constant.

    The residual is detached: this term does not move the mean.
    """
    assert stride.residual_scale is not None
    first, cross, second = stride.residual_scale.unbind(-1)
    r_q, r_p = (displacement - stride.displacement).detach(), (momenta - stride.momenta).detach()
    x = r_q / first[:, None]
    y = (r_p - cross[:, None] * x) / second[:, None]
    unit = THERMAL_MOMENTUM**2 * POSITION_TIME
    return (0.5 * (x * x + y * y)).mean() + torch.log(first * second / unit).mean()


def variance(stride: Prediction, momenta: Tensor, species: Tensor, kinds: int) -> Tensor:
    """Σ over species of (Σ p̂²/Σ p² − 1)²: the loss of temperature by regression to the mean."""
    total = stride.momenta.new_zeros(())
    for s in range(kinds):
        mask = species == s
        ratio = stride.momenta[mask].square().sum() / momenta[mask].square().sum().clamp(min=1e-9)
        total = total + (ratio - 1).square()
    return total


def energy_change(energy: Callable[[Graph], Tensor], before: Graph, after: Graph, box: Tensor, boxes: int) -> Tensor:
    """Mean over boxes of (ΔH)²/(N (kT)²), where H is the kinetic energy plus that of a frozen energy model.

    ``box`` [N] is the box of each atom, out of ``boxes``.
    """

    def total(graph: Graph) -> Tensor:
        per_atom = energy(graph) + 0.5 * graph.momenta.square().sum(-1)
        return per_atom.new_zeros(boxes).index_add(0, box, per_atom)

    atoms = torch.bincount(box, minlength=boxes)
    return ((total(after) - total(before).detach()).square() / (atoms * KT**2)).mean()


def potential_error(off: Tensor, files: Tensor, atoms: Tensor) -> Tensor | None:
    """Mean of (ΔV − ⟨ΔV⟩)²/(N (kT)²) over boxes, ⟨⟩ that of a file's boxes; None where no file has two.

    Energies have no zero; their differences say which conformers are how frequent. The mean of n boxes takes a share
    1/n of the variance away, which is put back.

    Args:
        off: errors ΔV of the potential energies [B], eV.
        files: file of each box [B].
        atoms: number N of its atoms [B].
    """
    terms = []
    for file in files.unique():
        own = off[files == file]
        if len(own) > 1:
            terms.append((own - own.mean()).square() / (1 - 1 / len(own)) / (atoms[files == file] * KT**2))
    return torch.cat(terms).mean() if terms else None


class StrideObjective(nn.Module):
    """Batch to loss and its terms, around a model that moves atoms: the module that data-parallel training wraps.

    Args:
        model: trained; a module.
        loss: the terms and their weights.
        energy: frozen, graph to per-atom energies (eV); None without that term.

    Attributes:
        counts_potential: if the term of potential energies is among them now.

    Raises:
        ValueError: the loss is of other models.
    """

    def __init__(self, model: Stride, loss: Loss, energy: Callable[[Graph], Tensor] | None = None) -> None:
        super().__init__()
        if loss.kind == "scaled" and not isinstance(getattr(model, "prior", None), NoPrior):
            raise ValueError("loss.kind scaled is for direct models with prior none, whose outputs have units")
        if loss.potential_weight and getattr(model, "bonded", None) is None:
            raise ValueError("loss.potential_weight is for hybrids, splittings with model.bonded")
        self.model, self.loss, self.counts_potential = model, loss, bool(loss.potential_weight)
        # In a tuple, so that it is no submodule: it is not trained, saved or synchronised.
        self._energy = (energy,)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and the terms' means over the strides by name."""
        terms: dict[str, Tensor] = {}
        strides = len(batch.displacement)
        graph, boxes = batch.graph, int(batch.box.max()) + 1
        error_so_far = torch.zeros_like(batch.displacement[0])
        if self.counts_potential:
            self._add_potential(terms, batch, boxes)
        for k in range(strides):
            stride = self.model.predict(graph)
            # Positions are compared, not displacements: the errors of earlier strides are still there.
            target = batch.displacement[k] - error_so_far
            self._add(terms, stride, target, batch.momenta[k], graph)
            after = displaced(graph, stride.displacement, stride.momenta)
            (energy,) = self._energy
            if energy is not None:
                self._put(terms, "energy", energy_change(energy, graph, after, batch.box, boxes))
            error_so_far, graph = stride.displacement - target, after
        means = {name: value if name == "potential" else value / strides for name, value in terms.items()}
        weights = {
            "potential": self.loss.potential_weight,
            "position": self.loss.position_weight,
            "momentum": self.loss.momentum_weight,
            "variance": self.loss.variance_weight,
            "energy": self.loss.energy_weight,
            "noise": NOISE_WEIGHT,
        }
        total = torch.stack([weights[name] * value for name, value in means.items()]).sum()
        return total, {name: value.detach() for name, value in means.items()}

    def _add(
        self, terms: dict[str, Tensor], stride: Prediction, displacement: Tensor, momenta: Tensor, graph: Graph
    ) -> None:
        if self.loss.kind == "plain":
            position, momentum = plain(stride, displacement, momenta, graph.masses)
        elif self.loss.kind == "scaled":
            position, momentum = scaled(stride, displacement, momenta, graph, self.model.prior)
        else:
            position, momentum = mass_scaled(stride, displacement, momenta)
        self._put(terms, "position", position)
        self._put(terms, "momentum", momentum)
        if self.loss.variance_weight:
            kinds = len(self.model.config.species)
            self._put(terms, "variance", variance(stride, momenta, graph.species, kinds))
        if stride.residual_scale is not None:
            self._put(terms, "noise", noise_likelihood(stride, displacement, momenta))

    def _add_potential(self, terms: dict[str, Tensor], batch: Batch, boxes: int) -> None:
        """The term of the frames' own energies, at the start of the stride."""
        if batch.energies is None:
            raise ValueError("loss.potential_weight wants the reference's energies, and a file has none")
        # In 64 bits: the zero of energies may be far away.
        energies = self.model.potential(batch.graph).double()
        off = energies.new_zeros(boxes).index_add(0, batch.box, energies) - batch.energies
        error = potential_error(off, batch.files, torch.bincount(batch.box, minlength=boxes))
        if error is not None:
            self._put(terms, "potential", error.float())

    @staticmethod
    def _put(terms: dict[str, Tensor], name: str, value: Tensor) -> None:
        terms[name] = terms[name] + value if name in terms else value
