"""The domain of structures, and the command that gives it to a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from flashmd_rs import FlashMDWarning, InputError, ModelError, load_structure, rollout
from flashmd_rs.model import find_model, read_metadata
from flashmd_rs.temperature import draw_momenta
from flashmd_train.data.domain_command import domain
from flashmd_train.data.frame_domain import frame_domain
from flashmd_train.model_files.contract import read_model, write_model


def crystal() -> ase.Atoms:
    atoms = bulk("Al", cubic=True) * (3, 3, 3)
    atoms.set_momenta(draw_momenta(atoms.get_masses(), 400.0, seed=1))
    return atoms


def test_a_crystal_by_hand() -> None:
    found = frame_domain([crystal()], ["O", "Al"], 3.5)
    assert found["smallest_pair_distance_A"] == {"Al-Al": round(4.05 / 2**0.5, 3)}
    assert found["largest_neighbor_count"] == found["smallest_neighbor_count"] == 12
    assert found["density_g_per_cm3"] == pytest.approx([2.698, 2.698], abs=0.002)
    assert found["temperature_K"] == pytest.approx([400, 400], abs=60)
    scaled = crystal().get_momenta() / np.sqrt(crystal().get_masses())[:, None]
    assert found["largest_scaled_momentum_sqrt_eV"] == pytest.approx(np.abs(scaled).max(), abs=1e-3)


def test_extremes_of_several_and_what_none_says() -> None:
    water = molecule("H2O")
    found = frame_domain([crystal(), water], ["H", "O", "Al"], 3.5)
    assert found["smallest_neighbor_count"] == 2
    assert list(found["smallest_pair_distance_A"]) == ["Al-Al", "H-H", "H-O"]
    assert found["smallest_pair_distance_A"]["H-O"] == pytest.approx(0.969, abs=0.001)
    assert frame_domain([water], ["H", "O"], 3.5).keys() == {
        "smallest_pair_distance_A",
        "largest_neighbor_count",
        "smallest_neighbor_count",
    }


def test_other_species_and_nothing_are_named() -> None:
    with pytest.raises(ValueError, match="structure 1 has H, O; the model knows Al"):
        frame_domain([crystal(), molecule("H2O")], ["Al"], 3.5)
    with pytest.raises(ValueError, match="no structures"):
        frame_domain([], ["Al"], 3.5)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The bundled model of water without its domain, its energy beside it."""
    graph, metadata = read_model(find_model("water"))
    del metadata["domain"]
    write_model(graph, metadata, tmp_path / "water.onnx")
    shutil.copy(find_model("water-energy"), tmp_path)
    return tmp_path / "water.onnx"


def test_the_guard_judges_by_it(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    water = load_structure("water258")
    ase.io.write(tmp_path / "frames.extxyz", [water, water])
    output = tmp_path / "judged.onnx"
    domain(model, [tmp_path / "frames.extxyz"], output)
    said = capsys.readouterr().out
    assert "the domain of 2 structures" in said
    assert "copy" not in said
    metadata = read_metadata(output)
    assert metadata["domain"] == frame_domain([water], metadata["species"], metadata["cutoff_A"])
    assert metadata["provenance"]["domain_from"] == ["frames.extxyz"]
    assert {key: metadata[key] for key in ("kind", "energy_model")} == {
        key: read_metadata(model)[key] for key in ("kind", "energy_model")
    }
    hot = water.copy()
    hot.set_momenta(3 * hot.get_momenta())
    same = dict(steps=1, seed=1, progress=False)
    with pytest.warns(FlashMDWarning, match="temperature"):
        rollout(hot, output, **same)
    with pytest.raises(ModelError, match="states its domain"):
        domain(output, [tmp_path / "frames.extxyz"], output)


def test_refusals_write_nothing(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ase.io.write(tmp_path / "frames.extxyz", crystal())
    output = tmp_path / "elsewhere" / "judged.onnx"
    output.parent.mkdir()
    with pytest.raises(InputError, match="structure 0 has Al"):
        domain(model, [tmp_path / "frames.extxyz"], output)
    with pytest.raises(ModelError, match="no ONNX file"):
        domain(tmp_path / "frames.extxyz", [tmp_path / "frames.extxyz"], output)
    assert not output.exists()
    ase.io.write(tmp_path / "frames.extxyz", load_structure("water258"))
    domain(model, [tmp_path / "frames.extxyz"], output)
    assert "copy water-energy.onnx there" in capsys.readouterr().out
