"""Networks side by side: the same data, the same core time for each, the same runs of what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flashmd_rs.evaluation.evaluate import evaluate
from flashmd_rs.evaluation.page.tables import header, row
from flashmd_rs.evaluation.protocol import EvaluationProtocol
from flashmd_rs.reference.checks.spectrum import fastest_period_fs
from flashmd_rs.reference.system import System
from flashmd_train.data.dataset import Dataset
from flashmd_train.export.publish import publish
from flashmd_train.learning.config import read
from flashmd_train.model_files.contract import read_model
from flashmd_train.workflow.choices import FORCE_SHARE
from flashmd_train.workflow.costs import ms_per_stride
from flashmd_train.workflow.plan import number_of_kicks
from flashmd_train.workflow.trainings import (
    KINDS,
    MOST_ENERGY_STEPS,
    Training,
    model_settings,
    trial,
    write_settings,
)

# FlashMD's cutoff, whose layers look further; and that of networks that look once or twice.
PET_CUTOFF_A, CUTOFF_A = 4.5, 6.0


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        system: start structures and their potential.
        files: HDF5 data of it.
        prior: bonded, water's bonds and angle are known; or free.
        stride_fs: stride, fs.
        temperature_K: of the runs, K.
        minutes: core time of each training.
        nvt_ps: length of the run of each in a bath of 1 ps.
        reference_ps: length of the reference's.
        energies: the most that the reference is asked for by the calibration of a model.
    """

    system: System
    files: list[Path]
    prior: Literal["bonded", "free"]
    stride_fs: float
    temperature_K: float
    minutes: float
    nvt_ps: float
    reference_ps: float
    energies: int

    def run(self, folder: Path, names: list[str]) -> list[str]:
        """Train, export and run what is not there yet, each on one thread.

        Returns:
            A Markdown table, a row for each network and one for the reference.

        Raises:
            ValueError: a network's training fails, or it is no network of this prior.
        """
        if unknown := set(names) - set(NETWORKS):
            raise ValueError(f"got networks {', '.join(sorted(unknown))}, wanted some of {', '.join(NETWORKS)}")
        for name in names:
            NETWORKS[name](self)  # refuses what it is not for, before anything is trained
        models = {name: self._model(folder, name) for name in names}
        reference = f"verlet:{self.system.reference().timestep_fs:g}"
        protocol = EvaluationProtocol(
            system=self.system,
            temperature_K=self.temperature_K,
            nve_ps=0.0,
            nvt_ps=self.nvt_ps,
            reference_ps=self.reference_ps,
        )
        runs = folder / "evaluation"
        evaluate([*map(str, models.values()), reference], protocol, runs, workers=1)
        found = json.loads((runs / "evaluation.json").read_text())["integrators"]
        rows = [self._row(name, path, found[str(path)]["nvt"]) for name, path in models.items()]
        nvt = found[reference]["nvt"]
        rows.append(row("the reference", "–", "–", "–", "–", "–", f"{nvt['ns_per_day']:.3g}", *_run(nvt)))
        return [
            *header(
                "network",
                "steps",
                "core min",
                "momentum error",
                "displacement error",
                "ms per stride",
                "ns/day",
                "sound for, ps",
                f"T − {self.temperature_K:g} K",
            ),
            *rows,
        ]

    def _model(self, folder: Path, name: str) -> Path:
        """The exported model of a network, trained if it is not there."""
        output = folder / f"{name}.onnx"
        if not output.exists():
            kind, settings = NETWORKS[name](self)
            training = Training(kind, folder / f"{name}.yaml", folder / name)
            if not training.settings.exists():
                step_s, _ = trial(kind, settings, self.files, folder / f"trial-{name}")
                of_forces = FORCE_SHARE if kind == "splitting" else 0.0
                # A step on forces takes one gradient, a step on strides one for each kick.
                forces = of_forces * self.minutes * len(settings.get("kicks", ())) * 60 / step_s
                steps = max(1, int((1 - of_forces) * self.minutes * 60 / step_s))
                write_settings(
                    training,
                    settings,
                    self.files,
                    steps=steps,
                    force_steps=min(MOST_ENERGY_STEPS, int(forces)),
                    seed=1,
                )
            settings_of, train = KINDS[kind]
            train(read(settings_of, training.settings), training.folder)
            publish(
                training.folder, output, self.files, None, {}, potential=self.system.potential, energies=self.energies
            )
        return output

    def _row(self, name: str, model: Path, nvt: dict[str, Any]) -> str:
        _, metadata = read_model(model)
        measured = metadata["validation"]
        stride_ms, _ = ms_per_stride(model, self.system.structures[0], self.temperature_K)
        return row(
            name,
            metadata["provenance"]["steps"],
            f"{metadata['provenance']['training_cpu_s'] / 60:.1f}",
            f"{100 * measured['one_stride_momentum_error']:.1f} %",
            f"{100 * measured['one_stride_displacement_error']:.1f} %",
            f"{stride_ms:.1f}",
            f"{nvt['ns_per_day']:.3g}",
            *_run(nvt),
        )

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols, in the order of the data."""
        return Dataset(self.files).symbols


def _run(nvt: dict[str, Any]) -> tuple[str, str]:
    """How long a run was sound, and its temperature less the bath's with its standard error."""
    sound = f"{nvt['stable_ps']:.4g} of {nvt['wanted_ps']:g}"
    value, error, wanted = nvt["temperature_K"]["total"]
    if value is None or not math.isfinite(value):
        return sound, "–"
    # Short runs say nothing of their own noise.
    return sound, f"{value - wanted:+.1f} K" if error is None else f"{value - wanted:+.1f} ± {error:.1f} K"


def _direct(**changes: Any) -> Callable[[Comparison], tuple[str, dict[str, Any]]]:
    """Settings of a direct model: those of ``fit`` with the comparison's prior, and changes."""

    def settings(given: Comparison) -> tuple[str, dict[str, Any]]:
        of_fit = model_settings("direct", given.species, CUTOFF_A, 1, given.stride_fs, 1)
        return "direct", of_fit | {"prior": given.prior} | changes

    return settings


def _splitting(given: Comparison) -> tuple[str, dict[str, Any]]:
    """Settings of a splitting, as ``fit`` makes them."""
    if given.prior != "free":
        raise ValueError("network moments is compared for atoms without known bonds alone")
    kicks = number_of_kicks(given.stride_fs, fastest_period_fs(given.files[0]))
    return "splitting", model_settings("splitting", given.species, CUTOFF_A, 1, given.stride_fs, kicks)


def _pet(preset: str, **changes: Any) -> Callable[[Comparison], tuple[str, dict[str, Any]]]:
    return _direct(backbone="pet", cutoff_A=PET_CUTOFF_A, options={"preset": preset}, **changes)


# By the names of their rows: ``pet`` predicts forces, ``flashmd`` both ends of a stride, as published.
NETWORKS: dict[str, Callable[[Comparison], tuple[str, dict[str, Any]]]] = {
    "moments": _splitting,
    "lookahead": _direct(),
    "edgemp": _direct(backbone="edgemp", options={}),
    "painn": _direct(backbone="painn", options={}),
    "pet-tiny": _pet("tiny"),
    "pet-small": _pet("small"),
    "flashmd-tiny": _pet("tiny", prior="none"),
    "flashmd-small": _pet("small", prior="none"),
}
