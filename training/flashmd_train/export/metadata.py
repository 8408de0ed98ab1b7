"""Metadata of the model contract: where a model comes from, its bonded terms, its reference energy model."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from flashmd_train.data.bonds import bonds
from flashmd_train.data.dataset import Dataset
from flashmd_train.models.bonded import WATER
from flashmd_train.models.driven import Driven
from flashmd_train.models.molecules import BOND_LENGTH_MAX_A
from flashmd_train.models.pair_tables import FIRST_A
from flashmd_train.models.splitting import Splitting

# Version of the contract that tells bonds apart by environment.
ENVIRONMENTS = 3
# Version that has models of kind driven.
DRIVEN = 4


def common_metadata(saved: dict, data: Dataset, cutoff: float, domain: dict) -> dict:
    """What the metadata of every kind hold.

    Args:
        saved: checkpoint of the training run.
        data: that it was trained on.
        cutoff: Å.
        domain: what the data spans.
    """
    systems = sorted({str(recipe["reference"]) for recipe in data.recipe})
    return dict(
        contract=1,
        cutoff_A=cutoff,
        species=list(data.symbols),
        masses_u=list(data.masses),
        time_reversible=False,
        reference="; ".join(systems),
        domain=domain | ({"bonds": joined} if (joined := bonds(data)) else {}),
        provenance=dict(
            command=_command(),
            config=saved["config"],
            steps=saved["step"],
            seed=saved["seed"],
            training_cpu_s=round(saved["seconds"]),
            data_sha256=saved["data"]["sha256"],
            data=saved["data"]["recipe"],
            versions={
                name: importlib.metadata.version(name) for name in ("torch", "onnx", "ase", "openmm") if find_spec(name)
            },
        ),
    )


def _command() -> str:
    """The command line of this process; ``python -m flashmd_train`` counts as ``flashmd-train``."""
    program = Path(sys.argv[0])
    name = "flashmd-train" if program.parts[-2:] == ("flashmd_train", "__main__.py") else program.name
    return shlex.join([name, *sys.argv[1:]])


def bonded_terms(model: Splitting) -> dict:
    """The entry ``fast``: what acts within the drifts of a hybrid model."""
    kinds = _water_terms(model) if model.bonded is None else model.bonded.trained().model_dump(mode="json")
    terms = dict(inner_fs=model.config.inner_timestep_fs, **kinds, mollified=model.config.mollified)
    if model.tables is None:
        return terms
    tables = model.tables.entries(model.config.species)
    pairs = dict(step_fs=model.config.pair_timestep_fs, first_A=FIRST_A, spacing_A=model.tables.spacing, tables=tables)
    return terms | dict(pairs=pairs)


def driven_terms(model: Driven) -> dict:
    """The entries of a driven model: what moves under its slow forces, and how many polynomials these are made of."""
    fast = dict(inner_fs=model.config.inner_timestep_fs, **model.bonded.trained().model_dump(mode="json"))
    return dict(fast=fast, legendre_orders=model.config.legendre_orders)


def _water_terms(model: Splitting) -> dict:
    k_b, r_0, k_a, theta_0 = model.flows[0].constants().tolist()
    oxygen, hydrogen = WATER
    bond = dict(species=[oxygen, hydrogen], constant_eV_per_A2=k_b, length_A=r_0, longest_A=BOND_LENGTH_MAX_A)
    angle = dict(species=[hydrogen, oxygen, hydrogen], constant_eV_per_rad2=k_a, angle_rad=theta_0)
    return dict(bonds=[bond], angles=[angle])


def reference_energy_model(path: Path | None) -> dict | None:
    """The entry ``energy_model``: name and hash of the energy model that belongs to a stride."""
    if path is None:
        return None
    return dict(name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
