"""Frames of a run from which structure and motion are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flashmd_rs._structure import F64, constraints

if TYPE_CHECKING:
    import ase

# Frames at most: what a page can hold in memory of any run.
MOST_FRAMES = 1000


@dataclass(frozen=True)
class Sample:
    """Evenly spaced frames of a run.

    Attributes:
        frames: the frames.
        times_ps: [F], ps.
        formula: of the system, ``"H516O258"``.
    """

    frames: list[ase.Atoms]
    times_ps: F64
    formula: str

    @classmethod
    def of(cls, frames: Sequence[ase.Atoms], times_ps: F64) -> Sample:
        """At most :data:`MOST_FRAMES` of the frames that a run kept.

        Args:
            frames: what it kept, one at least: all its frames, or the last alone.
            times_ps: of all its frames [F], ps.
        """
        times_ps = times_ps[len(times_ps) - len(frames) :]
        chosen = _even(times_ps, -(-len(frames) // MOST_FRAMES))
        sampled = [frames[index] for index in chosen]
        return cls(sampled, times_ps[chosen], sampled[0].get_chemical_formula())

    def second_half(self, moving: bool = False) -> list[ase.Atoms]:
        """The frames that are averaged; with ``moving`` less the atoms that are held."""
        late = self.frames[len(self.frames) // 2 :]
        return self.moving(late) if moving else late

    @staticmethod
    def moving(frames: list[ase.Atoms]) -> list[ase.Atoms]:
        """Frames less the atoms that are held."""
        fixed = constraints(frames[0]).fixed
        if fixed is None or not fixed.any():
            return frames
        return [without_constraints(frame)[~fixed] for frame in frames]

    @property
    def is_even(self) -> bool:
        """True if the frames are as far apart everywhere, as they are not where a run went on with another interval."""
        return bool(np.allclose(np.diff(self.times_ps), self.times_ps[1] - self.times_ps[0]))


def without_constraints(frame: ase.Atoms) -> ase.Atoms:
    """A copy whose momenta are all there to be read."""
    copy: ase.Atoms = frame.copy()
    copy.set_constraint()
    return copy


def _even(times_ps: F64, every: int) -> list[int]:
    """Each so many frames, without a last one that came early."""
    chosen = list(range(0, len(times_ps), every))
    if len(chosen) > 2 and not np.isclose(times_ps[chosen[-1]] - times_ps[chosen[-2]], times_ps[every] - times_ps[0]):
        chosen.pop()
    return chosen
