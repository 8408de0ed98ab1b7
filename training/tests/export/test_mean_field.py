"""The mean field of an energy model: found where it is known, and closing the gap of a trained one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from alloys import EMT, EVERY
from ase import Atoms, units

from flashmd_rs import Model
from flashmd_train.data.dataset import Dataset
from flashmd_train.export.mean_field import ReferenceFrame, fit_mean_field, reference_frames
from flashmd_train.export.publish import settle_pressure
from flashmd_train.model_files.contract import read_model

A = {("O", "O"): -0.5, ("O", "H"): 0.2, ("H", "H"): -0.03}


def frames_with(gap_bar: float, sizes: list[tuple[int, int, float]]) -> list[ReferenceFrame]:
    """Frames of oxygens and hydrogens in cubic cells, whose reference pressures are all ``gap_bar``."""
    return [
        ReferenceFrame(file, Atoms("O" * o + "H" * h, cell=3 * [length], pbc=True), np.arange(o + h), 0.0, gap_bar)
        for file, (o, h, length) in enumerate(sizes)
        for _ in range(2)
    ]


def test_coefficients_are_found_again() -> None:
    sizes = [(o, h, length) for o, h in ((20, 40), (30, 30), (10, 50), (50, 10)) for length in (10.0, 10.5, 11.0)]
    frames = frames_with(0.0, sizes)
    # A model that lacks the terms A, and one triple of oxygen.
    missing = [
        sum(
            value * f.atoms.symbols.count(a) * f.atoms.symbols.count(b) / f.atoms.get_volume() ** 2
            for (a, b), value in A.items()
        )
        + 2 * 7.0 * f.atoms.symbols.count("O") ** 3 / f.atoms.get_volume() ** 3
        for f in frames
    ]
    found = fit_mean_field(frames, -np.array(missing) / units.bar, ("O", "H"))
    assert found is not None
    pairs = {tuple(term["species"]): term["coefficient_eV_A3"] for term in found["pairs"]}
    triples = {"".join(term["species"]): term["coefficient_eV_A6"] for term in found["triples"]}
    assert pairs == pytest.approx(A, rel=1e-3)
    assert triples == pytest.approx({"OOO": 7.0, "OOH": 0.0, "OHH": 0.0, "HHH": 0.0}, abs=1e-2)


def test_two_densities_have_pairs_only_and_noise_has_nothing() -> None:
    two = fit_mean_field(
        frames_with(500.0, [(20, 40, 10.0), (20, 40, 10.5)]), np.array([5.0, 0.0, 3.0, 2.0]), ("O", "H")
    )
    assert two is not None
    assert two["triples"] == []
    noise = fit_mean_field(frames_with(0.0, 2 * [(20, 40, 10.0)]), np.array([100.0, -90.0, 80.0, -70.0]), ("O", "H"))
    assert noise is None


def test_an_exported_model_has_its_references_pressure(alloy_file: Path, alloy_energy: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.onnx"
    _, before = read_model(alloy_energy)
    assert "pressures" not in before["validation"]
    rows = settle_pressure(alloy_energy, path, [alloy_file], EMT)
    _, metadata = read_model(path)
    (row,) = rows
    assert metadata["validation"]["pressures"] == rows
    assert "energy_bias_meV_per_atom" not in metadata["validation"]
    assert metadata["contract"] == 2
    assert row["frames"] == 12
    assert row["model_bar"] == pytest.approx(row["reference_bar"], rel=2e-4)
    again = settle_pressure(path, tmp_path / "again.onnx", [alloy_file], EMT)
    assert again == rows


def test_pressures_of_a_reference_are_those_of_its_stress(alloy_file: Path) -> None:
    """Against EMT's own virial, on few frames of periodic files."""
    data = Dataset([alloy_file])
    frames = reference_frames(data, EVERY, EMT, most=4)
    assert len(frames) == 4
    for frame in frames:
        frame.atoms.calc = EMT.calculator()
        virial_bar = -frame.atoms.get_stress()[:3].mean() / units.bar
        assert frame.pressure_bar - frame.ideal_bar == pytest.approx(virial_bar, abs=100.0)
    data.files[0].periodic = np.array([True, True, False])
    assert reference_frames(data, EVERY, EMT, most=4) == []


def test_only_an_energy_model_has_a_pressure(alloy_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'direct'; wanted an energy model"):
        settle_pressure(Model("water").path, tmp_path / "x.onnx", [alloy_file], EMT)
