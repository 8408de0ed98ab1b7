"""Models by the settings that checkpoints and files keep of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from flashmd_train.models.config import ActionConfig, DirectConfig, EnergyConfig, SplittingConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.driven import Driven
from flashmd_train.models.energies import build_energy
from flashmd_train.models.pet import PETAction
from flashmd_train.models.splitting import Splitting

Config = DirectConfig | SplittingConfig | EnergyConfig | ActionConfig


class Kind(NamedTuple):
    """A kind of models: its settings, and what makes a model of them."""

    config: type[Config]
    build: Any


def build_direct(config: DirectConfig) -> Direct:
    """A direct model with random weights, driven where bonds are given."""
    return Direct(config) if config.bonded is None else Driven(config)


KINDS = {
    "direct": Kind(DirectConfig, build_direct),
    "splitting": Kind(SplittingConfig, Splitting),
    "energy": Kind(EnergyConfig, build_energy),
    "action": Kind(ActionConfig, PETAction),
}


def kind_of(config: dict[str, Any]) -> str:
    """Which kind of model settings are of."""
    if "kicks" in config:
        return "splitting"
    if "stride_fs" not in config:
        return "energy"
    return "direct" if "prior" in config else "action"


def build(config: Config | dict[str, Any]) -> nn.Module:
    """A model of any kind with random weights, from its settings.

    Raises:
        ValueError: settings that do not go together.
    """
    given = config if isinstance(config, dict) else config.model_dump(mode="json")
    kind = KINDS[kind_of(given)]
    return kind.build(kind.config.model_validate(given))
