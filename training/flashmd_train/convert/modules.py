"""Our modules with the weights of a metatrain checkpoint, one builder per architecture."""

from __future__ import annotations

from collections.abc import Callable

import torch

from flashmd_train.convert.checkpoint import ANGSTROM, ELECTRONVOLT, MOMENTUM, Source, check_unit, target
from flashmd_train.convert.errors import ConversionError
from flashmd_train.convert.weights import constants, load_weights, network_options, scales
from flashmd_train.models.config import ActionConfig, DirectConfig, EnergyConfig
from flashmd_train.models.direct import Direct
from flashmd_train.models.pet import PETAction, PETEnergy

MOVES = ["position", "momentum"]


def build_flashmd(source: Source) -> Direct:
    """``experimental.flashmd`` as a direct model."""
    _check_targets(source)
    module = Direct(
        DirectConfig(
            species=tuple(source.symbols),
            stride_fs=stride_fs(source),
            cutoff_A=float(source.hypers["cutoff"]),
            backbone="pet",
            prior="none",
            momenta_as_difference=source.hypers["predict_momenta_as_difference"],
            options=network_options(source) | {"cutoff_function": "cosine"},
        )
    )
    load_weights(source, module.backbone.pet, MOVES)
    module.prior.position_unit.copy_(scales(source, "position"))
    module.prior.momentum_unit.copy_(scales(source, "momentum"))
    return module


def build_pet(source: Source) -> PETEnergy:
    """``pet`` with one energy as an energy model."""
    name, h = energy_target(source), source.hypers
    check_unit(source, "its energies", target(source, name).unit, ELECTRONVOLT, "eV")
    adaptive = {
        "adaptive_neighbors": h["num_neighbors_adaptive"],
        "adaptive_method": h["adaptive_cutoff_method"].lower(),
        "adaptive_width_A": float(h["cutoff_width_adaptive"]),
    }
    options = network_options(source) | {"cutoff_function": h["cutoff_function"].lower()} | adaptive
    module = PETEnergy(
        EnergyConfig(
            species=tuple(source.symbols), backbone="pet", prior="free", cutoff_A=float(h["cutoff"]), options=options
        )
    )
    load_weights(source, module.pet, [name])
    module.scale.copy_(scales(source, name))
    module.baseline[0] = constants(source, name)
    return module


def build_symplectic(source: Source) -> PETAction:
    """``experimental.flashmd_symplectic`` as an action model."""
    _check_targets(source)
    module = PETAction(
        ActionConfig(
            species=tuple(source.symbols),
            stride_fs=stride_fs(source),
            cutoff_A=float(source.hypers["cutoff"]),
            options=network_options(source) | {"cutoff_function": "bump"},
        )
    )
    load_weights(source, module.pet, ["mtt::S3"])
    module.scale.copy_(_common_scale(source))
    return module


MODULES: dict[str, Callable[[Source], Direct | PETEnergy | PETAction]] = {
    "experimental.flashmd": build_flashmd,
    "experimental.flashmd_symplectic": build_symplectic,
    "pet": build_pet,
}


def stride_fs(source: Source) -> float:
    """Time step, fs."""
    found = float(source.model.timestep)
    if not found > 0:
        raise ConversionError(_before_strides(source))
    return found


def masses(source: Source) -> list[float]:
    """Mass of each species, u."""
    found = [float(source.model.masses[z]) for z in source.model.atomic_types]
    if not all(x > 0 for x in found):
        raise ConversionError(_before_strides(source))
    return found


def energy_target(source: Source) -> str:
    """Name of the energy."""
    found = [
        name
        for name, info in source.targets.items()
        if info.quantity == "energy" and info.is_scalar and len(info.layout.block().properties) == 1
    ]
    if "energy" in found:
        return "energy"
    if len(found) != 1:
        raise ConversionError(
            f"{source.path} predicts {', '.join(sorted(source.targets))}; the import wants a target 'energy', or one "
            "alone that is an energy"
        )
    return found[0]


def _check_targets(source: Source) -> None:
    check_unit(source, "its positions", target(source, "position").unit, ANGSTROM, "A")
    check_unit(source, "its momenta", target(source, "momentum").unit, MOMENTUM, "(eV*u)^(1/2)")


def _before_strides(source: Source) -> str:
    found = [float(source.model.masses[z]) for z in source.model.atomic_types]
    return (
        f"{source.path} does not say its time step and masses (got {float(source.model.timestep)} fs and {found} u); "
        "it comes from before `mtt train` wanted them. Restart its training for an epoch with timestep and masses in "
        "the options"
    )


def _common_scale(source: Source) -> torch.Tensor:
    every = torch.cat([scales(source, "position"), scales(source, "momentum")])
    if not torch.allclose(every, every[0].expand_as(every)):
        raise ConversionError(
            f"{source.path} scales positions by {every[: len(every) // 2].tolist()} and momenta by "
            f"{every[len(every) // 2 :].tolist()}; only with one common scale are both derivatives of one action. "
            "Train with scale_targets: false, or with the same fixed_scaling_weights for both"
        )
    return every[0]
