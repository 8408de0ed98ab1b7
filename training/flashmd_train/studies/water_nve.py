"""The water study: effects of loss, weights, filters and augmentation on a direct model without a thermostat.

Flexible TIP3P, strides of 1 fs, one small equivariant network without a prior (PaiNN), NVE without any filter, total
energies from OpenMM. It repeats the questions of an earlier public study with a large PET model: do the weight of the
momenta or mass scaling remove the drift? Several seeds each, so that an effect can be told from chance.

Everything is in one folder and resumable: data, runs, models, one JSON per result, a report with figures.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flashmd_rs import Bussi, Langevin
from flashmd_rs.evaluation.measures.nve import measure_run, run_nve
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.options import load_system
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.learning.config import Data, DirectTraining, Loss, Optimizer
from flashmd_train.models.config import DirectConfig

# Flexible TIP3P, in a clone of the repository.
WATER = Path("examples/systems/water/system.yaml")
STRIDE_FS = 1.0
CUTOFF_A = 4.0
TARGET_K = 300.0
# The lattice that waters start on melts slowly below.
MELTING_K = 450.0
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 10.0)


def _thermostat(thermostat: Langevin | Bussi) -> dict[str, Any]:
    return {"rescale_energy": False, "temperature_K": TARGET_K, "thermostat": thermostat}


# Arguments of `flashmd_rs.rollout` by the name of the filter.
FILTERS: dict[str, dict[str, Any]] = {
    "none": {"rescale_energy": False},
    "rescaled": {"rescale_energy": "global"},
    "rescaled per species": {"rescale_energy": "species"},
    "rescaled per molecule": {"rescale_energy": "molecule"},
    "Langevin 100 fs": _thermostat(Langevin(time_constant_fs=100.0)),
    "Langevin 1 ps": _thermostat(Langevin(time_constant_fs=1000.0)),
    "Bussi 100 fs": _thermostat(Bussi(time_constant_fs=100.0)),
}


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        segments: training segments of 16 fs.
        waters: in the training box and in the runs.
        steps: of training.
        boxes: per step.
        seeds: models per setting.
        time_ps: length of an NVE run.
        weights: values of w_p.
        large_ps: length of an NVE run of one model per loss in the box of 258 waters, 0 for none.
        filter_ps: length of a run with each filter.
        equilibration_ps: before each run.
        features: width of the network.
        rotation_steps: training steps of the rotation test's networks.
        minutes: estimate on two cores: for `default` from the time of a training step and of a stride, for `paper` from
            those in proportion to atoms and features.
    """

    segments: int
    waters: int
    steps: int
    boxes: int
    seeds: int
    time_ps: float
    weights: tuple[float, ...]
    large_ps: float
    filter_ps: float
    equilibration_ps: float
    features: int
    rotation_steps: int
    minutes: float


SCALES = {
    "ci": Scale(60, 64, 120, 1, 1, 0.2, (1.0,), 0.0, 0.1, 1.0, 16, 120, 4),
    "default": Scale(1600, 64, 3000, 1, 3, 10.0, WEIGHTS, 50.0, 2.0, 15.0, 32, 5000, 60),
    "paper": Scale(8000, 258, 60000, 4, 3, 50.0, WEIGHTS, 50.0, 10.0, 15.0, 128, 60000, 36_000),
}


@dataclass(frozen=True)
class Case:
    """One trained model of the ablation."""

    loss: str
    momentum_weight: float
    seed: int

    @property
    def name(self) -> str:
        """Folder of its run."""
        return f"{self.loss}-wp{self.momentum_weight:g}-seed{self.seed}"


def cases(scale: Scale) -> list[Case]:
    """Every weight with the plain loss, and the mass-scaled one at equal weights; first seeds first."""
    kinds = [("plain", w) for w in scale.weights] + [("mass_scaled", 1.0)]
    return [Case(loss, w, seed) for seed in range(scale.seeds) for loss, w in kinds]


def study(folder: Path, scale_name: str, workers: int) -> Path:
    """Run what is missing and write ``folder/report.md``; returns its path.

    Args:
        folder: of the study.
        scale_name: a key of :data:`SCALES`.
        workers: processes, of one thread each.
    """
    from flashmd_train.studies.report import write_report

    scale = SCALES[scale_name]
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "scale.json"
    wanted = json.dumps(dict(name=scale_name, **asdict(scale)))
    if known.exists() and known.read_text() != wanted:
        raise ValueError(f"{folder} holds a study of another scale, {known.read_text()}; name another folder")
    if not known.exists():
        known.write_text(wanted)
    jobs = [("data", folder, scale_name, None)]
    first = ("reference", "rotations")
    for batch in (
        jobs,
        [*[(kind, folder, scale_name, None) for kind in first]]
        + [("case", folder, scale_name, case) for case in cases(scale)],
        [("filters", folder, scale_name, None)]
        + [("large", folder, scale_name, loss) for loss in ("plain", "mass_scaled") if scale.large_ps],
    ):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(_job, batch))
    return write_report(folder)


def _job(job: tuple) -> None:
    kind, folder, scale_name, item = job
    torch.set_num_threads(1)
    scale = SCALES[scale_name]
    {
        "data": _data,
        "reference": _reference,
        "rotations": _rotations,
        "case": _case,
        "filters": _filters,
        "large": _large,
    }[kind](folder, scale, *([] if item is None else [item]))


def result_file(folder: Path, name: str) -> Path:
    """The result file of that name."""
    return folder / "results" / f"{name}.json"


def keep_result(folder: Path, name: str, result: dict) -> None:
    """Write a result atomically; momenta are kept of the filters only, whose distributions are drawn."""
    path = result_file(folder, name)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({k: v for k, v in result.items() if k != "momenta"}))


def data_file(folder: Path) -> Path:
    """The training data."""
    return folder / "data" / "water.h5"


def _data(folder: Path, scale: Scale) -> None:
    temperatures = (250.0, 300.0, 350.0, 450.0)
    times = dict(spacing_fs=1.0, length_fs=16.0, decorrelation_fs=20.0, equilibration_ps=3.0)
    recipe = Recipe(system=water(scale.waters), temperatures_K=temperatures, anneal_K=MELTING_K, **times)
    generate(data_file(folder), recipe, scale.segments)


def water(molecules: int) -> System:
    """So many flexible waters."""
    if not WATER.exists():
        raise ValueError(f"there is no {WATER} here: run the study in a clone of the repository")
    size = dict(molecules=molecules)
    return load_system(WATER, structure_args=size, openmm_args=size)


def start(folder: Path, waters: int, seed: int, time_ps: float) -> Reference:
    """A box with momenta after ``time_ps`` of equilibration; it is kept in ``folder``/starts for the next run."""
    reference = water(waters).reference()
    path = folder / "starts" / f"{waters}-{seed}.npz"
    reference.equilibrate_once(path, TARGET_K, np.random.default_rng(100 + seed), time_ps, MELTING_K)
    return reference


def shape(backbone: str, features: int) -> DirectConfig:
    """A model without a prior: bonds are learned like everything else."""
    network = dict(backbone=backbone, prior="free", legendre_orders=2, options=dict(features=features))
    return DirectConfig(stride_fs=STRIDE_FS, cutoff_A=CUTOFF_A, **network)


def settings(folder: Path, scale: Scale, case: Case) -> DirectTraining:
    """How a model of the ablation is trained."""
    return DirectTraining(
        model=shape("painn", scale.features),
        data=Data(files=(data_file(folder),), boxes=scale.boxes),
        loss=Loss(kind=case.loss, momentum_weight=case.momentum_weight),
        optimizer=Optimizer(steps=scale.steps, learning_rate=2e-3, warmup=min(100, scale.steps // 4)),
        seed=case.seed,
        every=max(1, scale.steps // 10),
    )


def model_file(folder: Path, case: Case) -> Path:
    """The exported model of a case."""
    return folder / "models" / f"{case.name}.onnx"


def _trained(folder: Path, scale: Scale, case: Case) -> Path:
    from flashmd_train.export.publish import publish
    from flashmd_train.learning.direct import train_direct

    path = model_file(folder, case)
    if not path.exists():
        run = folder / "runs" / case.name
        train_direct(settings(folder, scale, case), run)
        path.parent.mkdir(exist_ok=True)
        publish(run, path, [data_file(folder)], None, {}, calibration=[])
    return path


def _case(folder: Path, scale: Scale, case: Case) -> None:
    import onnx

    path = _trained(folder, scale, case)
    if result_file(folder, case.name).exists():
        return
    result = run_nve(path, start(folder, scale.waters, case.seed, scale.equilibration_ps), scale.time_ps)
    (entry,) = onnx.load(path).metadata_props
    keep_result(folder, case.name, asdict(case) | result | dict(one_stride=json.loads(entry.value)["validation"]))


def _reference(folder: Path, scale: Scale) -> None:
    """OpenMM's velocity Verlet with 0.5 fs on the same boxes."""
    for waters, time_ps, name in ((scale.waters, scale.time_ps, "reference"), (258, scale.large_ps, "reference-large")):
        if not time_ps or result_file(folder, name).exists():
            continue
        reference = start(folder, waters, 0, scale.equilibration_ps)
        steps = max(1, round(2 * time_ps))
        frames, times = [reference.atoms()], [0.0]
        for k in range(round(2000 * time_ps / steps)):
            reference.nve(0.5 * steps, 0.5)
            frames.append(reference.atoms())
            times.append((k + 1) * steps * 0.0005)
        keep_result(folder, name, measure_run(frames, times, reference))


def _large(folder: Path, scale: Scale, loss: str) -> None:
    """One model per loss in the box of 258 waters."""
    name = f"large-{loss}"
    if result_file(folder, name).exists():
        return
    model, reference = model_file(folder, Case(loss, 1.0, 0)), start(folder, 258, 0, scale.equilibration_ps)
    keep_result(folder, name, run_nve(model, reference, scale.large_ps))


def _filters(folder: Path, scale: Scale) -> None:
    """Momentum distributions under each filter, of the first plain model."""
    if result_file(folder, "filters").exists():
        return
    result = {}
    for name, options in FILTERS.items():
        reference = start(folder, scale.waters, 0, scale.equilibration_ps)
        given = options | ({"energy_model": reference.energy_source()} if options["rescale_energy"] else {})
        outcome = run_nve(model_file(folder, Case("plain", 1.0, 0)), reference, scale.filter_ps, **given)
        result[name] = {k: v for k, v in outcome.items() if k != "trace"}
    keep_result(folder, "filters", result)


def _rotations(folder: Path, scale: Scale) -> None:
    """Error of a network that is not equivariant against the orientation of what it sees."""
    from flashmd_train.studies.rotations import rotation_test

    if not result_file(folder, "rotations").exists():
        network = shape("edgemp", 2 * scale.features)
        keep_result(folder, "rotations", rotation_test(folder, data_file(folder), network, scale.rotation_steps))
