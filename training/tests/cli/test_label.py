"""The command `label`: frames become segments of the reference, which a training reads as further data."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from alloys import EMT, alloy, alloy_data
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner, Result

from flashmd_rs.reference.label import label
from flashmd_rs.reference.store import Store
from flashmd_train.cli import app
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.segments import Segments

OPTIONS = ["--calculator", "ase.calculators.emt:EMT", "--length-fs", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def alloy_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return alloy_data(tmp_path_factory.mktemp("label") / "alloy.h5")


@pytest.fixture(scope="module")
def frames(alloy_segments: Path) -> list[Atoms]:
    """Starts of five segments: the second one's atoms overlap, the fourth has no momenta, the last is the first."""
    data = Segments.load(alloy_segments)
    found = []
    for s in range(4):
        atoms = Atoms(data.numbers, data.positions[s, 0], cell=data.cell, pbc=True)
        atoms.set_momenta(data.momenta[s, 0])
        found.append(atoms)
    found[1].positions[0] = found[1].positions[1] + 0.2
    found[3].set_momenta(np.zeros((32, 3)))
    return [*found, found[0].copy()]


def labelled(frames: list[Atoms], folder: Path, *options: str, temperature: str = "600") -> Result:
    write(folder / "frames.extxyz", frames)
    paths = [str(folder / "frames.extxyz"), str(folder / "labels.h5")]
    return CliRunner().invoke(app, ["label", *paths, "--temperature-k", temperature, *OPTIONS, *options])


def test_labels_go_on_from_frames_and_are_further_data(
    frames: list[Atoms], alloy_segments: Path, tmp_path: Path
) -> None:
    for _ in range(2):  # a rerun finds nothing to do
        result = labelled(frames, tmp_path)
        assert result.exit_code == 0, result.output
        assert "3 segments of 5 frames" in result.output
    data = Dataset([alloy_segments, tmp_path / "labels.h5"])
    original, found = data.files
    assert found.positions.shape == (3, 5, 32, 3)
    # The reference goes on as it did in the data, which has the same time step.
    for new, old in ((0, 0), (1, 2)):
        assert np.abs(found.momenta[new, 0] - original.momenta[old, 0]).max() < 1e-6
        moved = [(x[k] - x[k, 0])[-1] for x, k in ((found.positions, new), (original.positions, old))]
        assert np.abs(moved[0] - moved[1]).max() < 1e-4
        assert found.energy[new] == pytest.approx(original.energy[old], abs=1e-4)
    # Momenta that lack are drawn at the temperature.
    kelvin = (found.momenta[2, 0] ** 2 / found.masses[:, None]).sum() / (93 * 8.617333e-5)
    assert 300 < kelvin < 900
    assert found.momenta[2, 0].sum(0) == pytest.approx(np.zeros(3), abs=1e-4)


def test_an_interruption_and_more_workers_change_nothing(
    frames: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(length_fs=32.0, temperature_K=600.0)
    label(tmp_path / "whole.h5", frames, EMT, workers=2, **options)
    append, stored = Store.append, []

    def interrupted(self: Store, segment) -> None:
        if len(stored) == 2:
            raise KeyboardInterrupt
        stored.append(segment)
        append(self, segment)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label(tmp_path / "resumed.h5", frames, EMT, **options)
    assert label(tmp_path / "resumed.h5", frames, EMT, **options) == 3
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "resumed.h5") as resumed:
        assert whole.attrs["recipe"] == resumed.attrs["recipe"]
        for name in whole:
            assert (whole[name][:] == resumed[name][:]).all(), name


def test_bad_frames_are_refused_in_one_sentence(frames: list[Atoms], tmp_path: Path) -> None:
    cold = labelled(frames, tmp_path, temperature="20")
    assert "none of 4 frames could be labelled; the last one: Au16Cu16 gets as hot as" in cold.output
    assert not (tmp_path / "labels.h5").exists()
    labelled(frames, tmp_path)
    other = labelled(frames[:1], tmp_path)
    assert "was made by another recipe" in other.output
    mixed = labelled([frames[0], alloy(strain=0.1)], tmp_path)
    assert "make a file for each" in mixed.output
    for result in (cold, other, mixed):
        assert result.exit_code == 2
        assert "Traceback" not in result.output
    (tmp_path / "no.extxyz").write_text("nonsense")
    nothing = ["label", str(tmp_path / "no.extxyz"), str(tmp_path / "x.h5"), "--temperature-k", "600", *OPTIONS]
    unread = CliRunner().invoke(app, nothing)
    assert unread.exit_code == 2
    assert "no.extxyz" in unread.output
