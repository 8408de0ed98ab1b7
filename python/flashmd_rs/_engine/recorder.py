"""Recorder of one system: frames that the core reports become files and a Trajectory."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from flashmd_rs._structure import F64, constraints, with_state
from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError, StabilityError
from flashmd_rs.temperature import kinetic_energy, temperatures
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.volume import density_g_per_cm3, pressure_bar
from flashmd_rs.writers import (
    FileOffset,
    FrameReader,
    FrameWriter,
    LeftOut,
    LogWriter,
    OutputLock,
    StoredFrame,
    labels_left_out,
    log,
    open_frames,
    reopen_frames,
)
from flashmd_rs.writers.stored_frames import ChainedReader, FrameFile, StoredFrames, make_frame

if TYPE_CHECKING:
    import ase


# Where the files of a system end, by name, and the violations that were said.
FileOffsets = dict[str, Any]
PathLike = str | os.PathLike[str]
_ATOMS_BYTES = 2000  # of an ``ase.Atoms`` beside its arrays


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


_NOTHING: FileOffsets = {"trajectory": None, "logfile": None, "violations_file": None, "violations": []}


class Recorder:
    """Measures every frame it is given, and streams it to the files that were asked for.

    Frames stay in memory only where there is no file for them and they are to be kept.

    Args:
        atoms: structure that frames are copies of.
        files: checked.
        header: lines that open the log.
        replica: number of the system, for messages.
        pressure: the energy has a virial.
        stress: frames and log are to keep the whole stress.
        keeps_frames: False keeps no frame in memory but the last; what was measured on the others is kept all the same.

    Attributes:
        warning: said when the run begins, or None.
        left_out: labels of the structure that a file of frames cannot keep, by its path.
        violations: the first time each quantity was out of bounds: ``{"quantity", "step", "atoms", "message"}``.

    Raises:
        InputError: the trajectory's format cannot keep the structure.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        files: Files,
        header: list[str],
        replica: int = 0,
        *,
        pressure: bool = False,
        stress: bool = False,
        keeps_frames: bool = True,
    ) -> None:
        self.path, self._violations_path = (
            None if path is None else Path(path).absolute() for path in (files.trajectory, files.violations_file)
        )
        self.atoms: ase.Atoms = with_state(atoms, atoms.positions, atoms.get_momenta())
        self.left_out: dict[Path | None, LeftOut] = {
            path: labels_left_out(path, _first_frame(self.atoms))
            for path in (self.path, self._violations_path)
            if path is not None
        }
        self._fixed = constraints(atoms).fixed
        self._masses: F64 = atoms.get_masses()
        self._symbols = np.array(atoms.get_chemical_symbols())
        self.keeps_frames = keeps_frames and self.path is None
        self._frames: list[ase.Atoms] = []
        self._last: StoredFrame | None = None
        self._steps = array("q")
        self._times_ps = array("d")
        self._potential = array("d")
        self._conserved = array("d")
        self._kinetic = array("d")
        self._volumes = array("d")
        # Of each frame: the whole stress, and where frames keep one, that without the kinetic part, in Voigt's order.
        self._stress = array("d")
        self._frame_stress = array("d")
        self._keeps_stress, self._log_columns = stress, _log_columns(atoms, pressure, stress)
        names = ("total", *sorted(set(self._symbols.tolist())))
        self._temperatures_K: dict[str, array[float]] = {name: array("d") for name in names}
        self._logfile, self._header, self.replica = files.logfile, header, replica
        self.warning: str | None = None
        self.violations: list[dict[str, Any]] = []
        self._writer: FrameWriter | None = None
        self._log: LogWriter | None = None
        self._collector: FrameWriter | None = None
        self._locks: list[OutputLock] = []
        self._used = False
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
        stress = frame.get("stress")
        kept_stress = self._stress_to_keep(frame)
        pressure = None if stress is None else float(pressure_bar(stress))
        atoms = make_frame(
            self.atoms, state, step, time_ps, potential_energy=energy, pressure_bar=pressure, stress=kept_stress
        )
        kinetic = kinetic_energy(frame["momenta"], self._masses)
        temperatures_K = temperatures(frame["momenta"], self._masses, self._symbols, self._fixed)
        self._before_frame = None if self._writer is None else self._writer.offset()
        if self._writer is not None:
            self._writer.write(self.left_out[self.path].of(atoms))
        if self._log is not None:
            self._log.write(time_ps, energy, kinetic, list(temperatures_K.values()), _log_values(atoms, stress))
        self._before_frame = None
        if self.path is None:
            self._frames.append(atoms)
            if not self.keeps_frames:
                del self._frames[:-2]  # the next stride may drop one off the beat
        self._last = state
        self._steps.append(step)
        self._times_ps.append(time_ps)
        self._kinetic.append(kinetic)
        self._potential.append(np.nan if energy is None else energy)
        self._conserved.append(np.nan if frame["conserved_energy"] is None else frame["conserved_energy"])
        self._volumes.append(atoms.info.get("volume_A3", np.nan))
        self._stress.extend(np.full(9, np.nan) if stress is None else stress.ravel())
        if self._keeps_stress:
            self._frame_stress.extend(np.full(6, np.nan) if kept_stress is None else kept_stress)
        for name, value in temperatures_K.items():
            self._temperatures_K[name].append(value)

    def _stress_to_keep(self, frame: dict[str, Any]) -> F64 | None:
        """What the frame's calculator is to say, [6], eV/Å³."""
        if not self._keeps_stress or frame.get("virial") is None:
            return None
        voigt: F64 = full_3x3_to_voigt_6_stress(-frame["virial"] / abs(np.linalg.det(frame["cell"])))
        return voigt

    def begin(self, offsets: FileOffsets | None = None) -> None:
        """Open the files, once the core has found everything good.

        Args:
            offsets: where those of a run to be continued ended: they are cut back to there. The others are emptied.

        Raises:
            OSError: a file cannot be written, is missing, or is not what was left.
        """
        if self.warning is not None:
            warn(self.warning)
        self._open(offsets or _NOTHING, self._header)

    def go_on(self, offsets: FileOffsets, frames: int) -> None:
        """Open the files again after :meth:`close`, cut back to where they were with so many frames."""
        self._forget(frames)
        self._open(offsets, None)

    def _open(self, offsets: FileOffsets, header: list[str] | None) -> None:
        self.violations = list(offsets["violations"])
        self._before, self._before_frame = len(self), None
        try:
            self.lock(offsets)
            self._writer = _open_frames(self.path, offsets["trajectory"])
            self._collector = _open_frames(self._violations_path, offsets["violations_file"])
            if self._logfile is not None:
                species = sorted(set(self._symbols.tolist()))
                self._log = LogWriter(
                    self._logfile, header, species, len(self.atoms), offsets["logfile"] or None, self._log_columns
                )
            self._used = True
            for lock in self._locks:
                lock.follow()
        except BaseException:
            self.close()
            raise

    def lock(self, offsets: FileOffsets | None = None) -> None:
        """Keep other runs from the files until :meth:`release`; before any file of any system is emptied.

        Args:
            offsets: where those of a run to be continued ended.

        Raises:
            OSError: another run or program has one of them, or it cannot be written.
        """
        if self._locks:
            return
        offsets = offsets or _NOTHING
        log = None if self._logfile in (None, "-") else Path(str(self._logfile))
        outputs = {"trajectory": self.path, "violations_file": self._violations_path, "logfile": log}
        for name, path in outputs.items():
            # A missing file that is to be gone on with is its writer's to say; a terminal or a pipe has no other run.
            if path is not None and (path.is_file() or not (path.exists() or offsets[name])):
                self._locks.append(OutputLock(path, name.replace("_", " "), emptied=not offsets[name]))

    def _forget(self, frames: int) -> None:
        """Drop the frames after the first so many."""
        dropped = len(self) - frames
        if not dropped:
            return
        self._last = None
        energies = (self._potential, self._conserved, self._kinetic)
        series: tuple[Any, ...] = (self._steps, self._times_ps, *energies, self._volumes)
        for values in series:
            del values[frames:]
        del self._stress[9 * frames :], self._frame_stress[6 * frames :]
        for kelvin in self._temperatures_K.values():
            del kelvin[frames:]
        del self._frames[len(self._frames) - dropped :]

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
            frame = make_frame(self.atoms, state, report["step"], report["time_ps"])
            self._collector.write(self.left_out[self._violations_path].of(frame))

    def frame_bytes(self, energies: bool) -> int:
        """Memory that a frame takes, bytes; one with an energy is twice there, for ASE to see whether it was moved."""
        series = 8 * (6 + 9 + 6 * self._keeps_stress + len(self._temperatures_K))
        atoms = _ATOMS_BYTES + sum(array.nbytes for array in self.atoms.arrays.values()) + 24 * len(self.atoms)
        return series + (self.keeps_frames * (1 + energies) * atoms)

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
        """Finish the files, which stay this run's: it may open them again."""
        opened = [output for output in (self._collector, self._log, self._writer) if output is not None]
        with ExitStack() as stack:
            for lock in self._locks:
                stack.callback(lock.follow)
            for output in opened:
                stack.callback(output.close)
        if self._writer is not None:
            self._readers.append((self._before, self._writer.reader()))
        self._writer = self._log = self._collector = None

    def release(self) -> None:
        """Let others have the files; those that were made for a lock and never opened are removed."""
        for lock in self._locks:
            lock.close(used=self._used)
        self._locks = []

    def frame(self, index: int) -> ase.Atoms:
        """A copy of a kept frame; from a file, once that is closed, unless it is the last."""
        if self.path is None:
            place = index - (len(self) - len(self._frames))
            if place < 0:
                raise InputError(f"frame {index} was not kept: Output(None) keeps the last alone")
            kept = self._frames[place]
            copy: ase.Atoms = kept.copy()
            copy.calc = kept.calc
            return copy
        last = index == len(self) - 1
        state = self._last_state() if last else ChainedReader(self._readers).read(index)
        return make_frame(self.atoms, state, self._steps[index], self._times_ps[index], **self._known(index))

    def _known(self, index: int) -> dict[str, Any]:
        """What is known of a kept frame beside its state, by the names of :func:`make_frame`."""
        values = {
            "potential_energy": self._potential[index],
            "pressure_bar": float(pressure_bar(np.array(self._stress[9 * index : 9 * index + 9]).reshape(3, 3))),
            "stress": np.array(self._frame_stress[6 * index : 6 * index + 6]) if self._keeps_stress else np.nan,
        }
        return {name: value for name, value in values.items() if not np.isnan(value).any()}

    def _last_state(self) -> StoredFrame:
        """What was kept last, read back if it is no longer in memory."""
        if self._last is None:
            self._last = ChainedReader(self._readers).read(len(self) - 1)
        return self._last

    def trajectory(self, seed: int, report: dict[str, Any], failure: StabilityError | None) -> Trajectory:
        """Everything that was kept; after :meth:`close`."""
        times_ps, potential, volume = np.array(self._times_ps), _complete(self._potential), _complete(self._volumes)
        stress, frame_stress = _complete(self._stress, 3, 3), _complete(self._frame_stress, 6)
        pressure = None if stress is None else pressure_bar(stress)
        frames: list[ase.Atoms] | StoredFrames = self._frames[:] if self.keeps_frames else self._frames[-1:]
        if self.path is not None and self._readers and len(self):
            reader, last = ChainedReader(self._readers[:]), self._last_state()
            series = {"potential_energy": potential, "pressure_bar": pressure, "stress": frame_stress}
            known = {name: values for name, values in series.items() if values is not None}
            frames = StoredFrames(FrameFile(self.path, reader, self.atoms, self._steps[:], times_ps, known, last))
        return Trajectory(
            frames=frames,
            times_ps=times_ps,
            temperature_K={name: np.array(values) for name, values in self._temperatures_K.items()},
            kinetic_energy=np.array(self._kinetic),
            potential_energy=potential,
            conserved_energy=_complete(self._conserved),
            volume_A3=volume,
            density_g_per_cm3=None if volume is None else density_g_per_cm3(self.atoms, volume),
            pressure_bar=pressure,
            stress_eV_per_A3=stress,
            seed=seed,
            report=report,
            failure=failure,
        )


def _log_columns(atoms: ase.Atoms, pressure: bool, stress: bool) -> list[str]:
    """Names of the log's columns that not every run has."""
    if not atoms.pbc.all():
        return []
    return [log.VOLUME, log.DENSITY, *([log.PRESSURE] if pressure else []), *(log.STRESS if stress else [])]


def _log_values(frame: ase.Atoms, stress: F64 | None) -> dict[str, float]:
    """What is known of them."""
    names = {"volume_A3": log.VOLUME, "density_g_per_cm3": log.DENSITY, "pressure_bar": log.PRESSURE}
    values = {column: frame.info[name] for name, column in names.items() if name in frame.info}
    return values if stress is None else values | dict(zip(log.STRESS, full_3x3_to_voigt_6_stress(stress), strict=True))


def _first_frame(atoms: ase.Atoms) -> ase.Atoms:
    """A frame as every one of a run will be."""
    state = StoredFrame(atoms.positions, atoms.get_momenta(), atoms.cell.array)
    return make_frame(atoms, state, 1, 1.0, potential_energy=-1.0, pressure_bar=1.0)


def left_out_warning(recorders: Sequence[Recorder]) -> str | None:
    """What is said of labels that the files of a run cannot keep, or None where they keep everything."""
    names: dict[str, dict[str, None]] = {}
    for recorder in recorders:
        for path, left_out in recorder.left_out.items():
            assert path is not None
            names.setdefault(path.suffix.lower(), {}).update(dict.fromkeys(left_out.names()))
    said = [f"{', '.join(labels)} from {suffix} files" for suffix, labels in names.items() if labels]
    if not said:
        return None
    return f"labels of the structure are left out where they would not read back as they are: {'; '.join(said)}"


def _open_frames(path: Path | None, offset: FileOffset | None) -> FrameWriter | None:
    if path is None:
        return None
    return open_frames(path) if offset is None else reopen_frames(path, offset)


def _complete(values: array[float], *shape: int) -> F64 | None:
    """A series with a value of that shape for each frame, unless one of its numbers is not known."""
    numbers = np.array(values).reshape(-1, *shape)
    return numbers if len(numbers) and not np.isnan(numbers).any() else None
