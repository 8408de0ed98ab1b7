"""Error against orientation of a network that is not equivariant, with and without augmentation and frame averaging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import Batch, StridePairs, random_orthogonal, rotated
from flashmd_train.learning.config import Data, DirectTraining, Optimizer
from flashmd_train.learning.direct import train_direct
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.stride import Stride

ANGLES = 12
FRAMES = 8
BOXES = 4


def rotation_test(folder: Path, data: Path, shape: DirectConfig, steps: int) -> dict:
    """Train a network with and without random rotations; rotate held-out boxes and measure.

    Args:
        folder: of the study.
        data: HDF5 file.
        shape: of the model.
        steps: of each training.

    Returns:
        Angles (degrees) and rms momentum errors (relative) by angle, for each way of prediction; ``spread`` is the rms
        difference between predictions of the same box in different orientations, turned back, over the rms momentum.
    """
    loaded = Dataset([data])
    _, validation = loaded.split(0.05, seed=0)
    pairs = StridePairs(loaded, validation, shape.stride_fs, shape.cutoff_A)
    result: dict = {"angles_deg": np.linspace(0, 180, ANGLES).tolist()}
    for name, rotate in (("augmented", True), ("not augmented", False)):
        settings = DirectTraining(
            model=shape,
            data=Data(files=(data,), boxes=1, rotate=rotate),
            optimizer=Optimizer(steps=steps, learning_rate=1e-3, warmup=min(100, steps // 4)),
            every=max(1, steps // 4),
        )
        model = train_direct(settings, folder / "runs" / f"rotations-{'with' if rotate else 'without'}")
        result[name] = _measure(model, pairs, 1)
        result[f"{name}, {FRAMES} frames averaged"] = _measure(model, pairs, FRAMES)
    return result


@torch.no_grad()
def _measure(model: Stride, pairs: StridePairs, frames: int) -> dict:
    rng = np.random.default_rng(3)
    batches = [pairs.unaugmented(k) for k in range(min(BOXES, len(pairs.index)))]
    errors, predictions = [], []
    for angle in np.linspace(0, np.pi, ANGLES):
        c, s = float(np.cos(angle)), float(np.sin(angle))
        rotation = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        square, total, back = 0.0, 0.0, []
        for batch in batches:
            predicted = _averaged(model, rotated(batch, rotation[None]), frames, rng) @ rotation
            square += float((predicted - batch.momenta[0]).square().sum())
            total += float(batch.momenta[0].square().sum())
            back.append(predicted)
        errors.append((square / total) ** 0.5)
        predictions.append(torch.cat(back))
    every = torch.stack(predictions)
    spread = float(((every - every.mean(0)).square().sum() / every.square().sum()) ** 0.5)
    return dict(momentum_error=errors, spread=spread)


def _averaged(model: Stride, batch: Batch, frames: int, rng: np.random.Generator) -> torch.Tensor:
    """Predicted momenta [N, 3]; with several frames, the mean over random orientations."""
    if frames == 1:
        return model.predict(batch.graph).momenta
    total = torch.zeros_like(batch.momenta[0])
    for _ in range(frames):
        rotation = random_orthogonal(rng)
        total += model.predict(rotated(batch, rotation[None]).graph).momenta @ rotation
    return total / frames
