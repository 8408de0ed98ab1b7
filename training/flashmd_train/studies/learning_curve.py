"""Error of strides against the number of frames that a direct model was trained on, from scratch and from a start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import StridePairs
from flashmd_train.learning.config import DirectTraining, checked
from flashmd_train.learning.direct import train_direct
from flashmd_train.learning.metrics import stride_errors
from flashmd_train.models.direct import Direct

SCRATCH = "from scratch"


@dataclass
class Curve:
    """What is compared.

    Attributes:
        settings: of each training; its ``start`` is what the others begin from.
        test: HDF5 file of segments that no training sees.
        segments: numbers of segments that are trained on.
        tunes: ways to begin from the start.
        seeds: trainings of each.
    """

    settings: DirectTraining
    test: Path
    segments: list[int]
    tunes: list[str]
    seeds: int

    def run(self, folder: Path) -> list[str]:
        """Train what is not trained yet.

        Returns:
            A Markdown table: momentum errors, means over the seeds, by number of segments.

        Raises:
            ValueError: the settings name no start, or the folder holds trainings with others.
        """
        if self.settings.start is None:
            raise ValueError("the settings name no start, from which the curve could begin")
        lines = [
            f"| segments | {' | '.join(map(str, self.segments))} |",
            f"|---|{'---|' * len(self.segments)}",
        ]
        for way in [SCRATCH, *self.tunes]:
            errors = [[self._error(folder, way, count, seed) for seed in range(self.seeds)] for count in self.segments]
            lines.append(f"| {way} | {' | '.join(percent(np.array(each)) for each in errors)} |")
        return lines

    def _error(self, folder: Path, way: str, count: int, seed: int) -> float:
        run = folder / f"{way.replace(' ', '-')}-{count}-{seed}"
        result = run / "errors.json"
        given = self.settings.model_dump() | {"seed": seed}
        given["data"] |= {"segments": count}
        given |= {"start": None, "tune": "all"} if way == SCRATCH else {"tune": way}
        settings = checked(DirectTraining, given)
        wanted = settings.model_dump(mode="json")
        if not result.exists():
            result.parent.mkdir(parents=True, exist_ok=True)
            model = train_direct(settings, run)
            result.write_text(json.dumps({"settings": wanted, **errors_on(model, self.test)}))
        found = json.loads(result.read_text())
        if found["settings"] != wanted:
            raise ValueError(f"{run} holds a training with other settings; name another folder")
        return float(found["momentum_error"])


def errors_on(model: Direct, test: Path) -> dict[str, float]:
    """Errors of one stride from the start of each segment of a file (:func:`stride_errors`).

    Raises:
        ValueError: the file holds elements that the model does not know.
    """
    model, data, known = model.cpu().eval(), Dataset([test]), list(model.config.species)
    if unknown := set(data.symbols) - set(known):
        raise ValueError(f"{test} holds {', '.join(sorted(unknown))}, which the model does not know")
    # Species of files are numbered in the model's order.
    order = np.array([known.index(symbol) for symbol in data.symbols])
    data.species = [order[species] for species in data.species]
    index = np.array([(0, s) for s in range(len(data.files[0].temperature_K))])
    pairs = StridePairs(data, index, model.config.stride_fs, model.config.cutoff_A)
    return stride_errors(model, pairs, boxes=len(index))


def percent(errors: np.ndarray, digits: int = 1) -> str:
    """Mean and standard deviation of errors, in per cent."""
    spread = f" ± {100 * errors.std(ddof=1):.{digits}f}" if len(errors) > 1 else ""
    return f"{100 * errors.mean():.{digits}f}{spread} %"
