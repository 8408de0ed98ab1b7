"""The water study end to end at its smallest: every part runs, says numbers, and a rerun repeats nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashmd_train.studies import water_nve


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


@pytest.mark.timeout(900)
def test_the_water_study(tmp_path: Path) -> None:
    report = water_nve.study(tmp_path, "ci", workers=2)
    text = report.read_text()
    assert "| plain | 1 |" in text
    assert "| mass-scaled | 1 |" in text
    assert "| OpenMM, 0.5 fs |" in text
    assert text.count("| Langevin") == 2
    assert "augmented, 8 frames averaged" in text
    for picture in ("ablation.png", "momenta.png", "rotations.png"):
        assert (tmp_path / picture).stat().st_size > 10_000
    before = stamps(tmp_path)
    assert water_nve.study(tmp_path, "ci", workers=1).read_text() == text
    assert stamps(tmp_path) == before
    with pytest.raises(ValueError, match="another scale"):
        water_nve.study(tmp_path, "default", workers=1)
