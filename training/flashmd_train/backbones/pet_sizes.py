"""Sizes of PET by name, and its settings as a model's options give them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from flashmd_train.backbones.pet import PETConfig
from flashmd_train.settings import problems

PRESETS: dict[str, dict[str, int]] = {
    "published": {},
    "small": dict(features=64, node_features=256, head_features=64, hidden=128, heads=4),
    "tiny": dict(features=32, node_features=64, head_features=32, hidden=64, heads=4, blocks=1, layers=2),
}
"""Sizes by name; "published" is metatrain's FlashMD."""

GIVEN = {"species", "cutoff_A", "sees_momenta"}
"""Settings of a PET that those of its model say."""


def pet_config(species: int, cutoff_A: float, options: dict[str, Any], sees_momenta: bool = True) -> PETConfig:
    """Everything that fixes a PET.

    Args:
        species: number of species.
        cutoff_A: Å.
        options: settings of :class:`PETConfig` beside ``preset``, one of :data:`PRESETS` that says all others.
        sees_momenta: true for models that move atoms, false for energies.

    Raises:
        ValueError: no such preset or setting, or a value that it cannot have.
    """
    preset, settings = options.get("preset", "published"), {k: v for k, v in options.items() if k != "preset"}
    if str(preset) not in PRESETS:
        raise ValueError(f"got model.options.preset: {preset!r}, wanted one of {', '.join(PRESETS)}")
    if given := GIVEN & settings.keys():
        raise ValueError(f"got model.options {', '.join(sorted(given))}, which follow from model and data")
    try:
        return PETConfig(species=species, cutoff_A=cutoff_A, sees_momenta=sees_momenta, **(PRESETS[preset] | settings))
    except ValidationError as error:
        raise ValueError("model.options: " + "; ".join(problems(error))) from None
