"""What moves a system from its reference's current frame, and what a run of it gives."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NamedTuple

from ase import Atoms

from flashmd_rs._structure import F64
from flashmd_rs.evaluation.integrators.series import Samples
from flashmd_rs.reference.base import Reference
from flashmd_rs.reference.potentials import Potential


class Bath(NamedTuple):
    """A Langevin bath, at constant pressure with a Monte Carlo barostat.

    Attributes:
        temperature_K: its temperature, K.
        time_constant_fs: relaxation time of the momenta, fs.
        pressure_bar: pressure, bar; None keeps the cell.
    """

    temperature_K: float
    time_constant_fs: float
    pressure_bar: float | None = None


class RunResult(NamedTuple):
    """Frames of one run of an integrator, and its cost.

    Attributes:
        frames: frames with momenta; the first is where the run began.
        times_ps: their times, ps.
        samples: temperatures and densities, every :data:`~flashmd_rs.evaluation.integrators.series.SAMPLE_FS`.
        seconds: wall time that the motion took, s.
        evaluations: number of evaluations of the network, of the forces, or of r-RESPA's outer forces.
        stopped: why the run ended early, or None.
        accepted: share of the strides that a Metropolis test accepted, or None without a test.
        violations: strides out of a model's domain by quantity; None of other integrators.
    """

    frames: list[Atoms]
    times_ps: F64
    samples: Samples
    seconds: float
    evaluations: int
    stopped: str | None
    accepted: float | None = None
    violations: dict[str, int] | None = None


class Integrator(ABC):
    """A way to move a system in time.

    Attributes:
        name: name for tables.
        step_fs: time between two successive states, fs.
        ensembles: ``nve``, ``nvt`` and ``npt``, those of them that it can run.
        by_reference: if it moves by the reference's own forces.
    """

    name: str
    step_fs: float
    ensembles: tuple[str, ...] = ("nve", "nvt", "npt")
    by_reference = False

    @property
    def key(self) -> str:
        """Part of the names of its result files; different integrators have different keys."""
        return re.sub(r"[^\w.]+", "-", self.name)

    def check(self, reference: Reference) -> None:
        """Raise ValueError if it cannot move this system."""
        return

    @abstractmethod
    def run(
        self,
        reference: Reference,
        time_fs: float,
        interval_fs: float,
        bath: Bath | None,
        seed: int,
        potential: Potential | None = None,
    ) -> RunResult:
        """Run from the reference's current frame.

        Args:
            reference: the system; where it stands afterwards is undefined.
            time_fs: length of the run, fs.
            interval_fs: time between frames, fs, rounded to whole steps.
            bath: the bath; None for NVE.
            seed: seed of random numbers.
            potential: the reference's, for other cells at constant pressure.
        """
