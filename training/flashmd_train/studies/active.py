"""Active learning: run, collect frames with domain violations, relabel them with OpenMM, retrain, repeat.

A control arm adds as many frames at random from ordinary MD, because more data helps by itself. Each round is tested by
runs that are not in the training data: how long they survive, and the error of their temperature until then.
"""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read as read_frames
from ase.io import write as write_frames

import flashmd_rs
from flashmd_rs import Guard, Langevin
from flashmd_rs.evaluation.tables import paragraph
from flashmd_rs.reference.recipe import Recipe, Segment, record
from flashmd_rs.reference.store import Store
from flashmd_rs.reference.water import Water
from flashmd_rs.temperature import temperatures
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.data.segments import Segments
from flashmd_train.export.publish import publish
from flashmd_train.fit.config import DirectTraining
from flashmd_train.fit.direct import train_direct
from flashmd_train.studies.water_nve import start

ARMS = ("flagged", "random")
TIME_CONSTANT_FS = 1000.0
# Temperature above which a run has exploded.
EXPLODED_K = 1000.0
# Atoms of flexible water do not come nearer than this.
CLOSEST_A = 0.7


@dataclass(frozen=True)
class Loop:
    """One active-learning experiment.

    Attributes:
        settings: of the first training; later rounds begin from its weights and add steps.
        waters: in every box.
        rounds: after the first training.
        frames: added per round.
        runs: to collect frames from, and as many others to test the model.
        time_ps: length of each run.
        temperature_K: of their thermostat.
        extra_steps: of training per round.
        equilibration_ps: before each run.
    """

    settings: DirectTraining
    waters: int
    rounds: int
    frames: int
    runs: int
    time_ps: float
    temperature_K: float
    extra_steps: int
    equilibration_ps: float = 15.0


def active(loop: Loop, folder: Path, workers: int = 2) -> Path:
    """Run what is missing into ``folder`` and write ``active.md``; returns its path."""
    base = folder / "base"
    train_direct(loop.settings, base / "run")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_arm, [(loop, folder, arm) for arm in ARMS]))
    return write_page(loop, folder)


def _arm(job: tuple[Loop, Path, str]) -> None:
    """All rounds of one arm."""
    loop, folder, arm = job
    torch.set_num_threads(1)
    files = list(loop.settings.data.files)
    run = folder / "base" / "run"
    for number in range(loop.rounds + 1):
        place = folder / arm / f"round{number}"
        place.mkdir(parents=True, exist_ok=True)
        if number:
            label(loop, files[-1], place)
            files.append(place / "labels.h5")
            data = loop.settings.data.model_copy(update={"files": tuple(files)})
            optimizer = loop.settings.optimizer.model_copy(update={"steps": loop.extra_steps})
            more = loop.settings.model_copy(
                update={"data": data, "optimizer": optimizer, "start": run / "checkpoint.pt"}
            )
            run = place / "run"
            train_direct(more, run)
        model = place / "model.onnx"
        if not model.exists():
            publish(run, model, files, None, {}, calibration=list(loop.settings.data.files))
        if not (place / "tested.json").exists():
            tested = [survival(loop, folder, model, 1000 + seed, None) for seed in range(loop.runs)]
            (place / "tested.json").write_text(json.dumps(tested))
        following = folder / arm / f"round{number + 1}"
        if number < loop.rounds and not (following / "starts.extxyz").exists():
            following.mkdir(parents=True, exist_ok=True)
            _choose(loop, folder, arm, model, number, following)


def _choose(loop: Loop, folder: Path, arm: str, model: Path, number: int, place: Path) -> None:
    """Write the frames to be labelled to ``place``/starts.extxyz."""
    rng = np.random.default_rng([number, ARMS.index(arm)])
    frames: list[Atoms] = []
    if arm == "flagged":
        for seed in range(loop.runs):
            collected = place / f"collected{seed}.extxyz"
            survival(loop, folder, model, 100 * number + seed, collected)
            if collected.exists() and collected.stat().st_size:
                frames += [frame for frame in read_frames(collected, ":") if _sane(frame)]
    if len(frames) > loop.frames:
        frames = [frames[k] for k in sorted(rng.choice(len(frames), loop.frames, replace=False))]
    if len(frames) < loop.frames:
        # Both arms add the same number of frames: with too few violations, ordinary MD fills up.
        reference = start(folder, loop.waters, 10 * number + ARMS.index(arm) + 1, loop.equilibration_ps)
        for _ in range(loop.frames - len(frames)):
            reference.langevin(100.0, float(rng.uniform(250, 450)), rng, 20.0)
            frames.append(reference.atoms())
    with atomic_write(place / "starts.extxyz") as temporary:
        write_frames(temporary, frames, columns=["symbols", "positions", "momenta", "masses"])


def _sane(frame: Atoms) -> bool:
    """True if the reference can go on from a frame: not exploded, no two atoms too close."""
    distances = frame.get_all_distances(mic=True)[np.triu_indices(len(frame), 1)]
    return frame.get_temperature() < EXPLODED_K and distances.min() > CLOSEST_A


def label(loop: Loop, like: Path, place: Path) -> None:
    """Segments of the reference from each start: ``place``/labels.h5, in the format of the file ``like``."""
    path = place / "labels.h5"
    if path.exists():
        return
    shape = Segments.load(like)
    recipe = Recipe.of(
        "water",
        size=loop.waters,
        temperatures_K=(loop.temperature_K,),
        spacing_fs=shape.spacing_fs,
        length_fs=shape.spacing_fs * (shape.positions.shape[1] - 1),
    )
    reference = Water(loop.waters)
    with atomic_write(path) as temporary, Store(temporary, recipe, reference) as store:
        for atoms in read_frames(place / "starts.extxyz", ":"):
            reference.set(atoms.positions, atoms.get_momenta())
            # Frames that the reference cannot go on from, or that explode under it, are left out.
            with suppress(FloatingPointError):
                segment = record(reference, recipe, loop.temperature_K)
                if hottest(segment, reference.atoms()) < EXPLODED_K:
                    store.append(segment)


def hottest(segment: Segment, atoms: Atoms) -> float:
    """Largest temperature of the frames of a segment of ``atoms``, K."""
    masses, symbols = atoms.get_masses(), np.array(atoms.get_chemical_symbols())
    return max(temperatures(p.astype(float), masses, symbols)["total"] for p in segment.momenta)


def survival(loop: Loop, folder: Path, model: Path, seed: int, collected: Path | None) -> dict:
    """One Langevin run with a time constant of 1 ps: ps until it breaks or explodes, and its temperature until then."""
    atoms = start(folder, loop.waters, seed, loop.equilibration_ps).atoms()
    guard = Guard("off") if collected is None else Guard("collect", violations_file=collected)
    opened = flashmd_rs.Model(model, threads=1)
    thermostat = Langevin(time_constant_fs=TIME_CONSTANT_FS)
    options = dict(temperature_K=loop.temperature_K, thermostat=thermostat, guard=guard, seed=seed, interval=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", flashmd_rs.FlashMDWarning)
        # Given as a list of one, a run that fails keeps its frames up to the failure.
        (run,) = flashmd_rs.rollout([atoms], opened, time_ps=loop.time_ps, progress=False, **options)
    times, kelvin = run.times_ps.tolist(), run.temperature_K["total"].tolist()
    hot = next((k for k, t in enumerate(kelvin) if t > EXPLODED_K), len(kelvin))
    survived = times[hot - 1] if hot else 0.0
    second_half = kelvin[hot // 2 : hot]
    error = float(np.mean(second_half) - loop.temperature_K) if second_half else None
    return dict(seed=seed, survived_ps=survived, temperature_error_K=error)


def write_page(loop: Loop, folder: Path) -> Path:
    """``active.md``: survival and temperature error per round, both arms."""
    lines = [
        "# Active learning against as many random frames",
        "",
        paragraph(
            f"Made by `flashmd-train active`: {loop.frames} frames of {loop.waters} waters added per round,",
            f"{loop.runs} runs of {loop.time_ps:g} ps under Langevin at {loop.temperature_K:g} K (1 ps) to test each;",
            "median [least, most].",
        ),
        "",
        "| round | flagged: survived, ps | T − T_bath, K | random: survived, ps | T − T_bath, K |",
        "|---|---|---|---|---|",
    ]
    for number in range(loop.rounds + 1):
        cells = []
        for arm in ARMS:
            tested = json.loads((folder / arm / f"round{number}" / "tested.json").read_text())
            survived = [run["survived_ps"] for run in tested]
            errors = [run["temperature_error_K"] for run in tested if run["temperature_error_K"] is not None]
            cells.append(f"{np.median(survived):.2f} [{min(survived):.2f}, {max(survived):.2f}]")
            cells.append(f"{np.median(errors):+.0f} [{min(errors):+.0f}, {max(errors):+.0f}]" if errors else "–")
        lines.append(f"| {number} | {' | '.join(cells)} |")
    path = folder / "active.md"
    path.write_text("\n".join(lines) + "\n")
    return path
