"""What a reference costs, and how fast its fastest vibration is: a short simulation before anything is decided."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from flashmd_rs import Model
from flashmd_rs.reference.checks.spectrum import fastest_period_fs
from flashmd_rs.reference.generate import generate
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System
from flashmd_rs.temperature import draw_momenta

# Steps that are timed, after as many to warm up, and no longer than so many seconds.
TIMED_STEPS, TIMED_SECONDS = 40, 10.0
TIMED_STRIDES = 15
# The simulation whose vibrations are looked at: steps of an equilibration, of a bath, of a segment, and between frames.
PROBE_STEPS = {"equilibration": 240, "bath": 40, "length": 64, "spacing": 2}
PROBE_SEGMENTS = 6


class Probe(NamedTuple):
    """A short look at a system.

    Attributes:
        timestep_fs: time step of velocity Verlet, fs.
        seconds_per_step: wall time of a step, s.
        fastest_period_fs: period of the fastest vibration, fs.
        atoms: number of atoms.
    """

    timestep_fs: float
    seconds_per_step: float
    fastest_period_fs: float
    atoms: int


def probe(system: System, temperature_K: float, timestep_fs: float | None) -> Probe:
    """Time the reference, and look at the vibrations in a little of it.

    Raises:
        ValueError: the potential does not give energies and forces for these atoms.
        FloatingPointError: it does not conserve energy.
    """
    reference = system.reference(timestep_fs)
    reference.start()
    reference.draw_momenta(temperature_K, np.random.default_rng(0))
    step = reference.timestep_fs
    reference.nve(2 * step)
    started, steps = time.perf_counter(), 0
    while steps < TIMED_STEPS and time.perf_counter() - started < TIMED_SECONDS:
        reference.nve(step)
        steps += 1
    seconds = (time.perf_counter() - started) / steps
    recipe = Recipe(
        system=system,
        temperatures_K=(temperature_K,),
        timestep_fs=step,
        spacing_fs=PROBE_STEPS["spacing"] * step,
        length_fs=PROBE_STEPS["length"] * step,
        decorrelation_fs=PROBE_STEPS["bath"] * step,
        equilibration_ps=1e-3 * PROBE_STEPS["equilibration"] * step,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "probe.h5"
        generate(file, recipe, PROBE_SEGMENTS)
        period = fastest_period_fs(file)
    return Probe(step, seconds, period, len(reference.masses))


def ms_per_stride(model: Path, atoms: Atoms, temperature_K: float) -> tuple[float, float]:
    """Wall time of one stride of a model on one thread, ms, the median of ``TIMED_STRIDES``; and the stride, fs."""
    loaded = Model(model, device="cpu", threads=1)
    moved = atoms.copy()
    moved.set_momenta(draw_momenta(atoms.get_masses(), temperature_K, seed=0))
    times = []
    for _ in range(TIMED_STRIDES):
        started = time.perf_counter()
        loaded.stride(moved)
        times.append(time.perf_counter() - started)
    assert loaded.stride_fs is not None
    return 1000 * float(np.median(times)), loaded.stride_fs
