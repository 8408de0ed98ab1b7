"""From a run's checkpoint to a model file: calibrate, export, measure, write the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flashmd_rs.reference.potentials import Potential
from flashmd_train.data.dataset import Dataset, stratified
from flashmd_train.data.domain import domain
from flashmd_train.data.pairs import StridePairs
from flashmd_train.export.calibration import ENERGIES, calibrate
from flashmd_train.export.mean_field import FRAMES, add_mean_field
from flashmd_train.export.metadata import (
    DRIVEN,
    ENVIRONMENTS,
    bonded_terms,
    common_metadata,
    driven_terms,
    reference_energy_model,
)
from flashmd_train.export.uncertainty import largest_uncertainty, set_uncertainty
from flashmd_train.learning.baselines import fit_baselines
from flashmd_train.learning.checkpoint import best_weights, load_weights
from flashmd_train.learning.loop import MARGIN_A
from flashmd_train.learning.metrics import energy_errors, stride_errors
from flashmd_train.model_files.contract import DIRECT_INPUTS, read_model, write_model
from flashmd_train.model_files.exports import export_action, export_direct, export_energy, export_splitting, probes
from flashmd_train.model_files.parity import equivariance, rounding
from flashmd_train.models.build import build, kind_of
from flashmd_train.models.direct import Direct
from flashmd_train.models.driven import Driven
from flashmd_train.models.energy import Energy
from flashmd_train.models.molecules import BOND_LENGTH_MAX_A
from flashmd_train.models.pet import PETAction, PETEnergy, Solved
from flashmd_train.models.splitting import Splitting

# Largest departure from equivariance of an exported model whose backbone is equivariant, of the largest value; half of
# what the runtime allows on a structure of its own. Where rounding errors are larger, the runtime rotates strides.
EQUIVARIANCE = 5e-6
# Share of each file on which errors are measured, as in training by default.
VALIDATION_SHARE = 0.05
# Frames of the training part to which an energy model's baselines are fitted.
BASELINE_FRAMES = 100


def publish(
    run: Path,
    output: Path,
    data: list[Path],
    energy_model: Path | None,
    measured: dict,
    calibration: list[Path] | None = None,
    potential: Potential | None = None,
    energies: int = ENERGIES,
) -> dict:
    """Export the averaged weights of ``run``, where validation was best; its kind is read from the checkpoint.

    Args:
        run: folder with checkpoint.pt.
        output: ONNX file.
        data: the HDF5 files it was trained on; validation and domain are measured on them.
        energy_model: reference energy model (ONNX) of a model that moves atoms.
        measured: figures from runs, added to ``validation``.
        calibration: those of ``data`` on which a direct model's momentum scale is calibrated, by default all. They must
            be samples of equilibrium, which flagged frames of runs are not. With none, momenta are as trained.
        potential: of the data. Without it, a direct model's momenta are restored in one stride only, and an energy
            model has no mean field.
        energies: the most that the potential is asked for.

    Returns:
        The metadata of the model.

    Raises:
        ValueError: the data is not the run's, or the graph does not do what PyTorch does.
    """
    torch.set_num_threads(1)
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    loaded = Dataset(data)
    if loaded.sha256 != saved["data"]["sha256"]:
        raise ValueError(f"{run} was trained on other data than {[str(p) for p in data]}: the hashes differ")
    kind, model = kind_of(saved["config"]), build(saved["config"])
    load_weights(model, best_weights(saved), run)
    if kind == "splitting":
        return _publish_splitting(model, saved, output, loaded, energy_model, measured)
    if kind == "action":
        return _publish_action(model, saved, output, loaded, energy_model, measured)
    if kind == "direct":
        calibrating = [calibration is None or path in calibration for path in data]
        return _publish_direct(model, saved, output, loaded, energy_model, measured, calibrating, potential, energies)
    return _publish_energy(model, saved, output, loaded, measured, potential, energies)


def _publish_direct(
    model: Direct,
    saved: dict,
    output: Path,
    data: Dataset,
    energy_model: Path | None,
    measured: dict,
    calibrating: list[bool],
    potential: Potential | None,
    energies: int,
) -> dict:
    config, driven = model.config, isinstance(model, Driven)
    data.find_bonds(config.bonded)
    reach = config.cutoff_A + (MARGIN_A if driven else 0.0)
    training_part, validation_part = data.split(VALIDATION_SHARE, seed=0)
    training = StridePairs(data, training_part, config.stride_fs, reach)
    validation = StridePairs(data, validation_part, config.stride_fs, reach)
    calibrated: dict[str, object] = {"calibration": "none: momenta are as trained"}
    if any(calibrating) and model.noise is None:
        equilibrium = validation_part[[calibrating[f] for f, _ in validation_part]]
        pairs = StridePairs(data, equilibrium, config.stride_fs, reach)
        calibrated = calibrate(model, pairs, potential, energies)
    errors = stride_errors(model, validation, boxes=len(validation_part))
    ranks = set_uncertainty(model, training, validation)
    graph, parity_error = export_direct(model, data.masses)
    probe = probes(config.prior, config.cutoff_A, data.masses)[-1]
    vectors = 1 if driven else 2
    departure = equivariance(graph, probe, vectors)
    # Ten times PyTorch's own rounding error, as of an export's parity, where that is larger.
    allowed = max(EQUIVARIANCE, 10 * float(rounding(model, DIRECT_INPUTS, [probe])[:vectors].max()))
    if model.backbone.equivariant and departure > allowed:
        raise ValueError(f"the exported graph departs from equivariance by {departure:.1e}, allowed {allowed:.0e}")
    limits = domain(data, config.cutoff_A)
    limits["largest_uncertainty"] = largest_uncertainty(model, training)
    # With bonds, the atoms of a molecule too, and those of the outermost neighbours.
    field = model.backbone.reach * config.cutoff_A + (4 * BOND_LENGTH_MAX_A if config.prior == "bonded" else 0.0)
    metadata = common_metadata(saved, data, config.cutoff_A, limits) | dict(
        kind="driven" if driven else "direct",
        stride_fs=config.stride_fs,
        **({"contract": DRIVEN} | driven_terms(model) if driven else {}),
        receptive_field_A=field,
        equivariant=bool(model.backbone.equivariant and departure <= EQUIVARIANCE),
        energy_model=reference_energy_model(energy_model),
        gain={symbol: round(float(g), 6) for symbol, g in zip(config.species, model.momentum_scale)},
        validation={f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | {f"uncertainty_{k}": round(v, 3) for k, v in ranks.items()}
        | calibrated
        | dict(onnx_parity=parity_error, equivariance_error=departure)
        | measured,
    )
    write_model(graph, metadata, output)
    return metadata


def _publish_splitting(
    model: Splitting, saved: dict, output: Path, data: Dataset, energy_model: Path | None, measured: dict
) -> dict:
    config = model.config
    data.find_bonds(config.bonded)
    _, validation_part = data.split(VALIDATION_SHARE, seed=0)
    validation = StridePairs(data, validation_part, config.stride_fs, config.cutoff_A + MARGIN_A)
    errors = stride_errors(model, validation, boxes=len(validation_part))
    graph, parity_error = export_splitting(model, data.masses)
    metadata = common_metadata(saved, data, config.cutoff_A, domain(data, config.cutoff_A)) | dict(
        kind="hybrid" if model.is_hybrid else "splitting",
        stride_fs=config.stride_fs,
        splitting=dict(kicks=list(config.kicks), drifts=list(config.drifts)),
        **({"fast": bonded_terms(model)} if model.is_hybrid else {}),
        **({"contract": ENVIRONMENTS} if model.bonded is not None else {}),
        receptive_field_A=config.cutoff_A + (2 * BOND_LENGTH_MAX_A if config.scalar.prior == "bonded" else 0.0),
        equivariant=True,
        time_reversible=True,
        energy_model=reference_energy_model(energy_model),
        validation={k if k.startswith("potential") else f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | dict(onnx_parity=parity_error)
        | measured,
    )
    write_model(graph, metadata, output)
    return metadata


def _publish_action(
    model: PETAction, saved: dict, output: Path, data: Dataset, energy_model: Path | None, measured: dict
) -> dict:
    config = model.config
    model.eval()
    _, validation_part = data.split(VALIDATION_SHARE, seed=0)
    validation = StridePairs(data, validation_part, config.stride_fs, config.cutoff_A + MARGIN_A)
    errors = stride_errors(Solved(model), validation, boxes=len(validation_part))
    graph, parity_error = export_action(model, data.masses)
    metadata = common_metadata(saved, data, config.cutoff_A, domain(data, config.cutoff_A)) | dict(
        kind="action",
        stride_fs=config.stride_fs,
        receptive_field_A=model.receptive_field_A,
        equivariant=False,
        energy_model=reference_energy_model(energy_model),
        validation={f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | dict(onnx_parity=parity_error)
        | measured,
    )
    write_model(graph, metadata, output)
    return metadata


def _publish_energy(
    model: Energy | PETEnergy,
    saved: dict,
    output: Path,
    data: Dataset,
    measured: dict,
    potential: Potential | None,
    energies: int,
) -> dict:
    config = model.config
    data.require("forces", "energy")
    training_part, validation_part = data.split(VALIDATION_SHARE, seed=0)
    fit_baselines(model, data, training_part[stratified(training_part, BASELINE_FRAMES)])
    errors = energy_errors(model, data, validation_part, frames=len(validation_part))
    graph, parity_error = export_energy(model, data.masses)
    # Molecules are found from the edges of the partners.
    field = config.cutoff_A + (2 * BOND_LENGTH_MAX_A if config.prior == "bonded" else 0.0)
    if isinstance(model, PETEnergy):
        field = model.receptive_field_A
    metadata = common_metadata(saved, data, config.cutoff_A, domain(data, config.cutoff_A)) | dict(
        kind="energy",
        receptive_field_A=field,
        equivariant=model.equivariant,
        validation={k: round(v, 6) for k, v in errors.items()} | dict(onnx_parity=parity_error) | measured,
    )
    if potential is not None:
        metadata = add_mean_field(graph, metadata, data, validation_part, potential, min(FRAMES, energies // 2))
    write_model(graph, metadata, output)
    return metadata


def settle_pressure(model: Path, output: Path, data: list[Path], potential: Potential) -> list[dict]:
    """Write an energy model with the mean field that ``data`` call for, and its pressures beside the reference's.

    Args:
        model: energy model (ONNX).
        output: ONNX file, which may be the same.
        data: HDF5 files of equilibrium at several densities, which training has not seen.
        potential: of the data.

    Returns:
        The pressures by file.

    Raises:
        ValueError: it is no energy model, or no file is periodic in all directions.
    """
    graph, metadata = read_model(model)
    if metadata["kind"] != "energy":
        raise ValueError(f"{model} is of kind {metadata['kind']!r}; wanted an energy model")
    loaded = Dataset(data)
    if not any(file.periodic.all() for file in loaded.files):
        raise ValueError("no file of the data is periodic in all directions: only those have a pressure")
    picks = np.array([(f, s) for f, file in enumerate(loaded.files) for s in range(len(file.temperature_K))])
    metadata = add_mean_field(graph, metadata, loaded, picks, potential)
    write_model(graph, metadata, output)
    return list(metadata["validation"]["pressures"])
