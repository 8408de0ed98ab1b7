"""Tiny checkpoints of every branch of the hyperparameters, trained by the real `mtt train`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ase
import ase.io
import numpy as np
import yaml
from ase.data import atomic_masses, atomic_numbers

from flashmd_train.graph.structures import random_structure

SMALL = dict(cutoff=4.5, d_pet=8, d_node=12, d_head=8, d_feedforward=8, num_heads=2, num_attention_layers=1)
METATRAIN_LOG_LINES = 15

# name: (architecture, species, model options, training options, precision)
STRIDES: dict[str, tuple[str, list[str], dict, dict, int]] = {
    "own node track": ("experimental.flashmd", ["H", "O"], dict(num_gnn_layers=2, num_attention_layers=2), {}, 32),
    "no node track": ("experimental.flashmd", ["H", "O"], dict(d_node=8, num_gnn_layers=2), {}, 32),
    "PostLN, LayerNorm, SiLU": (
        "experimental.flashmd",
        ["H", "O"],
        dict(num_gnn_layers=3, transformer_type="PostLN", normalization="LayerNorm", activation="SiLU"),
        {},
        32,
    ),
    "residual, PostLN, no node track": (
        "experimental.flashmd",
        ["Al"],
        dict(d_node=8, num_gnn_layers=2, transformer_type="PostLN", featurizer_type="residual"),
        {},
        32,
    ),
    "residual, PreLN, LayerNorm": (
        "experimental.flashmd",
        ["H", "O"],
        dict(num_gnn_layers=2, normalization="LayerNorm", featurizer_type="residual", num_attention_layers=3),
        {},
        32,
    ),
    "temperature, momenta as difference": (
        "experimental.flashmd",
        ["Al"],
        dict(num_gnn_layers=1, attention_temperature=2.5, predict_momenta_as_difference=True, activation="SiLU"),
        {},
        32,
    ),
    "64 bits, one residual layer": (
        "experimental.flashmd",
        ["Al"],
        dict(num_gnn_layers=1, featurizer_type="residual", cutoff_width=0.5),
        dict(scale_targets=False),
        64,
    ),
}
ENERGIES: dict[str, tuple[str, list[str], dict, dict, int]] = {
    "PET": ("pet", ["H", "O"], dict(num_gnn_layers=2), {}, 32),
    "PET, cosine, residual, PostLN": (
        "pet",
        ["Al"],
        dict(num_gnn_layers=2, cutoff_function="Cosine", featurizer_type="residual", transformer_type="PostLN"),
        {},
        32,
    ),
    "PET, adaptive by solver": ("pet", ["H", "O"], dict(num_gnn_layers=2, num_neighbors_adaptive=12), {}, 32),
    "PET, adaptive on a grid": (
        "pet",
        ["H", "O"],
        dict(num_gnn_layers=1, num_neighbors_adaptive=12, adaptive_cutoff_method="grid", normalization="LayerNorm"),
        {},
        32,
    ),
}
ACTIONS: dict[str, tuple[str, list[str], dict, dict, int]] = {
    "S3": ("experimental.flashmd_symplectic", ["H", "O"], dict(num_gnn_layers=2), dict(scale_targets=False), 32),
    "S3, no node track, SiLU": (
        "experimental.flashmd_symplectic",
        ["Al"],
        dict(d_node=8, num_gnn_layers=1, activation="SiLU"),
        dict(scale_targets=False),
        32,
    ),
}
REFUSED: dict[str, tuple[str, list[str], dict, dict, int]] = {
    "ZBL": ("pet", ["Al"], dict(num_gnn_layers=1, zbl=True), {}, 32),
    "two scales": ("experimental.flashmd_symplectic", ["H", "O"], dict(num_gnn_layers=1), {}, 32),
}
TRAINED = STRIDES | ENERGIES | ACTIONS | REFUSED


def train(name: str, folder: Path) -> Path:
    """One of the above; returns the checkpoint, beside which `model.pt` lies."""
    architecture, symbols, model, training, precision = TRAINED[name]
    return train_model(folder, architecture, symbols, SMALL | model, training, precision)


def train_model(
    folder: Path,
    architecture: str,
    symbols: list[str],
    model: dict,
    training: dict,
    precision: int = 32,
    frames: list[ase.Atoms] | None = None,
) -> Path:
    """One epoch, if ``training`` does not say how many, on a few random frames, if others are not given."""
    ase.io.write(folder / "frames.extxyz", frames or _frames(symbols))
    if architecture == "pet":
        targets = {"energy": dict(key="energy", unit="eV", forces="forces")}
    else:
        training = dict(timestep=16.0) | training
        kind = dict(sample_kind="atom", type=dict(cartesian=dict(rank=1)))
        targets = {
            "position": dict(key="future_positions", quantity="length", unit="A", **kind),
            "momentum": dict(key="future_momenta", quantity="momentum", unit="(eV*u)^(1/2)", **kind),
        }
    options = dict(
        seed=7,
        base_precision=precision,
        architecture=dict(
            name=architecture,
            model=model,
            training=dict(num_epochs=1, batch_size=2, num_workers=0) | training,
        ),
        training_set=dict(systems=dict(read_from="frames.extxyz", length_unit="angstrom"), targets=targets),
        validation_set=0.25,
        test_set=0.0,
    )
    (folder / "options.yaml").write_text(yaml.safe_dump(options))
    command = [sys.executable, "-m", "metatrain", "train", "options.yaml"]
    environment = os.environ | dict(OMP_NUM_THREADS="1")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "\n".join((done.stderr + done.stdout).splitlines()[-METATRAIN_LOG_LINES:])
    return folder / "model.ckpt"


def _frames(symbols: list[str]) -> list[ase.Atoms]:
    rng = np.random.default_rng(5)
    frames = []
    for seed in range(4):
        atoms = random_structure(symbols, [float(atomic_masses[atomic_numbers[s]]) for s in symbols], 20, 2.4, seed)
        atoms.pbc = True
        n = (len(atoms), 3)
        root = np.sqrt(atoms.get_masses())[:, None]
        atoms.new_array("future_positions", atoms.positions + 0.2 * rng.normal(size=n) / root)
        atoms.new_array("future_momenta", atoms.get_momenta() + 0.1 * rng.normal(size=n) * root)
        atoms.info["energy"] = float(rng.normal() - 3 * len(atoms))
        atoms.new_array("forces", rng.normal(size=n))
        frames.append(atoms)
    return frames
