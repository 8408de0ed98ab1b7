"""Bonds measured on data, and put into a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from ase.build import bulk, molecule
from typer.testing import CliRunner

import flashmd_rs
from flashmd_rs.model import read_metadata
from flashmd_train.cli import app
from flashmd_train.data.bonds import bonds
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.segments import Segments
from flashmd_train.model_files.contract import restamp


def data_of(segments: Segments, structures: list, rattle_A: float = 0.03) -> Dataset:
    """A data set of a few rattled copies of each structure."""
    data = Dataset.__new__(Dataset)
    data.files, data.symbols, rng = [], (), np.random.default_rng(2)
    for atoms in structures:
        places = atoms.positions + rattle_A * rng.standard_normal((5, 1, len(atoms), 3))
        kelvin = np.full(5, 300.0)
        changes = dict(numbers=atoms.numbers, positions=places, cell=atoms.cell.array, periodic=atoms.pbc)
        data.files.append(dataclasses.replace(segments, **changes, temperature_K=kelvin))
        data.symbols = tuple(dict.fromkeys([*data.symbols, *atoms.get_chemical_symbols()]))
    return data


def many(name: str, edge: float = 6.0) -> object:
    """A box of 27 molecules, each turned differently."""
    one = molecule(name)
    one.center(vacuum=0)
    one.set_cell([edge] * 3)
    box = one * 3
    for first in range(0, len(box), len(one)):
        part = box[first : first + len(one)]
        part.rotate(7.0 * first, (1, 2, 3), center="COM")
        box.positions[first : first + len(one)] = part.positions
    box.pbc = True
    return box


def test_water(data: Dataset) -> None:
    (bond,) = bonds(data)
    assert dict(zip(bond["species"], bond["counts"])) == {"O": 2, "H": 1}
    assert 1.1 < bond["longest_A"] < 1.4


@pytest.mark.parametrize(("name", "counts"), [("CH4", {"C": 4, "H": 1}), ("NH3", {"N": 3, "H": 1})])
def test_molecules(segments: Segments, name: str, counts: dict) -> None:
    found = [bond for bond in bonds(data_of(segments, [many(name)])) if len(set(bond["species"])) == 2]
    assert [dict(zip(bond["species"], bond["counts"])) for bond in found] == [counts]


def test_solids_and_mixed_chemistry_have_none(segments: Segments) -> None:
    cold = bulk("Si", cubic=True) * 2
    assert bonds(data_of(segments, [cold, bulk("Al", cubic=True) * 3])) == []
    # A hydrogen has one oxygen in both, an oxygen one or two hydrogens.
    assert not [b for b in bonds(data_of(segments, [many("H2O"), many("H2O2")])) if set(b["species"]) == {"O", "H"}]


def test_a_file_is_restamped(tmp_path: Path, data_file: Path) -> None:
    """The graph stays, entries are merged, and what names the file is told its new hash."""
    for name in ("water", "water-energy"):
        (tmp_path / f"{name}.onnx").write_bytes(flashmd_rs.Model(name, device="cpu").path.read_bytes())
    energy, stride = tmp_path / "water-energy.onnx", tmp_path / "water.onnx"
    before = read_metadata(energy)
    assert CliRunner().invoke(app, ["restamp", str(energy), "--data", str(data_file)]).exit_code == 0
    after = read_metadata(energy)
    (bond,) = after["domain"].pop("bonds")
    assert dict(zip(bond["species"], bond["counts"])) == {"O": 2, "H": 1}
    before["domain"].pop("bonds", None)
    assert after == before
    graphs = [onnx.load(path).graph for path in (energy, flashmd_rs.Model("water-energy", device="cpu").path)]
    assert graphs[0] == graphs[1]
    changes = json.dumps({"domain": {"bonds": [bond]}, "note": "ours"})
    done = CliRunner().invoke(app, ["restamp", str(stride), "--changes", changes, "--energy-model", str(energy)])
    assert done.exit_code == 0, done.output
    told = read_metadata(stride)
    assert told["energy_model"]["sha256"] == hashlib.sha256(energy.read_bytes()).hexdigest()
    assert (told["domain"]["bonds"], told["note"]) == ([bond], "ours")
    bare = onnx.load(stride)
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ValueError, match="0 entries of metadata"):
        restamp(tmp_path / "bare.onnx", {})
