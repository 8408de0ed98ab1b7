"""Rank correlation of a model's uncertainty with its errors, on data like that of training and beyond it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from scipy.stats import spearmanr

from flashmd_rs.evaluation.page.tables import header, row
from flashmd_train.data.dataset import Dataset
from flashmd_train.data.pairs import Batch, StridePairs
from flashmd_train.model_files.contract import DIRECT_INPUTS
from flashmd_train.model_files.parity import open_onnx, run_session


def ranking(model: Path, data: list[Path], boxes: int) -> str:
    """A table over files and temperatures, each file, and all of them: held-out segments, one stride each.

    Args:
        model: ONNX file of a direct model with an uncertainty.
        data: HDF5 files, of the model's species.
        boxes: how many of the last segments per file and temperature; the last twentieth is held out of training.

    Raises:
        ValueError: the model states no uncertainty.
    """
    graph = onnx.load(model)
    (entry,) = graph.metadata_props
    contract = json.loads(entry.value)
    names = [output.name for output in graph.graph.output]
    if contract["kind"] != "direct" or "uncertainty" not in names:
        raise ValueError(f"{model} is of kind {contract['kind']} with outputs {names}; wanted direct with uncertainty")
    session, loaded = open_onnx(graph), Dataset(data)
    lines = header("data", "T, K", "rms error of p, √eV", "stated", "Spearman per atom: Δq", "p", "per box: p")
    every = []
    for f, file in enumerate(loaded.files):
        of_file = []
        for temperature in np.unique(file.temperature_K):
            index = np.array([(f, s) for s in np.flatnonzero(file.temperature_K == temperature)[-boxes:]])
            pairs = StridePairs(loaded, index, contract["stride_fs"], contract["cutoff_A"])
            batches = [pairs.unaugmented(k) for k in range(len(index))]
            found = [_errors(dict(zip(names, run_session(session, b.graph, DIRECT_INPUTS))), b) for b in batches]
            lines.append(_row(data[f].stem, f"{temperature:g}", found))
            of_file += found
        lines.append(_row(data[f].stem, "all", of_file))
        every += of_file
    return "\n".join([*lines, _row("all", "all", every)])


def _errors(outputs: dict[str, np.ndarray], batch: Batch) -> np.ndarray:
    """Errors, rms over x, y, z, and stated uncertainties of Δq and p: [2, 2, A]."""
    errors = [
        outputs["displacement"] - batch.displacement[0].numpy(),
        outputs["momenta_out"] - batch.momenta[0].numpy(),
    ]
    return np.array([[np.sqrt((e**2).mean(1)) for e in errors], outputs["uncertainty"].T])


def _row(name: str, temperature: str, found: list[np.ndarray]) -> str:
    """One line of the table from :func:`_errors` of several boxes."""
    error, stated = np.concatenate(found, -1)
    atoms = [spearmanr(error[k], stated[k]).statistic for k in (0, 1)]
    rms = np.array([np.sqrt((box[:, 1] ** 2).mean(-1)) for box in found])
    numbers = [f"{x:.5f}" for x in np.sqrt((rms**2).mean(0))] + [f"{x:.2f}" for x in atoms]
    return row(name, temperature, *numbers, f"{spearmanr(*rms.T).statistic:.2f}")
