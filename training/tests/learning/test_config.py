"""Settings of training runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_models import direct_training

from flashmd_train.learning.config import (
    ActionTraining,
    DirectTraining,
    EnergyTraining,
    SplittingTraining,
    read,
    template,
)
from flashmd_train.learning.direct import train_direct
from flashmd_train.models.config import SplittingConfig

CONFIGS = Path(__file__).parents[2] / "configs"
KIND_OF = {
    "aluminium": "splitting",
    "aluminium-direct": "direct",
    "water": "direct",
    "pet-metals": "direct",
    "water-active": "direct",
    "water-again": "direct",
    "water-energy": "energy",
    "water-nve": "splitting",
    "water-unrolled": "direct",
}


class TestSettings:
    def test_what_is_printed_can_be_read(self, tmp_path: Path) -> None:
        for kind in (DirectTraining, SplittingTraining, EnergyTraining, ActionTraining):
            (tmp_path / "c.yaml").write_text(template(kind()))
            assert read(kind, tmp_path / "c.yaml") == kind()

    def test_yaml_and_toml_say_the_same_and_a_change_wins(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("model: {stride_fs: 8, options: {radial: 10}}\ndata: {files: [a.h5]}\n")
        (tmp_path / "c.toml").write_text('[model]\nstride_fs = 8\noptions = {radial = 10}\n[data]\nfiles = ["a.h5"]\n')
        a, b = (read(DirectTraining, tmp_path / name) for name in ("c.yaml", "c.toml"))
        assert a == b
        assert a.data.files == (tmp_path / "a.h5",)
        changed = read(DirectTraining, tmp_path / "c.yaml", ["optimizer.steps=7", "model.prior=free"])
        assert (changed.optimizer.steps, changed.model.prior, changed.model.stride_fs) == (7, "free", 8.0)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model: {stride_fs: -1}", "model.stride_fs: Input should be greater than 0, got -1"),
            ("model: {strid_fs: 1}", "model.strid_fs: Extra inputs are not permitted"),
            ("loss: {kind: huber}", "loss.kind: Input should be 'mass_scaled', 'plain' or 'scaled', got 'huber'"),
            ("[1, 2]", "holds list"),
            ("a: [", "is not YAML"),
        ],
    )
    def test_a_mistake_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"c\.yaml") as caught:
            read(DirectTraining, tmp_path / "c.yaml")
        assert message in str(caught.value)

    def test_data_of_other_atoms_is_refused(self, data_file: Path, tmp_path: Path) -> None:
        other = direct_training(data_file, model=dict(species=("Al",), prior="free"))
        with pytest.raises(ValueError, match="the data holds"):
            train_direct(other, tmp_path / "run")

    def test_every_committed_file_is_read(self) -> None:
        kinds = {"direct": DirectTraining, "splitting": SplittingTraining, "energy": EnergyTraining}
        for path in sorted(CONFIGS.glob("*.yaml")):
            if path.stem in KIND_OF:
                read(kinds[KIND_OF[path.stem]], path)
        assert KIND_OF.keys() | {"metatrain-symplectic"} == {path.stem for path in CONFIGS.glob("*.yaml")}

    def test_kicks_and_drifts_must_alternate(self) -> None:
        with pytest.raises(ValueError, match="got 2 kicks and 2 drifts, wanted one kick more than drifts"):
            SplittingConfig(kicks=(0, 0), drifts=(0.5, 0.5))
