"""What the import knows of metatrain's architectures; anything else is refused by name.

A hyperparameter that nobody reads changes nothing here and something there, so an unknown one is an error even where
it looks harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flashmd_train.convert.errors import ConversionError, quote

COMMON = {
    "cutoff",
    "cutoff_width",
    "d_pet",
    "d_head",
    "d_node",
    "d_feedforward",
    "num_heads",
    "num_attention_layers",
    "num_gnn_layers",
    "normalization",
    "activation",
    "attention_temperature",
    "transformer_type",
    "featurizer_type",
    "long_range",
}
ADAPTIVE = {"num_neighbors_adaptive", "adaptive_cutoff_method", "cutoff_width_adaptive"}
CONDITIONING = {"system_conditioning", "max_charge", "max_spin_multiplicity"}
CHOICES = {
    "normalization": ("RMSNorm", "LayerNorm"),
    "activation": ("SwiGLU", "SiLU"),
    "transformer_type": ("PreLN", "PostLN"),
    "featurizer_type": ("feedforward", "residual"),
    "cutoff_function": ("Bump", "Cosine"),
    "adaptive_cutoff_method": ("solver", "grid"),
}
# Why a hyperparameter has to be false.
OFF = {
    "long_range": "its Ewald sums look beyond any cutoff and cannot be exported. Train with long_range.enable: false",
    "zbl": "it adds a ZBL repulsion, which the import does not have. Train with zbl: false",
    "system_conditioning": "its energies depend on the total charge and spin, of which a model file is told nothing. "
    "Train with system_conditioning: false",
}


@dataclass(frozen=True)
class Architecture:
    """One of metatrain's architectures.

    Attributes:
        version: newest of its checkpoints that the import was written for.
        hypers: names of all hyperparameters of that version; older versions have some of them.
    """

    version: int
    hypers: set[str]


ARCHITECTURES = {
    "experimental.flashmd": Architecture(5, COMMON | {"predict_momenta_as_difference"}),
    "experimental.flashmd_symplectic": Architecture(3, COMMON),
    "pet": Architecture(16, COMMON | ADAPTIVE | CONDITIONING | {"cutoff_function", "zbl"}),
}


def check_architecture(path: Path, name: str) -> Architecture:
    """The entry of ``ARCHITECTURES``, which has to exist."""
    if name not in ARCHITECTURES:
        raise ConversionError(
            f"{path} holds the architecture {quote(name)}; {', '.join(ARCHITECTURES)} can be imported. "
            "A wrapper such as llpr is trained on top of one of these: give the checkpoint below it"
        )
    return ARCHITECTURES[name]


def check_version(path: Path, name: str, version: object) -> None:
    """Raise unless ``version`` is one of a checkpoint that the import was written for."""
    newest = ARCHITECTURES[name].version
    if type(version) is not int or version < 1:
        raise ConversionError(
            f"{path} says that its version is {quote(version)}; the import reads 1 to {newest} of {name}"
        )
    if version > newest:
        raise ConversionError(
            f"{path} is a {name} checkpoint of version {version}; the import reads 1 to {newest}. A newer "
            "metatrain has written it: update flashmd-rs, or train with metatrain 2026.4"
        )


def check_hypers(path: Path, name: str, version: int, hypers: dict) -> None:
    """Raise unless all hyperparameters are known and what they ask for can be imported."""
    known = ARCHITECTURES[name]
    for hyper, reason in OFF.items():
        value = hypers.get(hyper, False)
        if value.get("enable", True) if isinstance(value, dict) else value:
            raise ConversionError(f"{path} was trained with {hyper} on: {reason}")
    if unknown := sorted(map(str, hypers.keys() - known.hypers)):
        raise ConversionError(
            f"{path} was trained with hyperparameters that the import does not know: {quote(unknown)}; a metatrain "
            "other than the ones this import was written for has written it"
        )
    if version == known.version and (missing := sorted(known.hypers - hypers.keys())):
        raise ConversionError(
            f"{path} lacks hyperparameters that version {version} of {name} has: {quote(missing)}; what it would "
            "take for them is not known here"
        )
    for hyper, choices in CHOICES.items():
        value = hypers.get(hyper, choices[0])
        if str(value).lower() not in [choice.lower() for choice in choices]:
            raise ConversionError(
                f"{path} was trained with {hyper}: {quote(value)}, which the import does not know; it knows "
                f"{' and '.join(choices)}"
            )
