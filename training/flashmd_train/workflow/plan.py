"""What ``fit`` decides before it begins, by these rules, and keeps in ``plan.json``.

=============  ========================================================================================================
temperatures   of the data: 0.75, 1 and 1.25 times the one asked for; of several, four from 0.85 times the lowest to
               1.15 times the highest
molecules      bonds and angles are known to the model where atoms are bonded covalently and the fastest vibration is
               faster than ``MOLECULES_FS``
stride         the longest of ``STRIDES_FS`` that is at most 0.3 periods of the fastest vibration (0.45 of a hybrid
               model, 1 of a driven one), of no fewer than four time steps
time step      of the reference: the longest of its own and its halves that divides the spacing
spacing        a quarter of the stride, so that half and a quarter of it can be trained on the same data
segments       of two strides, with a bath of two strides between them; as many as fit into their share of the time,
               from ``FEWEST_SEGMENTS`` to ``MOST_SEGMENTS``
baths          between segments: longer, up to ``LONGEST_BATH_FS``, where segments take less than ``BATHS_SHARE`` of
               the data's time, so that slow motions are seen; the rest is for a processor that others use too
kicks          of a splitting: one each 0.1 periods of the fastest vibration; 0.45 where bonds are known, which kicks
               do not see
moments        of energies: with quadrupoles where the reference takes more than ``EXPENSIVE_MS_PER_ATOM``
=============  ========================================================================================================

The time is shared as ``SHARES`` says; the two trainings run side by side where there are two processors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flashmd_train.settings import Strict

STRIDES_FS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0)
# Periods of the fastest vibration in a stride, at most, and between two kicks of a splitting.
PERIODS_PER_STRIDE, PERIODS_PER_KICK = 0.3, 0.1
# Both, where bonds are known and act between the kicks, which are mollified.
PERIODS_WITH_BONDS = 0.45
# In a stride whose bonds move under slow forces.
PERIODS_DRIVEN = 1.0
# Longest period of the fastest vibration of molecules, fs: that of a double bond is below 20.
MOLECULES_FS = 25.0
FEWEST_SEGMENTS, MOST_SEGMENTS = 60, 1500
LONGEST_BATH_FS, BATHS_SHARE = 500.0, 0.5
SHARES = {"data": 0.32, "training": 0.36, "export": 0.05, "evaluation": 0.22}
# Time of a reference's step per atom, ms, above which its forces are taken for many-body ones that depend on angles; a
# gradient that takes twice the time is still far below the reference's then.
EXPENSIVE_MS_PER_ATOM = 0.2
# Frames of a stride, and strides of a segment and of the bath between two.
FRAMES_PER_STRIDE, STRIDES_PER_SEGMENT = 4, 2


class Plan(Strict):
    """The decisions of a run.

    Attributes:
        temperatures_K: of the data, K.
        timestep_fs: of the reference, fs.
        fastest_period_fs: period of the fastest vibration, fs.
        stride_fs: stride, fs.
        segments: of each system's data file.
        bath_fs: between two segments of each, fs.
        equilibration_ps: before the first segment of a chain, ps.
        reference_ms_per_step: wall time of one step of the reference, of each system, ms.
        energies: of the reference, that calibration and mean field may each ask for.
        data_minutes, training_minutes, evaluation_minutes: wall time that these may take.
        data_MB: size of the data.
        molecules: if bonds and angles are known to the model.
    """

    temperatures_K: tuple[float, ...]
    timestep_fs: float
    fastest_period_fs: float
    stride_fs: float
    segments: tuple[int, ...]
    # Runs of before have baths as long as their segments.
    bath_fs: tuple[float, ...] = ()
    equilibration_ps: float
    reference_ms_per_step: tuple[float, ...]
    energies: int
    data_minutes: float
    training_minutes: float
    evaluation_minutes: float
    data_MB: float
    molecules: bool = False

    @property
    def spacing_fs(self) -> float:
        """Time between stored frames, fs."""
        return self.stride_fs / FRAMES_PER_STRIDE

    @property
    def length_fs(self) -> float:
        """Length of a segment, fs."""
        return STRIDES_PER_SEGMENT * self.stride_fs

    @property
    def baths_fs(self) -> tuple[float, ...]:
        """Time between two segments of each system, fs."""
        return self.bath_fs or (self.length_fs,) * len(self.segments)


def are_molecules(period_fs: float, bonds: int) -> bool:
    """If atoms with so many covalent bonds, of that fastest vibration, are treated as molecules."""
    return bonds > 0 and period_fs < MOLECULES_FS


def data_temperatures(wanted_K: tuple[float, ...]) -> tuple[float, ...]:
    """Temperatures of the data for a model that is wanted at ``wanted_K``."""
    low, high = min(wanted_K), max(wanted_K)
    if low == high:
        return tuple(round(factor * low, 1) for factor in (0.75, 1.0, 1.25))
    first, last = 0.85 * low, 1.15 * high
    return tuple(round(first + k * (last - first) / 3, 1) for k in range(4))


def choose_stride(period_fs: float, timestep_fs: float, periods: float = PERIODS_PER_STRIDE) -> float:
    """The longest stride of at most so many periods of the fastest vibration, fs."""
    longest = periods * period_fs
    fitting = [s for s in STRIDES_FS if FRAMES_PER_STRIDE * timestep_fs <= s <= longest]
    return max(fitting, default=FRAMES_PER_STRIDE * timestep_fs)


def matching_timestep(timestep_fs: float, spacing_fs: float) -> float:
    """The longest halving of a time step that divides the time between frames, fs.

    Raises:
        ValueError: none does.
    """
    for halving in range(6):
        shorter = timestep_fs / 2**halving
        ratio = spacing_fs / shorter
        if ratio > 0.5 and abs(ratio - round(ratio)) < 1e-9:
            return shorter
    raise ValueError(
        f"a quarter of the stride, {spacing_fs:g} fs, is no multiple of the reference's time step of {timestep_fs:g} "
        "fs or of its halves: give another stride or timestep"
    )


def number_of_kicks(stride_fs: float, period_fs: float, molecules: bool = False) -> int:
    """Drifts of a splitting, one each :data:`PERIODS_PER_KICK` periods, or :data:`PERIODS_WITH_BONDS`."""
    periods = PERIODS_WITH_BONDS if molecules else PERIODS_PER_KICK
    return max(1, math.ceil(stride_fs / (periods * period_fs) - 1e-9))


def degree_of_moments(ms_per_step: Sequence[float], atoms: Sequence[int]) -> int:
    """Degree of the moments of energy models: 2, quadrupoles, for references that are expensive per atom, else 1.

    Args:
        ms_per_step: wall time of a step of each system's reference, ms.
        atoms: number of atoms of each.
    """
    return 2 if max(ms / n for ms, n in zip(ms_per_step, atoms)) > EXPENSIVE_MS_PER_ATOM else 1


def steps_behind_equilibration(seconds: float, chains: int, workers: int, step_s: float, before: float) -> float:
    """Steps of a data file that are simulated in ``seconds``, less those of its equilibrations.

    Args:
        seconds: wall time.
        chains: chains of segments, each with an equilibration.
        workers: processes that simulate.
        step_s: wall time of a step, s.
        before: steps of an equilibration.
    """
    return seconds * min(chains, workers) / step_s - chains * before


def number_of_segments(steps: float, per_stride: float) -> int:
    """Segments that as many steps hold, behind the shortest baths."""
    return int(min(MOST_SEGMENTS, steps / (2 * STRIDES_PER_SEGMENT * per_stride)))


def length_of_bath(steps: float, per_stride: float, segments: int, stride_fs: float) -> float:
    """Time between two segments that makes use of their share of the steps, fs, a multiple of the stride."""
    fitting = min(BATHS_SHARE * steps / segments / per_stride - STRIDES_PER_SEGMENT, LONGEST_BATH_FS / stride_fs)
    return stride_fs * max(STRIDES_PER_SEGMENT, int(fitting))
