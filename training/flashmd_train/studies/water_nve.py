"""The water study: what loss, weights, filters and augmentation do to a direct model without a thermostat.

Flexible TIP3P, strides of 1 fs, one thin equivariant network that knows nothing of molecules (PaiNN), NVE without any
filter, total energies from OpenMM. It repeats the questions of an earlier public study with a large PET model: does the
weight of the momenta, or mass scaling, cure the drift? Several seeds each, so that an effect can be told from noise.

Everything is in one folder and resumable: data, runs, models, one JSON per result, a report with figures.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from flashmd_train.config import Data, DirectConfig, DirectTraining, Loss, Optimizer
from flashmd_train.data.generate import generate
from flashmd_train.data.recipe import Recipe
from flashmd_train.data.reference import Reference
from flashmd_train.data.water import Water

STRIDE_FS = 1.0
TARGET_K = 300.0
# Beyond it a run has exploded, as in the study that is repeated.
EXPLODED_K = 1000.0
WEIGHTS = (0.5, 1.0, 1.5, 2.0, 10.0)
WINDOWS_PS = (5.0, 10.0, 50.0)
# Of each species that are kept for a histogram.
MOMENTA = 4000
FILTERS = {
    "none": {"rescale_energy": False},
    "rescaled": {"rescale_energy": "global"},
    "rescaled per species": {"rescale_energy": "species"},
    "rescaled per molecule": {"rescale_energy": "molecule"},
    "Langevin 100 fs": {"rescale_energy": False, "temperature_K": TARGET_K, "time_constant_fs": 100.0},
    "Langevin 1 ps": {"rescale_energy": False, "temperature_K": TARGET_K, "time_constant_fs": 1000.0},
    "Bussi 100 fs": {
        "rescale_energy": False,
        "temperature_K": TARGET_K,
        "time_constant_fs": 100.0,
        "thermostat": "bussi",
    },
}


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        segments: training segments of 16 fs. waters: in the training box and in the runs.
        steps: of training. boxes: per step. seeds: models per setting. time_ps: of an NVE run.
        weights: w_p that are tried. large_ps: NVE of one model per loss in the box of 258 waters, 0 for none.
        filter_ps: length of a run with each filter. features: width of the network.
        minutes: on two cores, an estimate: for `default` from the time of a training step and of a stride, for `paper`
            from those in proportion to atoms and features.
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
    features: int
    minutes: float


SCALES = {
    "ci": Scale(60, 64, 120, 1, 1, 0.2, (1.0,), 0.0, 0.1, 16, 4),
    "default": Scale(1600, 64, 6000, 2, 3, 10.0, WEIGHTS, 50.0, 2.0, 32, 120),
    "paper": Scale(8000, 258, 60000, 4, 3, 50.0, WEIGHTS, 50.0, 10.0, 128, 36_000),
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
    """Run what is not there yet and write ``folder/report.md``; returns its path.

    Args:
        folder: of the study. scale_name: a key of :data:`SCALES`. workers: processes, of one thread each.
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
    kind, folder, scale_name, of = job
    torch.set_num_threads(1)
    scale = SCALES[scale_name]
    {
        "data": _data,
        "reference": _reference,
        "rotations": _rotations,
        "case": _case,
        "filters": _filters,
        "large": _large,
    }[kind](folder, scale, *([] if of is None else [of]))


def done(folder: Path, name: str) -> Path:
    """The result file of that name."""
    return folder / "results" / f"{name}.json"


def keep(folder: Path, name: str, result: dict) -> None:
    """Write a result in one go."""
    path = done(folder, name)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result))
    temporary.rename(path)


def data_file(folder: Path) -> Path:
    """The training data."""
    return folder / "data" / "water.h5"


def _data(folder: Path, scale: Scale) -> None:
    temperatures = (250.0, 300.0, 350.0, 450.0)
    options = dict(spacing_fs=1.0, length_fs=16.0, equilibration_ps=3.0)
    generate(
        data_file(folder), Recipe.of("water", size=scale.waters, temperatures_K=temperatures, **options), scale.segments
    )


def start(waters: int, seed: int) -> Water:
    """An equilibrated box with momenta."""
    reference = Water(waters)
    reference.equilibrate(TARGET_K, np.random.default_rng(100 + seed), 15.0)
    return reference


def settings(folder: Path, scale: Scale, case: Case) -> DirectTraining:
    """How a model of the ablation is trained."""
    options = dict(features=scale.features)
    shape = DirectConfig(stride_fs=STRIDE_FS, cutoff_A=5.0, backbone="painn", prior="free", modes=2, options=options)
    return DirectTraining(
        model=shape,
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
    from flashmd_train.publish import publish
    from flashmd_train.train import train

    path = model_file(folder, case)
    if not path.exists():
        run = folder / "runs" / case.name
        train(settings(folder, scale, case), run)
        path.parent.mkdir(exist_ok=True)
        publish(run, path, [data_file(folder)], None, {}, calibrated=False)
    return path


def _case(folder: Path, scale: Scale, case: Case) -> None:
    import onnx

    path = _trained(folder, scale, case)
    if done(folder, case.name).exists():
        return
    result = nve(path, start(scale.waters, case.seed), scale.time_ps)
    (entry,) = onnx.load(path).metadata_props
    keep(folder, case.name, asdict(case) | result | dict(one_stride=json.loads(entry.value)["validation"]))


def nve(model: Path, reference: Reference, time_ps: float, **options: object) -> dict:
    """Run from where the reference is, without a thermostat or with ``options``: see :func:`figures`."""
    import flashmd_rs

    opened, atoms = flashmd_rs.Model(model, threads=1), reference.atoms()
    steps = round(1000 * time_ps / opened.stride_fs)
    interval = max(1, steps // 1000)
    fixed = {"thermostat": "none", "rescale_energy": False, "guard": "off", "seed": 1, "progress": False}

    def run(steps: int) -> list:
        every = {**fixed, "interval": interval, **options}
        return list(flashmd_rs.rollout(atoms, opened, steps=steps, **every).frames)

    try:
        frames, stopped = run(steps), None
    except flashmd_rs.StabilityError as failure:
        # The same run again, as far as it went: it is a function of its seed.
        frames, stopped = run(max(1, failure.step - 1)), str(failure)
    times = [frame.info["time_ps"] for frame in frames]
    return figures(frames, times, reference) | dict(stopped=stopped)


def figures(frames: list[Atoms], times_ps: list[float], reference: Reference) -> dict:
    """Temperatures, total energies by the reference, drift by window, and how long the run was sound.

    Returns:
        ``drift_eV_per_ps`` by window, over what is sound of it; ``temperature_K`` and its standard deviation; rms of
        the energy about its line (eV); ``stable_ps``; traces; momenta of the sound second half, by species.
    """
    from flashmd_rs.temperature import temperatures

    masses, symbols = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols())
    rows, energies = [], []
    for frame in frames:
        momenta = frame.get_momenta()
        rows.append(temperatures(momenta, masses, symbols))
        kinetic = float((momenta**2 / masses[:, None]).sum() / 2)
        energies.append(reference.energy(frame.positions) + kinetic)
    times, energy = np.array(times_ps), np.array(energies)
    total = np.array([row["total"] for row in rows])
    bad = np.flatnonzero((total > EXPLODED_K) | ~np.isfinite(energy))
    sound = int(bad[0]) if len(bad) else len(times)
    drift = {}
    for window in WINDOWS_PS:
        inside = np.arange(len(times)) < sound
        inside &= times <= window + 1e-9
        long_enough = inside.sum() >= 3 and (times[-1] >= 0.99 * window or window == WINDOWS_PS[0])
        drift[f"{window:g}"] = float(np.polyfit(times[inside], energy[inside], 1)[0]) if long_enough else None
    line = np.polyfit(times[:sound], energy[:sound], 1) if sound >= 3 else np.zeros(2)
    half = slice(sound // 2, max(sound, 1))
    momenta = {
        symbol: np.concatenate([f.get_momenta()[symbols == symbol].ravel() for f in frames[half]])
        / math.sqrt(masses[symbols == symbol][0])
        for symbol in dict.fromkeys(symbols.tolist())
    }
    every = max(1, len(times) // 200)
    draw = np.random.default_rng(0).choice
    return dict(
        time_ps=float(times[-1]),
        stable_ps=float(times[sound - 1]) if sound else 0.0,
        exploded=sound < len(times),
        drift_eV_per_ps=drift,
        temperature_K={k: float(np.mean([r[k] for r in rows[half]])) for k in rows[0]},
        sigma_temperature_K=float(total[:sound].std()),
        sigma_energy_eV=float((energy[:sound] - np.polyval(line, times[:sound])).std()),
        trace=dict(times_ps=times[::every].tolist(), energy_eV=energy[::every].tolist(), T=total[::every].tolist()),
        momenta={k: draw(v, min(len(v), MOMENTA), replace=False).tolist() for k, v in momenta.items()},
    )


def _reference(folder: Path, scale: Scale) -> None:
    """OpenMM's velocity Verlet with 0.5 fs on the same boxes."""
    for waters, time_ps, name in ((scale.waters, scale.time_ps, "reference"), (258, scale.large_ps, "reference-large")):
        if not time_ps or done(folder, name).exists():
            continue
        reference = start(waters, 0)
        steps = max(1, round(2 * time_ps))
        frames, times = [reference.atoms()], [0.0]
        for k in range(round(2000 * time_ps / steps)):
            reference.nve(0.5 * steps, 0.5)
            frames.append(reference.atoms())
            times.append((k + 1) * steps * 0.0005)
        keep(folder, name, figures(frames, times, reference))


def _large(folder: Path, scale: Scale, loss: str) -> None:
    """One model per loss in the box of 258 waters."""
    name = f"large-{loss}"
    if done(folder, name).exists():
        return
    keep(folder, name, nve(model_file(folder, Case(loss, 1.0, 0)), start(258, 0), scale.large_ps))


def _filters(folder: Path, scale: Scale) -> None:
    """Momentum distributions under each filter, of the first plain model."""
    if done(folder, "filters").exists():
        return
    result = {}
    for name, options in FILTERS.items():
        reference = start(scale.waters, 0)
        given = dict(options)
        if given["rescale_energy"]:
            given["energy_model"] = reference.context
        if "temperature_K" in given:
            given.setdefault("thermostat", "langevin")
        outcome = nve(model_file(folder, Case("plain", 1.0, 0)), reference, scale.filter_ps, **given)
        result[name] = {k: v for k, v in outcome.items() if k != "trace"}
    keep(folder, "filters", result)


def _rotations(folder: Path, scale: Scale) -> None:
    """Error of a network that is not equivariant against the orientation of what it sees."""
    from flashmd_train.studies.rotations import rotation_test

    if not done(folder, "rotations").exists():
        keep(folder, "rotations", rotation_test(folder, data_file(folder), scale.steps, scale.features))
