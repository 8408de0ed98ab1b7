"""Calibration of a direct model: one factor per species on its momenta, which gives back what strides lose on average.

======  ==============================================================================================  ============
g_s     factor on the momenta of species s (``momentum_scale``)
p, p̂    momenta after a stride: of the reference, and as predicted                                      √(eV·u)
c_k     factor of group k on the one-stride factors of its species [G]
n_k     atoms of group k in all runs; n of all groups
x       unknowns: c = 1 + x_0 + Σ_k x_k (e_k − n_k/n), a change of energy and G − 1 between temperatures
r       residuals of free runs: gain of energy, departures from equipartition (:mod:`.free_runs`)
J       Jacobian ∂r/∂x, by differences of ``ENERGY_STEP`` and ``TEMPERATURE_STEP``
======  ==============================================================================================  ============

A least-squares predictor shrinks momenta towards their mean, and its errors in the positions raise the potential
energy, more where it is stiff. In one stride, g_s = √(Σ p²/Σ p̂²) restores Σ p² of each species. But the errors of a
stride are in the start of the next one, and their effect there one stride does not show. Where the potential is at
hand, Newton's method goes on to x ← x − J⁻¹ r over many strides: the reference's mean total energy is conserved
without a thermostat, and all groups of species are as hot as each other. All on held-out boxes, since errors are
smaller on those of training.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from flashmd_rs.reference.potentials import Potential
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.free_runs import FreeRuns, residuals, resolved_groups, standard_errors
from flashmd_train.models.stride import ScaledStride

F64 = NDArray[np.float64]

# Runs whose mean is balanced, and strides of each: few first, in which a model that heats up does not explode, then so
# many that both are steady.
RUNS, STRIDES = 40, (8, 64)
# Fewer runs have no standard error to speak of.
FEWEST_RUNS = 4
# Differences of x for the Jacobian.
ENERGY_STEP, TEMPERATURE_STEP = 1e-3, 4e-3
# The most Newton steps, and the largest change of a factor in one.
NEWTON_STEPS, LARGEST_STEP = 5, 0.1
# Residuals that are as good as none: gain of energy per stride over the thermal energy, departure of a temperature.
# Balanced is what is below these or below its standard errors.
NEGLIGIBLE_GAIN, NEGLIGIBLE_DEPARTURE = 1e-5, 1e-3
# Energies that the potential is asked for by default: enough for all runs of five species.
ENERGIES = 1000
# Standard errors that the residuals of further runs may have.
SIGNIFICANCE = 4.0


@torch.no_grad()
def calibrate(
    model: ScaledStride, validation: StridePairs, potential: Potential | None, energies: int = ENERGIES
) -> dict[str, object]:
    """Set ``model.momentum_scale``; where many strides cannot be balanced it restores momenta in one.

    Args:
        model: a direct model after training.
        validation: held-out pairs of equilibrium.
        potential: of the data, for the energy at the ends of free runs; None balances one stride only.
        energies: the most that the potential is asked for. All of them are of the ends of free runs, of which there are
            at most :data:`RUNS` per balance.

    Returns:
        What the model's card says: ``calibration``, how it was done, and ``calibration_residuals``.
    """
    one_stride = one_stride_scale(model, validation)
    model.momentum_scale.copy_(one_stride)
    if potential is None:
        return {"calibration": "one-stride gain: no reference at hand"}
    runs = min(RUNS, energies // _balances(len(model.config.species)))
    if runs < FEWEST_RUNS:
        return {"calibration": f"one-stride gain: {energies} energies of the reference are too few to balance more"}
    try:
        return Balance(model, validation, potential, one_stride, runs).solve()
    except FloatingPointError as error:
        model.momentum_scale.copy_(one_stride)
        return {"calibration": f"one-stride gain: {error}"}


def _balances(groups: int) -> int:
    """The most energies per run: its start and that of its test, and an end for each set of factors."""
    return 2 + len(STRIDES) * (NEWTON_STEPS + 1 + groups) + 1


def one_stride_scale(model: ScaledStride, validation: StridePairs) -> torch.Tensor:
    """Factors √(Σ p²/Σ p̂²) [S] that keep Σ p² of each species in one stride; leaves ``momentum_scale`` at one."""
    kinds = len(model.config.species)
    model.momentum_scale.fill_(1.0)
    predicted, true = np.zeros(kinds), np.zeros(kinds)
    for k in range(len(validation.index)):
        batch = validation.unaugmented(k)
        graph, p = batch.graph, batch.momenta[0]
        p_hat = model.predict(graph).momenta
        for s in range(kinds):
            predicted[s] += float(p_hat[graph.species == s].double().square().sum())
            true[s] += float(p[graph.species == s].double().square().sum())
    # Of a species without held-out atoms nothing is known.
    known = predicted > 0
    scale = np.sqrt(np.divide(true, predicted, where=known, out=np.ones(kinds)))
    return torch.tensor(scale, dtype=model.momentum_scale.dtype)


class Balance:
    """Newton's method on the residuals of free runs.

    Args:
        model: its ``momentum_scale`` is set.
        validation: held-out pairs of equilibrium.
        potential: of the data.
        one_stride: factors that c multiplies [S].
        runs: whose mean is balanced; as many others test the result.
    """

    def __init__(
        self,
        model: ScaledStride,
        validation: StridePairs,
        potential: Potential,
        one_stride: torch.Tensor,
        runs: int,
    ) -> None:
        self.model, self.one_stride, self.runs = model, one_stride, runs
        data, kinds = validation.data, len(model.config.species)
        starts = np.arange(runs) % len(validation.index)
        atoms = sum(np.bincount(data.species[f], minlength=kinds) for f in validation.index[starts, 0])
        self.groups = resolved_groups(atoms, data.masses)
        self.free_runs = FreeRuns(model, validation, potential, self.groups)
        share = np.array([atoms[group].sum() for group in self.groups]) / atoms.sum()
        size = len(self.groups)
        self.directions = np.column_stack([np.ones(size), (np.eye(size) - share)[:, : size - 1]])
        self.negligible = np.array([NEGLIGIBLE_GAIN] + [NEGLIGIBLE_DEPARTURE] * (size - 1))

    def solve(self) -> dict[str, object]:
        """Set the factors and test them; returns what the card says.

        Raises:
            FloatingPointError: a run explodes, or there is no balance.
        """
        x = np.zeros(len(self.groups))
        for strides in STRIDES:
            x = self._newton(x, strides)
        return self._tested(x, STRIDES[-1])

    def _newton(self, x: F64, strides: int) -> F64:
        """Unknowns at which the residuals of the first runs are below their standard errors."""
        jacobian = None
        for _ in range(NEWTON_STEPS + 1):
            here, errors = self._residuals(x, strides)
            if (np.abs(here) <= np.maximum(self.negligible, 0.5 * errors)).all():
                return x
            if jacobian is None:
                jacobian = self._jacobian(x, strides, here)
            change = -np.linalg.solve(jacobian, here)
            if not np.abs(self.directions @ change).max() < LARGEST_STEP:
                break
            x = x + change
        raise FloatingPointError(
            f"no factors balance energy and temperatures over {strides} strides, residuals are {_words(here)} ± "
            f"{_words(errors)}; train the model further"
        )

    def _jacobian(self, x: F64, strides: int, here: F64) -> F64:
        """∂r/∂x [G, G], from ``here``, the residuals at ``x``."""
        steps = np.diag([ENERGY_STEP] + [TEMPERATURE_STEP] * (len(x) - 1))
        changes = [(self._residuals(x + step, strides)[0] - here) / step.sum() for step in steps]
        jacobian = np.stack(changes, axis=1)
        if not (np.diag(jacobian) > 0).all():
            raise FloatingPointError(
                f"larger momenta change energy and temperatures by factors of {_words(np.diag(jacobian))}, wanted "
                f"more of each over {strides} strides; train the model further"
            )
        return jacobian

    def _residuals(self, x: F64, strides: int, first: int = 0) -> tuple[F64, F64]:
        """Residuals [G] of runs from number ``first`` at the unknowns ``x``, and their standard errors."""
        factors = 1 + self.directions @ x
        for group, factor in zip(self.groups, factors):
            self.model.momentum_scale[group] = self.one_stride[group] * factor
        made = [self.free_runs.run(first + k, strides) for k in range(self.runs)]
        return residuals(made, strides), standard_errors(made, strides)

    def _tested(self, x: F64, strides: int) -> dict[str, object]:
        """What the card says, from runs that Newton's method has not seen."""
        found, errors = self._residuals(x, strides, first=self.runs)
        if (np.abs(found) > np.maximum(self.negligible, SIGNIFICANCE * errors)).any():
            raise FloatingPointError(
                f"the balance over {strides} strides does not hold in further runs, residuals are {_words(found)} ± "
                f"{_words(errors)}; train the model further"
            )
        names = ["+".join(self.model.config.species[s] for s in group) for group in self.groups]
        return {
            "calibration": f"balanced over {strides} strides against its reference",
            "calibration_residuals": {
                "runs": self.runs,
                "groups": names,
                "energy_gain_per_stride": float(f"{found[0]:.3g}"),
                "energy_gain_standard_error": float(f"{errors[0]:.3g}"),
                "temperature_departures": [float(f"{r:.3g}") for r in found[1:]],
                "temperature_standard_errors": [float(f"{e:.3g}") for e in errors[1:]],
            },
        }


def _words(values: F64) -> str:
    return ", ".join(f"{value:.2g}" for value in values)
