"""Small models and settings that the tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flashmd_train.learning.config import Data, DirectTraining, Optimizer
from flashmd_train.models.config import DirectConfig
from flashmd_train.models.direct import Direct

MASSES = (15.99943, 1.007947)
CUTOFF = 4.0
OPTIONS = {
    "lookahead": dict(nodes=(0.5, 1.0), radial=6, hidden=4, message_vectors=6),
    "edgemp": dict(features=16),
    "painn": dict(features=16, radial=6),
    "pet": dict(preset="tiny", features=16, node_features=24, head_features=16, hidden=24, heads=2),
}
# All segments of the data set in conftest.py.
EVERY = np.array([(0, s) for s in range(6)])


def published_pet(species: tuple[str, ...], cutoff_A: float, momenta_as_difference: bool = False, **options) -> Direct:
    """FlashMD as it is published: PET without prior."""
    model = Direct(
        DirectConfig(
            species=species,
            cutoff_A=cutoff_A,
            backbone="pet",
            prior="none",
            momenta_as_difference=momenta_as_difference,
            options=options,
        )
    )
    return model.eval().requires_grad_(False)


def direct_training(
    file: Path, backbone: str = "lookahead", steps: int = 4, model: dict | None = None, **more
) -> DirectTraining:
    """Settings of a few steps on ``file``."""
    shape = dict(stride_fs=2.0, cutoff_A=CUTOFF, inner_timestep_fs=1.0, lookahead_timestep_fs=1.0, legendre_orders=2)
    return DirectTraining(
        model=DirectConfig(backbone=backbone, options=OPTIONS[backbone], **shape, **(model or {})),
        data=Data(files=(file,), boxes=1),
        optimizer=Optimizer(steps=steps, warmup=0),
        every=2,
        **more,
    )
