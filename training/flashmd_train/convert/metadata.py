"""The metadata of an imported model."""

from __future__ import annotations

import importlib.metadata

from flashmd_train.convert.checkpoint import Source, metatrain_version
from flashmd_train.convert.importers import Imported
from flashmd_train.models.config import EnergyConfig


def describe(source: Source, imported: Imported) -> dict:
    """The entries of the contract, the origin of the file, and the errors of its proof."""
    metadata = dict(
        contract=1,
        kind=imported.kind,
        cutoff_A=imported.config.cutoff_A,
        receptive_field_A=imported.receptive_field_A,
        species=source.symbols,
        equivariant=False,
        time_reversible=False,
        reference=f"what the metatrain checkpoint {source.path.name} was trained on; metatrain does not record it",
        validation=dict(
            onnx_parity=imported.onnx_parity,
            **{f"metatrain_parity_{name}": error for name, error in imported.metatrain_parity.items()},
        ),
        provenance=dict(
            command=f"flashmd-rs convert {source.path.name} --weights {source.weights}",
            architecture=source.architecture,
            checkpoint=source.path.name,
            checkpoint_sha256=source.sha256,
            checkpoint_version=source.version,
            weights=source.weights,
            epoch=source.epoch,
            targets=imported.targets,
            targets_left_out=sorted(source.targets.keys() - set(imported.targets)),
            assumed=source.assumed,
            hypers=source.hypers,
            config=imported.config.model_dump(mode="json"),
            versions=dict(metatrain=metatrain_version())
            | {name: importlib.metadata.version(name) for name in ("torch", "onnx")},
        ),
    )
    if not isinstance(imported.config, EnergyConfig):
        metadata |= dict(stride_fs=imported.config.stride_fs, masses_u=imported.masses_u)
    return metadata
