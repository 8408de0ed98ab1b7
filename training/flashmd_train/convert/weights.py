"""From metatrain's names of weights and hyperparameters to ours."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from flashmd_train.convert.checkpoint import Source
from flashmd_train.convert.errors import ConversionError

# (pattern of metatrain's name, our name): patterns match from the beginning, and the first match counts.
_TRUNK = [
    (r"gnn_layers\.(\d+)\.edge_embedder\.", r"layers.\1.geometry."),
    (r"gnn_layers\.(\d+)\.neighbor_embedder\.", r"layers.\1.species."),
    (r"gnn_layers\.(\d+)\.compress\.", r"layers.\1.compress."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.attention\.input_linear\.", r"layers.\1.blocks.\2.attention.qkv."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.attention\.output_linear\.", r"layers.\1.blocks.\2.attention.out."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.(norm_attention|norm_mlp)\.", r"layers.\1.blocks.\2.\3."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.mlp\.w_in\.", r"layers.\1.blocks.\2.mlp.0."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.mlp\.w_out\.", r"layers.\1.blocks.\2.mlp.2."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.center_contraction\.", r"layers.\1.blocks.\2.node.contract."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.center_expansion\.", r"layers.\1.blocks.\2.node.expand."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.norm_center_features\.", r"layers.\1.blocks.\2.node.norm."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.center_mlp\.w_in\.", r"layers.\1.blocks.\2.node.mlp.0."),
    (r"gnn_layers\.(\d+)\.trans\.layers\.(\d+)\.center_mlp\.w_out\.", r"layers.\1.blocks.\2.node.mlp.2."),
    (r"combination_norms\.(\d+)\.", r"combine.\1.0."),
    (r"combination_mlps\.(\d+)\.0\.", r"combine.\1.1."),
    (r"combination_mlps\.(\d+)\.2\.", r"combine.\1.3."),
    (r"node_embedders\.(\d+)\.center_encoder\.", r"nodes.\1.species."),
    (r"node_embedders\.(\d+)\.momenta_encoder\.", r"nodes.\1.momentum."),
    (r"node_embedders\.(\d+)\.compressor\.", r"nodes.\1.mix."),
    (r"node_embedders\.(\d+)\.weight", r"nodes.\1.species.weight"),
    (r"edge_embedder\.", r"neighbors."),
]
# Ignored: lookup tables, scales and constants (read elsewhere), and readouts of other targets.
_NOT_OURS = (
    r"(species_to_species_index|masses|timestep|"
    r"scaler\.(dummy_buffer|model\.type_to_index|.+_scaler_buffer)|"
    r"additive_models\.0\.(dummy_buffer|model\.type_to_index|.+_composition_buffer)|"
    r"(node|edge)_(heads|last_layers)\..+)"
)


def network_options(source: Source) -> dict[str, Any]:
    """Settings of PET that all architectures have, from metatrain's hyperparameters."""
    h = source.hypers
    return dict(
        cutoff_width_A=float(h["cutoff_width"]),
        features=h["d_pet"],
        node_features=h["d_node"],
        head_features=h["d_head"],
        hidden=h["d_feedforward"],
        heads=h["num_heads"],
        blocks=h["num_attention_layers"],
        layers=h["num_gnn_layers"],
        temperature=float(h["attention_temperature"]),
        norm=h["normalization"],
        activation=h["activation"],
        pre_norm=h["transformer_type"] == "PreLN",
        residual=h["featurizer_type"] == "residual",
    )


def load_weights(source: Source, network: nn.Module, targets: list[str]) -> None:
    """Copy metatrain's weights into a `PET` whose outputs are ``targets``, in order.

    Raises:
        ConversionError: if a weight has no place, or a place no weight.
    """
    weights: dict[str, Tensor] = {}
    for name, value in source.model.state_dict().items():
        name = name.removeprefix("backend.")  # where PET keeps its network since version 16
        ours = our_name(name, targets)
        if ours is not None:
            weights[ours] = value.to(torch.float32)
        elif not re.fullmatch(_NOT_OURS, name):
            raise ConversionError(
                f"{source.path} has the weight {name!r}, which the import does not know; it was made by a metatrain "
                "newer than the one this import was written for"
            )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ConversionError(
            f"{source.path}: its weights do not fit its hyperparameters ({' '.join(str(error).split())[:300]})"
        ) from error


def scales(source: Source, name: str) -> Tensor:
    """What metatrain multiplies a target by, one number per species."""
    values = source.model.scaler.model.scales[name].block().values.flatten()
    return values.expand(len(source.symbols)).to(torch.float32)


def constants(source: Source, name: str) -> Tensor:
    """What metatrain adds to a scalar target, one number per species."""
    block = source.model.additive_models[0].model.weights[name].block()
    order = [int(z) for z in block.samples.values.flatten()]
    values = block.values.flatten()[[order.index(z) for z in source.model.atomic_types]]
    return values.to(torch.float32)


def _readout(output: int, name: str) -> list[tuple[str, str]]:
    escaped = re.escape(name)
    return [
        rule
        for side in ("node", "edge")
        for rule in (
            (rf"{side}_heads\.{escaped}\.(\d+)\.", rf"outputs.{output}.\1.{side}."),
            (rf"{side}_last_layers\.{escaped}\.(\d+)\.[^.]+\.", rf"outputs.{output}.\1.{side}.4."),
        )
    ]


def our_name(name: str, targets: list[str]) -> str | None:
    """Name of one of metatrain's weights in a `PET` whose outputs are ``targets``; None where it has none."""
    for pattern, replacement in _TRUNK + [rule for i, target in enumerate(targets) for rule in _readout(i, target)]:
        renamed, found = re.subn(f"^{pattern}", replacement, name)
        if found:
            return renamed
    return None
