"""Turns what the core reports into frames, files and, at the end, a Trajectory."""

from __future__ import annotations

import os
import warnings
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs.errors import FlashMDWarning, StabilityError
from flashmd_rs.stored import FrameFile, StoredFrames, make_frame
from flashmd_rs.structure import F64, constraints
from flashmd_rs.temperature import kinetic_energy, temperatures
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import FrameWriter, LogWriter, Mark, StoredFrame, check_frames, open_frames, reopen_frames

if TYPE_CHECKING:
    import ase


Marks = dict[str, Any]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Files:
    """What a run writes as it goes, by name of the argument; None for what it does not.

    Attributes:
        trajectory: the kept frames.
        logfile: one line for each, ``"-"`` for standard output.
        collected: structures that the guard flagged.
    """

    trajectory: PathLike | None = None
    logfile: PathLike | None = None
    collected: PathLike | None = None


class Recorder:
    """Measures every frame it is given, and streams it to the files that were asked for.

    Frames stay in memory only where there is no file for them.

    Args:
        atoms: structure that frames are copies of.
        files: checked.
        header: lines that open the log.
        replica: number of the system, for messages.

    Attributes:
        warning: said when the run begins, or None.
        flags: the first time each quantity was out of bounds: ``{"quantity", "step", "atoms", "message"}``.

    Raises:
        InputError: the trajectory's format cannot keep the structure.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        files: Files,
        header: list[str],
        replica: int = 0,
    ) -> None:
        self.path, self._collected = (None if p is None else Path(p) for p in (files.trajectory, files.collected))
        for path in (self.path, self._collected):
            if path is not None:
                check_frames(path, atoms)
        self.atoms: ase.Atoms = atoms.copy()
        self._fixed = constraints(atoms).fixed
        self._masses: F64 = atoms.get_masses()
        self._symbols = np.array(atoms.get_chemical_symbols())
        self._frames: list[ase.Atoms] = []
        self._last: StoredFrame | None = None
        self._steps = array("q")
        self._times_ps = array("d")
        self._potential = array("d")
        self._conserved = array("d")
        self._kinetic = array("d")
        self._kelvin: dict[str, array[float]] = {}
        self._logfile, self._header, self._replica = files.logfile, header, replica
        self.warning: str | None = None
        self._writer: FrameWriter | None = None
        self._log: LogWriter | None = None
        self._flagged: FrameWriter | None = None
        self.flags: list[dict[str, Any]] = []

    def __call__(self, frame: dict[str, Any]) -> None:
        """Take one frame of the core's ``on_frame``: it is written first, and only then counted."""
        step, time_ps, energy = int(frame["step"]), frame["time_fs"] / 1000.0, frame["potential_energy"]
        state = StoredFrame(frame["positions"], frame["momenta"], frame["cell"])
        atoms = make_frame(self.atoms, state, step, time_ps, energy)
        kinetic = kinetic_energy(frame["momenta"], self._masses)
        kelvin = temperatures(frame["momenta"], self._masses, self._symbols, self._fixed)
        if self._writer is None:
            self._frames.append(atoms)
        else:
            self._writer.write(atoms)
        if self._log is not None:
            self._log.write(time_ps, energy, kinetic, list(kelvin.values()))
        self._last = state
        self._steps.append(step)
        self._times_ps.append(time_ps)
        self._kinetic.append(kinetic)
        self._potential.append(np.nan if energy is None else energy)
        self._conserved.append(np.nan if frame["conserved_energy"] is None else frame["conserved_energy"])
        for name, value in kelvin.items():
            self._kelvin.setdefault(name, array("d")).append(value)

    def begin(self, marks: Marks | None = None) -> None:
        """Open the files, once the core has found everything good.

        Args:
            marks: where those of a run to be continued ended: they are cut back to there. The others are emptied.

        Raises:
            OSError: a file cannot be written, is missing, or is not what was left.
        """
        if self.warning is not None:
            warnings.warn(self.warning, FlashMDWarning, stacklevel=3)
        left: Marks = marks or {"trajectory": None, "logfile": None, "collected": None, "flags": []}
        self.flags = list(left["flags"])
        self._writer = _open_frames(self.path, left["trajectory"])
        self._flagged = _open_frames(self._collected, left["collected"])
        if self._logfile is not None:
            species = sorted(set(self._symbols.tolist()))
            self._log = LogWriter(self._logfile, self._header, species, len(self.atoms), left["logfile"] or None)

    def flag(self, flag: dict[str, Any]) -> None:
        """Take the core's ``on_flag``: warn of each quantity once, and keep the structure where that was asked for."""
        known = {entry["quantity"] for entry in self.flags}
        for quantity, atoms, message in flag["findings"]:
            if quantity not in known:
                known.add(quantity)
                self.flags.append({"quantity": quantity, "step": flag["step"], "atoms": atoms, "message": message})
                said = f"replica {self._replica}, after step {flag['step']}: {message}"
                warnings.warn(said, FlashMDWarning, stacklevel=3)
        if self._flagged is not None:
            state = StoredFrame(flag["positions"], flag["momenta"], flag["cell"])
            self._flagged.write(make_frame(self.atoms, state, flag["step"], flag["time_ps"], None))

    def marks(self) -> Marks:
        """Where the files end, once that is safely on disk."""
        return {
            "trajectory": None if self._writer is None else self._writer.mark(),
            "logfile": None if self._log is None else self._log.mark(),
            "collected": None if self._flagged is None else self._flagged.mark(),
            "flags": self.flags,
        }

    @property
    def time_ps(self) -> float:
        """Simulated time of the last frame, ps."""
        return self._times_ps[-1] if self._times_ps else 0.0

    def close(self) -> None:
        """Finish the files."""
        with ExitStack() as stack:
            for output in (self._flagged, self._log, self._writer):
                if output is not None:
                    stack.callback(output.close)

    def trajectory(self, seed: int, report: dict[str, Any], failure: StabilityError | None) -> Trajectory:
        """Everything that was kept; after :meth:`close`."""
        times_ps, potential = np.array(self._times_ps), _complete(self._potential)
        frames: list[ase.Atoms] | StoredFrames = self._frames
        if self.path is not None and self._writer is not None and self._last is not None:
            reader = self._writer.reader()
            frames = StoredFrames(
                FrameFile(self.path, reader, self.atoms, self._steps, times_ps, potential, self._last)
            )
        return Trajectory(
            frames=frames,
            times_ps=times_ps,
            temperature_K={name: np.array(values) for name, values in self._kelvin.items()},
            kinetic_energy=np.array(self._kinetic),
            potential_energy=potential,
            conserved_energy=_complete(self._conserved),
            seed=seed,
            report=report,
            failure=failure,
        )


def _open_frames(path: Path | None, mark: Mark | None) -> FrameWriter | None:
    if path is None:
        return None
    return open_frames(path) if mark is None else reopen_frames(path, mark)


def _complete(values: array[float]) -> F64 | None:
    """Energies, unless one of them is not known."""
    numbers = np.array(values)
    return numbers if len(numbers) and not np.isnan(numbers).any() else None
