"""From a run's checkpoint to a bundled file: calibrate, export, measure, write the metadata."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import torch

from flashmd_train.data.water import Water
from flashmd_train.dataset import Pairs, Segments
from flashmd_train.direct import SPECIES, Direct, DirectConfig
from flashmd_train.energy import Energy, EnergyConfig
from flashmd_train.export import equivariance, export_direct, export_energy, water_graph, write
from flashmd_train.graph import norm
from flashmd_train.prior import BOND_LENGTH_MAX_A
from flashmd_train.train import validate
from flashmd_train.train_energy import validate_energy

REFERENCE = (
    "flexible TIP3P water (OpenMM tip3p.xml without constraints), PME with 9 Å real-space cutoff, "
    "velocity Verlet with 0.25 fs steps, NVE"
)
EQUIVARIANCE = 1e-5


def publish(run: Path, output: Path, data: list[Path], energy_model: Path | None, measured: dict) -> None:
    """Export the averaged weights of ``run``; its kind is read from the checkpoint.

    Args:
        run: folder with checkpoint.pt.
        output: ONNX file.
        data: the HDF5 files it was trained on (validation and domain are measured on them).
        energy_model: companion of a direct model.
        measured: figures from runs, added to ``validation``.
    """
    torch.set_num_threads(1)
    saved = torch.load(run / "checkpoint.pt", weights_only=False)
    segments = Segments.load(data)
    if segments.sha256 != saved["data"]["sha256"]:
        raise ValueError(f"{run} was trained on other data than {[str(p) for p in data]}: the hashes differ")
    if "stride_fs" in saved["config"]:
        _publish_direct(saved, output, segments, energy_model, measured)
    else:
        _publish_energy(saved, output, segments, measured)


def _publish_direct(saved: dict, output: Path, segments: Segments, energy_model: Path | None, measured: dict) -> None:
    config = DirectConfig(**saved["config"])
    model = Direct(config)
    model.load_state_dict(saved["averaged"])
    training, held_out = segments.split(0.05, seed=0)
    calibrate(model, segments, training)
    held_out_pairs = Pairs(segments, held_out, config.stride_fs, config.cutoff_A, False)
    errors = validate(model, held_out_pairs, boxes=len(held_out))
    masses = _masses()
    graph, parity_error = export_direct(model, config.cutoff_A, masses)
    turned = equivariance(graph, water_graph(4, config.cutoff_A, 4, masses))
    if model.backbone.equivariant and turned > EQUIVARIANCE:
        raise ValueError(f"the exported graph departs from equivariance by {turned:.1e}, allowed {EQUIVARIANCE:.0e}")
    metadata = _common(saved, segments, config.cutoff_A) | dict(
        kind="direct",
        stride_fs=config.stride_fs,
        # A molecule's atoms, their neighbours' molecules, and what those see.
        receptive_field_A=2 * config.cutoff_A + 4 * BOND_LENGTH_MAX_A,
        equivariant=bool(model.backbone.equivariant),
        energy_model=_companion(energy_model),
        gain={symbol: round(float(g), 6) for symbol, g in zip(SPECIES, model.gain)},
        validation={f"one_stride_{k}": round(v, 6) for k, v in errors.items()}
        | dict(onnx_parity=parity_error, equivariance_error=turned)
        | measured,
    )
    write(graph, metadata, output)


def _publish_energy(saved: dict, output: Path, segments: Segments, measured: dict) -> None:
    config = EnergyConfig(**saved["config"])
    model = Energy(config)
    model.load_state_dict(saved["averaged"])
    _, held_out = segments.split(0.05, seed=0)
    errors = validate_energy(model, segments, held_out, frames=len(held_out))
    graph, parity_error = export_energy(model, config.cutoff_A, _masses())
    metadata = _common(saved, segments, config.cutoff_A) | dict(
        kind="energy",
        # Molecules are told apart by one look at the partners' partners.
        receptive_field_A=config.cutoff_A + 2 * BOND_LENGTH_MAX_A,
        equivariant=True,
        validation={k: round(v, 6) for k, v in errors.items()} | dict(onnx_parity=parity_error) | measured,
    )
    write(graph, metadata, output)


@torch.no_grad()
def calibrate(model: Direct, segments: Segments, index: np.ndarray, boxes: int = 150) -> None:
    """Set the gain on momenta per species so that a stride, on average, neither shrinks, heats nor cools.

    A least-squares predictor shrinks momenta towards their mean, and its errors in the positions raise
    the potential energy. The ratio of the gains restores Σ p² species by species; their common factor
    then restores the reference's mean total energy after one stride: E(q', g·p') = E(q, p).
    """
    config = model.config
    pairs = Pairs(segments, index, config.stride_fs, config.cutoff_A, False)
    model.gain.fill_(1.0)
    reference = Water(len(segments.species) // 3)
    predicted, true = np.zeros(len(SPECIES)), np.zeros(len(SPECIES))
    heated = 0.0
    for k, segment in enumerate(index[np.linspace(0, len(index) - 1, boxes).astype(int)]):
        start = k % pairs.starts
        graph, _, p = pairs.batch(np.array([segment]), np.array([start]), np.array([False]), None)
        u, p_hat = model(*graph[:6])
        for s in range(len(SPECIES)):
            predicted[s] += 0.5 * float(p_hat[graph.species == s].double().square().sum())
            true[s] += 0.5 * float(p[graph.species == s].double().square().sum())
        moved = segments.positions[segment, start] + (u / graph.masses.sqrt()[:, None]).numpy()
        heated += reference.energy(moved.astype(float)) - segments.energy[segment, start + pairs.jump]
    share = true / true.sum()
    # Potential energy gained on the way is taken from the kinetic energy of all, in equal proportion.
    wanted = true - heated * share
    model.gain.copy_(torch.tensor(np.sqrt(wanted / predicted)))


def _masses() -> tuple[float, float]:
    masses = Water(2).masses
    return float(masses[0]), float(masses[1])


def _common(saved: dict, segments: Segments, cutoff: float) -> dict:
    return dict(
        contract=1,
        cutoff_A=cutoff,
        species=list(SPECIES),
        masses_u=list(_masses()),
        time_reversible=False,
        reference=REFERENCE,
        domain=domain(segments, cutoff),
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


def domain(segments: Segments, cutoff: float, frames: int = 60) -> dict:
    """What the training data spans: temperature, density, distances, momenta, neighbour counts."""
    closest: dict[str, float] = {}
    momentum, most, fewest = 0.0, 0, np.inf
    everything = np.arange(len(segments.temperature_K))
    pairs = Pairs(segments, everything, segments.spacing_fs, cutoff, False)
    for segment in everything[np.linspace(0, len(everything) - 1, frames).astype(int)]:
        graph, _, _ = pairs.batch(np.array([segment]), np.array([0]), np.array([False]), None)
        d = norm(graph.edge_vectors).squeeze(-1)
        theirs = graph.species[graph.neighbors]
        for a in range(len(SPECIES)):
            for b in range(a, len(SPECIES)):
                of = graph.mask & (graph.species[:, None] == a) & (theirs == b)
                name = f"{SPECIES[a]}-{SPECIES[b]}"
                closest[name] = round(min(closest.get(name, np.inf), float(d[of].min())), 3)
        momentum = max(momentum, float(graph.momenta.abs().max()))
        counts = graph.mask.sum(1)
        most, fewest = max(most, int(counts.max())), min(fewest, int(counts.min()))
    volume_cm3 = float(segments.lengths.prod()) * 1e-24
    grams = float(segments.masses.sum()) * 1.66053906660e-24
    return dict(
        temperature_K=[float(segments.temperature_K.min()), float(segments.temperature_K.max())],
        density_g_per_cm3=[round(grams / volume_cm3, 4)] * 2,
        smallest_pair_distance_A=closest,
        largest_scaled_momentum_sqrt_eV=round(momentum, 3),
        largest_neighbor_count=most,
        smallest_neighbor_count=int(fewest),
    )


def _companion(path: Path | None) -> dict | None:
    if path is None:
        return None
    return dict(name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
