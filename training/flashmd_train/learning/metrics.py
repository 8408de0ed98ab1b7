"""Errors on held-out data: of strides, of energies and forces."""

from __future__ import annotations

import math

import numpy as np
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.force_samples import force_sample
from flashmd_train.data.pairs import StridePairs
from flashmd_train.models.energies import EnergyModel, energy_and_forces
from flashmd_train.models.stride import Stride

VALIDATION_BOXES = 24
CPU = torch.device("cpu")


@torch.no_grad()
def stride_errors(
    model: Stride, pairs: StridePairs, boxes: int = VALIDATION_BOXES, device: torch.device = CPU
) -> dict[str, float]:
    """Relative errors of one stride, forward in time, in all and by species.

    Args:
        model: on ``device``.
        pairs: held-out ones.
        boxes: how many of them at most.
        device: where to evaluate.

    Returns:
        ``momentum_error``: rms error of p'/√m over its rms. ``displacement_error``: likewise of √m Δq. ``shrink``:
        1 − Σ p̂²/Σ p², the share of the mean square momentum that a stride loses. Of a model with stochastic noise,
        ``noise_q`` and ``noise_p``: mean square error over the variance that the model states. Of hybrids with bonds
        of their own, ``potential_error_meV``: standard deviation of the errors of the boxes' potential energies.
    """
    has_potential = getattr(model, "bonded", None) is not None and hasattr(model, "potential")
    potentials: dict[int, list[float]] = {}
    kinds = len(model.config.species)
    sums: dict[str, np.ndarray] = {k: np.zeros(kinds) for k in ("ep", "p", "pp", "eq", "q", "nq", "np")}
    for k in range(min(boxes, len(pairs.index))):
        batch = pairs.unaugmented(k).to(device)
        stride = model.predict(batch.graph)
        if has_potential and batch.energies is not None:
            off = float(model.potential(batch.graph).double().sum() - batch.energies[0])
            potentials.setdefault(int(batch.files[0]), []).append(off)
        q, p = batch.displacement[0], batch.momenta[0]
        values = dict(ep=stride.momenta - p, p=p, pp=stride.momenta, eq=stride.displacement - q, q=q)
        if stride.residual_scale is not None:
            first, cross, second = stride.residual_scale[..., None].unbind(1)
            values |= dict(nq=first.expand_as(q), np=torch.sqrt(cross**2 + second**2).expand_as(p))
        for s in range(kinds):
            mask = batch.graph.species == s
            for name, value in values.items():
                sums[name][s] += float(value[mask].double().square().sum())
    report = {
        "momentum_error": math.sqrt(sums["ep"].sum() / sums["p"].sum()),
        "displacement_error": math.sqrt(sums["eq"].sum() / sums["q"].sum()),
    }
    # The zero of a file's energies is its own.
    residuals = [off - np.mean(file) for file in potentials.values() for off in file]
    if len(residuals) > len(potentials):
        freedom = len(residuals) - len(potentials)
        report["potential_error_meV"] = 1000 * float(np.linalg.norm(residuals)) / math.sqrt(freedom)
    # A species may be in no held-out box.
    for s, symbol in ((s, symbol) for s, symbol in enumerate(model.config.species) if sums["p"][s]):
        report[f"momentum_error_{symbol}"] = math.sqrt(sums["ep"][s] / sums["p"][s])
        report[f"displacement_error_{symbol}"] = math.sqrt(sums["eq"][s] / sums["q"][s])
        report[f"shrink_{symbol}"] = float(1 - sums["pp"][s] / sums["p"][s])
        if sums["nq"].any():
            report[f"noise_q_{symbol}"] = float(sums["eq"][s] / sums["nq"][s])
            report[f"noise_p_{symbol}"] = float(sums["ep"][s] / sums["np"][s])
    return report


def energy_errors(
    model: EnergyModel, data: Dataset, index: np.ndarray, frames: int = VALIDATION_BOXES, device: torch.device = CPU
) -> dict[str, float]:
    """Errors of forces and energies over the first frames of the segments ``index`` [n, 2].

    Args:
        model: on ``device``.
        data: the files.
        index: (file, segment) of the held-out part.
        frames: how many segments at most.
        device: where to evaluate.

    Returns:
        ``force_error``: rms error over the rms force. ``force_error_eV_A``: rms error of a component.
        ``energy_error_meV_per_atom``: standard deviation of the error. ``energy_bias_meV_per_atom``: its mean.
    """
    error, total, count, energies = 0.0, 0.0, 0, []
    for pick in index[:frames]:
        graph, q, forces, energy = force_sample(data, pick, 0, model.config.cutoff_A)
        e, f = energy_and_forces(model, graph.to(device), q.to(device), train=False)
        error += float((f.cpu() - forces).square().sum())
        total += float(forces.square().sum())
        count += forces.numel()
        energies.append((float(e.detach().double().sum()) - energy) / len(q))
    return dict(
        force_error=math.sqrt(error / total),
        force_error_eV_A=math.sqrt(error / count),
        energy_error_meV_per_atom=1000 * float(np.std(energies)),
        energy_bias_meV_per_atom=1000 * float(np.mean(energies)),
    )
