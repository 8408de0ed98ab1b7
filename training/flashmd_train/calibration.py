"""The gain on a direct model's momenta: what strides take from energy and equipartition, given back on average."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import units

from flashmd_rs.reference.water import Water
from flashmd_train.dataset import Pairs
from flashmd_train.direct import Direct

# Energy and equipartition are kept over so many strides (of 16 fs 1 ps, when both are steady) in the mean of so many
# runs from held-out boxes; how they answer to the gains is much the same in all runs, and takes fewer.
BALANCED_STRIDES, BALANCED_RUNS, ANSWERING_RUNS = 64, 40, 10
# How they answer is measured over such a step on a gain; one that turns out longer is followed by another.
GAIN_STEP, GAIN_STEPS = 2e-3, 5


@torch.no_grad()
def calibrate(model: Direct, held: Pairs) -> None:
    """Set the gain on momenta per species so that strides, on average, neither shrink, heat nor cool.

    A least-squares predictor shrinks momenta towards their mean, and its errors in the positions raise the potential
    energy, more where it is stiff. One factor per species restores Σ p² in one stride; but a stride's errors are the
    next one's start, and what they take there one stride does not show. For water, whose potential energy is at hand,
    the factors are moved on, by Newton's method, to where the reference's mean total energy is kept over
    ``BALANCED_STRIDES`` without a thermostat and oxygen is as hot as hydrogen on the way. All on held-out boxes, for on
    those of training errors are smaller.

    Raises:
        ValueError: strides run away within that time, or no gains balance them.
    """
    model.gain.copy_(_one_stride_gain(model, held))
    if model.config.prior != "bonded":
        return
    references = [Water(len(file.masses) // 3, density_g_per_cm3=file.density_g_per_cm3) for file in held.data.files]

    def departures(gain: torch.Tensor, runs: int) -> np.ndarray:
        model.gain.copy_(gain)
        return np.array([_departed(model, held, k, references) for k in range(runs)])

    gain, answers = model.gain.clone(), None
    for _ in range(GAIN_STEPS):
        here = departures(gain, BALANCED_RUNS)
        if answers is None:
            answers = _answers(departures, gain, here[:ANSWERING_RUNS])
        step = torch.tensor(np.linalg.solve(answers, -here.mean(0)), dtype=gain.dtype)
        gain = gain + step
        model.gain.copy_(gain)
        if step.abs().max() < GAIN_STEP:
            return
    raise ValueError(
        f"got gains of {gain.tolist()} and no balance after {GAIN_STEPS} steps; wanted energy and equipartition kept "
        f"over {BALANCED_STRIDES} strides from held-out boxes: train the model further"
    )


def _answers(departures: Callable[[torch.Tensor, int], np.ndarray], gain: torch.Tensor, here: np.ndarray) -> np.ndarray:
    """Changes of energy (eV) and of (T of O − T of H)/T [2, species] per change of each gain."""
    steps = GAIN_STEP * torch.eye(len(gain), dtype=gain.dtype)
    changes = [departures(gain + step, len(here)) - here for step in steps]
    energy, difference = answers = np.stack([change.mean(0) / GAIN_STEP for change in changes], axis=1)
    if not (min(energy) > 0 and difference[0] > 0 > difference[1]):
        raise ValueError(
            f"got {np.round(energy * GAIN_STEP, 3)} eV more, and {np.round(difference * GAIN_STEP, 4)} in (T of O − T "
            f"of H)/T over {BALANCED_STRIDES} strides, of momenta of O, of H times {1 + GAIN_STEP:g}; wanted more "
            "energy from both and each species hotter for its own: train the model further"
        )
    return answers


def _one_stride_gain(model: Direct, held: Pairs) -> torch.Tensor:
    """Factors [species] that keep Σ p² of each species in one stride."""
    kinds = len(model.config.species)
    model.gain.fill_(1.0)
    predicted, true = np.zeros(kinds), np.zeros(kinds)
    for k in range(len(held.index)):
        batch = held.held(k)
        graph, p = batch.graph, batch.momenta[0]
        p_hat = model(*graph)[1]
        for s in range(kinds):
            predicted[s] += float(p_hat[graph.species == s].double().square().sum())
            true[s] += float(p[graph.species == s].double().square().sum())
    return torch.tensor(np.sqrt(true / predicted), dtype=model.gain.dtype)


def _departed(model: Direct, held: Pairs, k: int, references: list[Water]) -> tuple[float, float]:
    """What the k-th run, from one held-out box after the other, does over ``BALANCED_STRIDES``; nan if it explodes.

    Momenta are drawn anew: the held-out segments of a temperature follow each other within a picosecond, and share what
    their momenta happen to be. So a box can be the start of several runs.

    Returns:
        Total energy gained (eV), mean of (T of O − T of H) over the temperature of the segment.
    """
    again, box = divmod(k, len(held.index))
    f, segment = held.index[box]
    file, reference, species = held.data.files[f], references[f], held.data.species[f]
    mass, temperature = file.masses[:, None], float(file.temperature_K[segment])
    reference.draw_momenta(temperature, np.random.default_rng([f, segment, again]))
    q, p = file.positions[segment, 0].astype(float), reference.momenta()

    def twice_kinetic() -> np.ndarray:
        return (p**2 / mass).sum(1)

    def total() -> float:
        return reference.energy(q) + twice_kinetic().sum() / 2

    before, difference = total(), 0.0
    for _ in range(BALANCED_STRIDES):
        u, scaled = model(*held.data.graph(f, q, p, model.config.cutoff_A))[:2]
        q, p = q + u.numpy() / np.sqrt(mass), scaled.numpy() * np.sqrt(mass)
        if not np.isfinite(q).all():
            return float("nan"), float("nan")
        each = twice_kinetic()
        difference += each[species == 0].mean() - each[species == 1].mean()
    return total() - before, difference / (BALANCED_STRIDES * 3 * units.kB * temperature)
