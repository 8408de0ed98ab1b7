"""From a run's checkpoint to a bundled file: calibrate, export, measure, write the metadata."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import torch

from flashmd_train.calibration import calibrate
from flashmd_train.checkpoint import weights
from flashmd_train.config import DirectConfig, EnergyConfig, SplittingConfig
from flashmd_train.dataset import Dataset, Pairs
from flashmd_train.direct import WATER, Direct
from flashmd_train.energy import Energy
from flashmd_train.export import equivariance, export_direct, export_energy, export_splitting, probes, write
from flashmd_train.graph import norm
from flashmd_train.pairs import FIRST_A
from flashmd_train.prior import BOND_LENGTH_MAX_A
from flashmd_train.splitting import Splitting
from flashmd_train.train import MARGIN_A, validate
from flashmd_train.train_energy import fit_offset, validate_energy
from flashmd_train.uncertainty import set_uncertainty

EQUIVARIANCE = 1e-5
# Over the largest uncertainty in a sample of the training data: its tail is long, and a run sees many more atoms.
TRUST = 2.0


def publish(
    run: Path,
    output: Path,
    data: list[Path],
    energy_model: Path | None,
    measured: dict,
    calibration: list[Path] | None = None,
) -> None:
    """Export the averaged weights of ``run``, where validation was best; its kind is read from the checkpoint.

    Args:
        run: folder with checkpoint.pt.
        output: ONNX file.
        data: the HDF5 files it was trained on (validation and domain are measured on them).
        energy_model: companion of a direct model.
        measured: figures from runs, added to ``validation``.
        calibration: those of ``data`` that the gain on a direct model's momenta is set on, by default all. They must be
            states of equilibrium, which what a run was flagged at is not. Of none: momenta stay as they were trained.

    Raises:
        ValueError: the data is not the run's, or the graph does not do what PyTorch does.
    """
    torch.set_num_threads(1)
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    loaded = Dataset(data)
    if loaded.sha256 != saved["data"]["sha256"]:
        raise ValueError(f"{run} was trained on other data than {[str(p) for p in data]}: the hashes differ")
    if "kicks" in saved["config"]:
        _publish_splitting(saved, output, loaded, energy_model, measured)
    elif "stride_fs" in saved["config"]:
        calibrating = [calibration is None or path in calibration for path in data]
        _publish_direct(saved, output, loaded, energy_model, measured, calibrating)
    else:
        _publish_energy(saved, output, loaded, measured)


def _publish_direct(
    saved: dict, output: Path, data: Dataset, energy_model: Path | None, measured: dict, calibrating: list[bool]
) -> None:
    config = DirectConfig.model_validate(saved["config"])
    model = Direct(config)
    model.load_state_dict(weights(saved))
    training, held_out = data.split(0.05, seed=0)
    pairs = Pairs(data, training, config.stride_fs, config.cutoff_A)
    held = Pairs(data, held_out, config.stride_fs, config.cutoff_A)
    if any(calibrating) and model.noise is None:
        equilibrium = held_out[[calibrating[f] for f, _ in held_out]]
        calibrate(model, Pairs(data, equilibrium, config.stride_fs, config.cutoff_A))
    errors = validate(model, held, boxes=len(held_out))
    ranks = set_uncertainty(model, pairs, held)
    graph, parity_error = export_direct(model, data.masses)
    turned = equivariance(graph, probes(config.prior, config.cutoff_A, data.masses)[-1])
    if model.backbone.equivariant and turned > EQUIVARIANCE:
        raise ValueError(f"the exported graph departs from equivariance by {turned:.1e}, allowed {EQUIVARIANCE:.0e}")
    limits = domain(data, config.cutoff_A)
    limits["largest_uncertainty"] = largest_uncertainty(model, pairs)
    # A molecule's atoms, their neighbours' molecules, and what those see.
    field = 2 * config.cutoff_A + (4 * BOND_LENGTH_MAX_A if config.prior == "bonded" else 0.0)
    metadata = _common(saved, data, config.cutoff_A, limits) | dict(
        kind="direct",
        stride_fs=config.stride_fs,
        receptive_field_A=field,
        equivariant=bool(model.backbone.equivariant),
        energy_model=_companion(energy_model),
        gain={symbol: round(float(g), 6) for symbol, g in zip(config.species, model.gain)},
        validation={f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | {f"uncertainty_{k}": round(v, 3) for k, v in ranks.items()}
        | dict(onnx_parity=parity_error, equivariance_error=turned)
        | measured,
    )
    write(graph, metadata, output)


def _publish_splitting(saved: dict, output: Path, data: Dataset, energy_model: Path | None, measured: dict) -> None:
    config = SplittingConfig.model_validate(saved["config"])
    model = Splitting(config)
    model.load_state_dict(weights(saved))
    _, held_out = data.split(0.05, seed=0)
    held = Pairs(data, held_out, config.stride_fs, config.cutoff_A + MARGIN_A)
    errors = validate(model, held, boxes=len(held_out))
    graph, parity_error = export_splitting(model, data.masses)
    metadata = _common(saved, data, config.cutoff_A, domain(data, config.cutoff_A)) | dict(
        kind="hybrid" if model.flows else "splitting",
        stride_fs=config.stride_fs,
        splitting=dict(kicks=list(config.kicks), drifts=list(config.drifts)),
        **({"fast": fast_terms(model)} if model.flows else {}),
        receptive_field_A=config.cutoff_A + (2 * BOND_LENGTH_MAX_A if config.scalar.prior == "bonded" else 0.0),
        equivariant=True,
        time_reversible=True,
        energy_model=_companion(energy_model),
        validation={f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | dict(onnx_parity=parity_error)
        | measured,
    )
    write(graph, metadata, output)


def fast_terms(model: Splitting) -> dict:
    """What happens in the drifts of a water model, as the contract names it."""
    k_b, r_0, k_a, theta_0 = model.flows[0].constants().tolist()
    oxygen, hydrogen = WATER
    bond = dict(species=[oxygen, hydrogen], constant_eV_per_A2=k_b, length_A=r_0, longest_A=BOND_LENGTH_MAX_A)
    angle = dict(species=[hydrogen, oxygen, hydrogen], constant_eV_per_rad2=k_a, angle_rad=theta_0)
    terms = dict(inner_fs=model.config.fast_fs, bonds=[bond], angles=[angle], mollified=model.config.mollified)
    if model.tables is None:
        return terms
    tables = model.tables.entries(model.config.species)
    pairs = dict(step_fs=model.config.pairs_fs, first_A=FIRST_A, spacing_A=model.tables.spacing, tables=tables)
    return terms | dict(pairs=pairs)


def _publish_energy(saved: dict, output: Path, data: Dataset, measured: dict) -> None:
    config = EnergyConfig.model_validate(saved["config"])
    model = Energy(config)
    model.load_state_dict(weights(saved))
    training, held_out = data.split(0.05, seed=0)
    fit_offset(model, data, list(training[:: max(1, len(training) // 100)]))
    errors = validate_energy(model, data, held_out, frames=len(held_out))
    graph, parity_error = export_energy(model, data.masses)
    # Molecules are told apart by one look at the partners' partners.
    field = config.cutoff_A + (2 * BOND_LENGTH_MAX_A if config.prior == "bonded" else 0.0)
    metadata = _common(saved, data, config.cutoff_A, domain(data, config.cutoff_A)) | dict(
        kind="energy",
        receptive_field_A=field,
        equivariant=True,
        validation={k: round(v, 6) for k, v in errors.items()} | dict(onnx_parity=parity_error) | measured,
    )
    write(graph, metadata, output)


def _common(saved: dict, data: Dataset, cutoff: float, limits: dict) -> dict:
    systems = sorted({str(recipe["reference"]) for recipe in data.recipe})
    return dict(
        contract=1,
        cutoff_A=cutoff,
        species=list(data.symbols),
        masses_u=list(data.masses),
        time_reversible=False,
        reference="; ".join(systems),
        domain=limits,
        provenance=dict(
            command=" ".join(["flashmd-train", *sys.argv[1:]]),
            config=saved["config"],
            steps=saved["step"],
            seed=saved["seed"],
            training_cpu_s=round(saved["seconds"]),
            data_sha256=saved["data"]["sha256"],
            data=saved["data"]["recipe"],
            versions={name: importlib.metadata.version(name) for name in ("torch", "onnx", "openmm")},
        ),
    )


def spread(data: Dataset, frames: int) -> list[tuple[int, int]]:
    """(file, segment) evenly over all the data."""
    every = [(f, s) for f, file in enumerate(data.files) for s in range(len(file.temperature_K))]
    return [every[k] for k in np.linspace(0, len(every) - 1, min(frames, len(every))).astype(int)]


def domain(data: Dataset, cutoff: float, frames: int = 60) -> dict:
    """What the training data spans: temperature, density, distances, momenta, neighbour counts."""
    closest: dict[str, float] = {}
    momentum, most, fewest = 0.0, 0, np.inf
    for f, segment in spread(data, frames):
        file = data.files[f]
        graph = data.graph(f, file.positions[segment, 0], file.momenta[segment, 0], cutoff)
        d = norm(graph.edge_vectors).squeeze(-1)
        theirs = graph.species[graph.neighbors]
        for a, first in enumerate(data.symbols):
            for b, second in enumerate(data.symbols[a:], a):
                of = graph.mask & (graph.species[:, None] == a) & (theirs == b)
                if of.any():
                    name = f"{first}-{second}"
                    closest[name] = round(min(closest.get(name, np.inf), float(d[of].min())), 3)
        momentum = max(momentum, float(graph.momenta.abs().max()))
        counts = graph.mask.sum(1)
        most, fewest = max(most, int(counts.max())), min(fewest, int(counts.min()))
    temperatures = np.concatenate([file.temperature_K for file in data.files])
    densities = [round(file.density_g_per_cm3, 4) for file in data.files if file.periodic.all()]
    limits = dict(
        temperature_K=[float(temperatures.min()), float(temperatures.max())],
        smallest_pair_distance_A=closest,
        largest_scaled_momentum_sqrt_eV=round(momentum, 3),
        largest_neighbor_count=most,
        smallest_neighbor_count=int(fewest),
    )
    return limits | (dict(density_g_per_cm3=[min(densities), max(densities)]) if densities else {})


@torch.no_grad()
def largest_uncertainty(model: Direct, pairs: Pairs, boxes: int = 150) -> list[float]:
    """What is trusted, per output (Å·√u and √eV): twice the largest of an atom in a sample of the training data."""
    largest = torch.zeros(2)
    for k in np.linspace(0, len(pairs.index) - 1, min(boxes, len(pairs.index))).astype(int):
        graph = pairs.held(int(k)).graph
        largest = torch.maximum(largest, model.uncertainty(graph.species, model.predict(graph).last).amax(0))
    return [float(f"{TRUST * value:.4g}") for value in largest]


def _companion(path: Path | None) -> dict | None:
    if path is None:
        return None
    return dict(name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
