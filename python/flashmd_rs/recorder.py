"""Turns what the core reports into frames, files and, at the end, a Trajectory."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs.errors import FlashMDWarning, StabilityError
from flashmd_rs.structure import F64, with_state
from flashmd_rs.temperature import temperatures_of
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import FrameWriter, LogWriter, open_frames

if TYPE_CHECKING:
    import os

    import ase


class Recorder:
    """Keeps every frame it is given, and streams it to the files that were asked for.

    Args:
        atoms: structure that frames are copies of.
        trajectory: checked path for frames, or None. Files are opened, and old ones emptied, with the first frame:
            only then has the core found everything good.
        logfile: path for the log, ``"-"`` for standard output, or None.
        header: lines that open the log.
        warning: said with the first frame, or None.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        trajectory: Path | None,
        logfile: str | os.PathLike[str] | None,
        header: list[str],
        warning: str | None = None,
    ) -> None:
        self.atoms = atoms
        self._frames: list[ase.Atoms] = []
        self._times_ps: list[float] = []
        self._potential: list[float | None] = []
        self._conserved: list[float | None] = []
        self.path = trajectory
        self._targets = (trajectory, logfile, header)
        self._warning = warning
        self._writer: FrameWriter | None = None
        self._log: LogWriter | None = None

    def __call__(self, frame: dict[str, Any]) -> None:
        """Take one frame of the core's ``on_frame``."""
        if not self._frames:
            if self._warning is not None:
                warnings.warn(self._warning, FlashMDWarning, stacklevel=3)
            self._open()
        time_ps = frame["time_fs"] / 1000.0
        atoms = self._structure(frame, time_ps)
        if self._writer is not None:
            self._writer.write(atoms)
        if self._log is not None:
            kelvin = list(temperatures_of(atoms).values())
            self._log.write(time_ps, frame["potential_energy"], atoms.get_kinetic_energy(), kelvin)
        self._frames.append(atoms)
        self._times_ps.append(time_ps)
        self._potential.append(frame["potential_energy"])
        self._conserved.append(frame["conserved_energy"])

    def _open(self) -> None:
        trajectory, logfile, header = self._targets
        if trajectory is not None:
            self._writer = open_frames(trajectory)
        if logfile is not None:
            species = sorted(set(self.atoms.get_chemical_symbols()))
            self._log = LogWriter(logfile, header, species, len(self.atoms))

    def _structure(self, frame: dict[str, Any], time_ps: float) -> ase.Atoms:
        from ase.calculators.singlepoint import SinglePointCalculator

        atoms = with_state(self.atoms, frame["positions"], frame["momenta"], frame["cell"])
        atoms.info.update(step=int(frame["step"]), time_ps=time_ps)
        if frame["potential_energy"] is not None:
            atoms.calc = SinglePointCalculator(atoms, energy=frame["potential_energy"])
        return atoms

    @property
    def time_ps(self) -> float:
        """Simulated time of the last frame, ps."""
        return self._times_ps[-1] if self._times_ps else 0.0

    def close(self) -> None:
        """Finish the files."""
        for output in (self._writer, self._log):
            if output is not None:
                output.close()

    def trajectory(self, seed: int, report: dict[str, Any], failure: StabilityError | None) -> Trajectory:
        """Everything that was kept."""
        return Trajectory(
            frames=self._frames,
            times_ps=np.array(self._times_ps),
            potential_energy=_complete(self._potential),
            conserved_energy=_complete(self._conserved),
            seed=seed,
            report=report,
            failure=failure,
        )


def _complete(values: list[float | None]) -> F64 | None:
    numbers = [value for value in values if value is not None]
    return np.array(numbers) if numbers and len(numbers) == len(values) else None
