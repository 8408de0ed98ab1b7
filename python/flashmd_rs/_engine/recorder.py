"""Recorder of one system: frames that the core reports become files and a Trajectory."""

from __future__ import annotations

import os
from array import array
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._structure import F64, constraints
from flashmd_rs._warn import warn
from flashmd_rs.errors import StabilityError
from flashmd_rs.temperature import kinetic_energy, temperatures
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.writers import (
    FileOffset,
    FrameReader,
    FrameWriter,
    LogWriter,
    OutputLock,
    StoredFrame,
    check_frames,
    open_frames,
    reopen_frames,
)
from flashmd_rs.writers.stored_frames import ChainedReader, FrameFile, StoredFrames, make_frame

if TYPE_CHECKING:
    import ase


# Where the files of a system end, by name, and the violations that were said.
FileOffsets = dict[str, Any]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Files:
    """Files that a run writes as it goes; None for those it does not.

    Attributes:
        trajectory: the kept frames.
        logfile: one line for each, ``"-"`` for standard output.
        violations_file: structures that the guard collected.
    """

    trajectory: PathLike | None = None
    logfile: PathLike | None = None
    violations_file: PathLike | None = None


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
        violations: the first time each quantity was out of bounds: ``{"quantity", "step", "atoms", "message"}``.

    Raises:
        InputError: the trajectory's format cannot keep the structure.
    """

    def __init__(self, atoms: ase.Atoms, files: Files, header: list[str], replica: int = 0) -> None:
        self.path, self._violations_path = (
            None if path is None else Path(path).absolute() for path in (files.trajectory, files.violations_file)
        )
        for path in (self.path, self._violations_path):
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
        names = ("total", *sorted(set(self._symbols.tolist())))
        self._temperatures_K: dict[str, array[float]] = {name: array("d") for name in names}
        self._logfile, self._header, self.replica = files.logfile, header, replica
        self.warning: str | None = None
        self.violations: list[dict[str, Any]] = []
        self._writer: FrameWriter | None = None
        self._log: LogWriter | None = None
        self._collector: FrameWriter | None = None
        self._locks = ExitStack()
        # Where the trajectory ended before a frame whose line in the log could not be written.
        self._before_frame: FileOffset | None = None
        # Frames before the open writer's first, and the readers of what closed ones wrote.
        self._before = 0
        self._readers: list[tuple[int, FrameReader]] = []

    def __len__(self) -> int:
        return len(self._steps)

    def __call__(self, frame: dict[str, Any]) -> None:
        """Take one frame of the core's ``on_frame``: it is written first, and only then counted."""
        step, time_ps, energy = int(frame["step"]), frame["time_fs"] / 1000.0, frame["potential_energy"]
        state = StoredFrame(frame["positions"], frame["momenta"], frame["cell"])
        atoms = make_frame(self.atoms, state, step, time_ps, energy)
        kinetic = kinetic_energy(frame["momenta"], self._masses)
        temperatures_K = temperatures(frame["momenta"], self._masses, self._symbols, self._fixed)
        self._before_frame = None if self._writer is None else self._writer.offset()
        if self._writer is not None:
            self._writer.write(atoms)
        if self._log is not None:
            self._log.write(time_ps, energy, kinetic, list(temperatures_K.values()))
        self._before_frame = None
        if self.path is None:
            self._frames.append(atoms)
        self._last = state
        self._steps.append(step)
        self._times_ps.append(time_ps)
        self._kinetic.append(kinetic)
        self._potential.append(np.nan if energy is None else energy)
        self._conserved.append(np.nan if frame["conserved_energy"] is None else frame["conserved_energy"])
        for name, value in temperatures_K.items():
            self._temperatures_K[name].append(value)

    def begin(self, offsets: FileOffsets | None = None) -> None:
        """Open the files, once the core has found everything good.

        Args:
            offsets: where those of a run to be continued ended: they are cut back to there. The others are emptied.

        Raises:
            OSError: a file cannot be written, is missing, or is not what was left.
        """
        if self.warning is not None:
            warn(self.warning)
        nothing: FileOffsets = {"trajectory": None, "logfile": None, "violations_file": None, "violations": []}
        self._open(offsets or nothing, self._header)

    def go_on(self, offsets: FileOffsets, frames: int) -> None:
        """Open the files again after :meth:`close`, cut back to where they were with so many frames."""
        self._forget(frames)
        self._open(offsets, None)

    def _open(self, offsets: FileOffsets, header: list[str] | None) -> None:
        self.violations = list(offsets["violations"])
        self._before, self._before_frame = len(self), None
        try:
            self._lock(offsets)
            self._writer = _open_frames(self.path, offsets["trajectory"])
            self._collector = _open_frames(self._violations_path, offsets["violations_file"])
            if self._logfile is not None:
                species = sorted(set(self._symbols.tolist()))
                self._log = LogWriter(self._logfile, header, species, len(self.atoms), offsets["logfile"] or None)
        except BaseException:
            self.close()
            raise

    def _lock(self, offsets: FileOffsets) -> None:
        """Keep other runs from the files until they are closed."""
        log = None if self._logfile in (None, "-") else Path(str(self._logfile))
        outputs = {"trajectory": self.path, "violations_file": self._violations_path, "logfile": log}
        for name, path in outputs.items():
            # A missing file that is to be gone on with is its writer's to say; a terminal or a pipe has no other run.
            if path is not None and (path.is_file() or not (path.exists() or offsets[name])):
                self._locks.callback(OutputLock(path, name.replace("_", " ")).close)

    def _forget(self, frames: int) -> None:
        """Drop the frames after the first so many."""
        if frames == len(self):
            return
        self._last = None
        series: tuple[Any, ...] = (self._steps, self._times_ps, self._potential, self._conserved, self._kinetic)
        for values in series:
            del values[frames:]
        for kelvin in self._temperatures_K.values():
            del kelvin[frames:]
        del self._frames[frames:]

    def on_violations(self, report: dict[str, Any]) -> None:
        """Take the core's ``on_violations``: warn of each quantity once, and keep the structure where that is asked."""
        known = {entry["quantity"] for entry in self.violations}
        for quantity, atoms, message in report["violations"]:
            if quantity not in known:
                known.add(quantity)
                entry = {"quantity": quantity, "step": report["step"], "atoms": atoms, "message": message}
                self.violations.append(entry)
                text = f"replica {self.replica}, after step {report['step']}: {message}"
                warn(text)
        if self._collector is not None:
            state = StoredFrame(report["positions"], report["momenta"], report["cell"])
            self._collector.write(make_frame(self.atoms, state, report["step"], report["time_ps"], None))

    def sync(self) -> FileOffsets:
        """Where the files end, once that is safely on disk."""
        return {
            "trajectory": None if self._writer is None else self._writer.sync(),
            "logfile": None if self._log is None else self._log.sync(),
            "violations_file": None if self._collector is None else self._collector.sync(),
            "violations": list(self.violations),
        }

    def offsets(self) -> FileOffsets:
        """Where the files end, on disk or on the way to it."""
        return {
            "trajectory": None if self._writer is None else self._before_frame or self._writer.offset(),
            "logfile": None if self._log is None else self._log.offset(),
            "violations_file": None if self._collector is None else self._collector.offset(),
            "violations": list(self.violations),
        }

    def close(self) -> None:
        """Finish the files."""
        with self._locks.pop_all(), ExitStack() as stack:
            for output in (self._collector, self._log, self._writer):
                if output is not None:
                    stack.callback(output.close)
        if self._writer is not None:
            self._readers.append((self._before, self._writer.reader()))
        self._writer = self._log = self._collector = None

    def frame(self, index: int) -> ase.Atoms:
        """A copy of a kept frame; from a file, once that is closed, unless it is the last."""
        if self._frames:
            kept = self._frames[index]
            copy: ase.Atoms = kept.copy()
            copy.calc = kept.calc
            return copy
        last = index == len(self) - 1
        state = self._last_state() if last else ChainedReader(self._readers).read(index)
        energy = None if np.isnan(self._potential[index]) else self._potential[index]
        return make_frame(self.atoms, state, self._steps[index], self._times_ps[index], energy)

    def _last_state(self) -> StoredFrame:
        """What was kept last, read back if it is no longer in memory."""
        if self._last is None:
            self._last = ChainedReader(self._readers).read(len(self) - 1)
        return self._last

    def trajectory(self, seed: int, report: dict[str, Any], failure: StabilityError | None) -> Trajectory:
        """Everything that was kept; after :meth:`close`."""
        times_ps, potential = np.array(self._times_ps), _complete(self._potential)
        frames: list[ase.Atoms] | StoredFrames = list(self._frames)
        if self.path is not None and self._readers and len(self):
            reader, last = ChainedReader(self._readers[:]), self._last_state()
            frames = StoredFrames(FrameFile(self.path, reader, self.atoms, self._steps[:], times_ps, potential, last))
        return Trajectory(
            frames=frames,
            times_ps=times_ps,
            temperature_K={name: np.array(values) for name, values in self._temperatures_K.items()},
            kinetic_energy=np.array(self._kinetic),
            potential_energy=potential,
            conserved_energy=_complete(self._conserved),
            seed=seed,
            report=report,
            failure=failure,
        )


def _open_frames(path: Path | None, offset: FileOffset | None) -> FrameWriter | None:
    if path is None:
        return None
    return open_frames(path) if offset is None else reopen_frames(path, offset)


def _complete(values: array[float]) -> F64 | None:
    """Energies, unless one of them is not known."""
    numbers = np.array(values)
    return numbers if len(numbers) and not np.isnan(numbers).any() else None
