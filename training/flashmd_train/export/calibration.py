"""Calibration of a direct model: one factor per species on its momenta, which gives back what strides lose on average.

======  =====================================================================  ============
g_s     factor on the momenta of species s (``momentum_scale``)
p, p̂    momenta after a stride: of the reference, and as predicted              √(eV·u)
ΔE      total energy gained over ``BALANCED_STRIDES`` strides                   eV
ΔT      mean of (T_O − T_H)/T over those strides
J       Jacobian ∂(ΔE, ΔT)/∂(g_O, g_H), by differences of ``SCALE_STEP``
======  =====================================================================  ============

A least-squares predictor shrinks momenta towards their mean, and its errors in the positions raise the potential
energy, more where it is stiff. In one stride, g_s = √(Σ p²/Σ p̂²) restores Σ p² of each species. But the errors of a
stride are in the start of the next one, and their effect there one stride does not show. For water, whose potential
energy is available, Newton's method goes on to g ← g − J⁻¹ (ΔE, ΔT): the reference's mean total energy is conserved
without a thermostat, and oxygen is as hot as hydrogen. All on held-out boxes, since errors are smaller on those of
training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import units

from flashmd_rs.reference.water import Water
from flashmd_train.data.pairs import StridePairs
from flashmd_train.models.stride import ScaledStride

# Strides per run (of 16 fs 1 ps, when both are steady), runs of which the mean is balanced, and runs for the Jacobian,
# which differs less between runs.
BALANCED_STRIDES, BALANCED_RUNS, JACOBIAN_RUNS = 64, 40, 10
# Difference of a factor for the Jacobian, below which a Newton step is the last one, and the most Newton steps.
SCALE_STEP, NEWTON_STEPS = 2e-3, 5


@torch.no_grad()
def calibrate(model: ScaledStride, validation: StridePairs, balance: bool) -> None:
    """Set ``model.momentum_scale``.

    Args:
        model: a direct model after training.
        validation: held-out pairs.
        balance: beyond the mean square momenta of one stride, balance energy and equipartition over many; the data must
            be flexible water, species O and H.

    Raises:
        ValueError: strides run away within that time, or no factors balance them.
    """
    model.momentum_scale.copy_(one_stride_scale(model, validation))
    if balance:
        _balance(model, validation)


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
    # The momenta of a species in no held-out box stay as they are.
    ratio = np.divide(true, predicted, out=np.ones(kinds), where=predicted > 0)
    return torch.tensor(np.sqrt(ratio), dtype=model.momentum_scale.dtype)


def _balance(model: ScaledStride, validation: StridePairs) -> None:
    """Newton's method on (ΔE, ΔT) of the mean of ``BALANCED_RUNS`` runs."""
    references = [
        Water(len(file.masses) // 3, density_g_per_cm3=file.density_g_per_cm3) for file in validation.data.files
    ]

    def drifts(scale: torch.Tensor, runs: int) -> np.ndarray:
        """ΔE and ΔT of each run [runs, 2]."""
        model.momentum_scale.copy_(scale)
        return np.array([free_run(model, validation, k, references) for k in range(runs)])

    scale, jacobian = model.momentum_scale.clone(), None
    for _ in range(NEWTON_STEPS):
        here = drifts(scale, BALANCED_RUNS)
        if jacobian is None:
            jacobian = _jacobian(drifts, scale, here[:JACOBIAN_RUNS])
        step = torch.tensor(np.linalg.solve(jacobian, -here.mean(0)), dtype=scale.dtype)
        scale = scale + step
        model.momentum_scale.copy_(scale)
        if step.abs().max() < SCALE_STEP:
            return
    raise ValueError(
        f"got momentum scales of {scale.tolist()} and no balance after {NEWTON_STEPS} steps; wanted energy and "
        f"equipartition kept over {BALANCED_STRIDES} strides from held-out boxes: train the model further"
    )


def _jacobian(drifts: Callable[[torch.Tensor, int], np.ndarray], scale: torch.Tensor, here: np.ndarray) -> np.ndarray:
    """∂(ΔE, ΔT)/∂(g_O, g_H) [2, 2], from ``here``, the drifts [runs, 2] at ``scale``."""
    steps = SCALE_STEP * torch.eye(len(scale), dtype=scale.dtype)
    changes = [drifts(scale + step, len(here)) - here for step in steps]
    energy, difference = jacobian = np.stack([change.mean(0) / SCALE_STEP for change in changes], axis=1)
    if not (min(energy) > 0 and difference[0] > 0 > difference[1]):
        raise ValueError(
            f"got {np.round(energy * SCALE_STEP, 3)} eV more, and {np.round(difference * SCALE_STEP, 4)} in (T of O − "
            f"T of H)/T over {BALANCED_STRIDES} strides, of momenta of O, of H times {1 + SCALE_STEP:g}; wanted more "
            "energy from both and each species hotter for its own: train the model further"
        )
    return jacobian


def free_run(model: ScaledStride, validation: StridePairs, k: int, references: list[Water]) -> tuple[float, float]:
    """ΔE (eV) and ΔT of the k-th run of ``BALANCED_STRIDES`` strides without a thermostat; nan if it explodes.

    Runs start from one held-out box after the other, with momenta drawn anew: the held-out segments of a temperature
    follow each other within a picosecond and share the fluctuation of their momenta. So a box can start several runs.
    """
    again, box = divmod(k, len(validation.index))
    f, segment = validation.index[box]
    file, reference, species = validation.data.files[f], references[f], validation.data.species[f]
    mass, temperature = file.masses[:, None], float(file.temperature_K[segment])
    reference.draw_momenta(temperature, np.random.default_rng([f, segment, again]))
    q, p = file.positions[segment, 0].astype(float), reference.momenta()

    def twice_kinetic() -> np.ndarray:
        return (p**2 / mass).sum(1)

    def total() -> float:
        return reference.energy(q) + twice_kinetic().sum() / 2

    before, difference = total(), 0.0
    for _ in range(BALANCED_STRIDES):
        stride = model.predict(validation.data.graph(f, q, p, model.config.cutoff_A))
        q, p = q + stride.displacement.numpy() / np.sqrt(mass), stride.momenta.numpy() * np.sqrt(mass)
        if not np.isfinite(q).all():
            return float("nan"), float("nan")
        each = twice_kinetic()
        difference += each[species == 0].mean() - each[species == 1].mean()
    return total() - before, difference / (BALANCED_STRIDES * 3 * units.kB * temperature)
