"""Frames of a run that stay in the file they were written to."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flashmd_rs._structure import F64, with_state
from flashmd_rs.volume import density_g_per_cm3, volume_A3
from flashmd_rs.writers.frames import FrameReader, StoredFrame

if TYPE_CHECKING:
    import ase

_RECENT = 8


def make_frame(
    template: ase.Atoms,
    state: StoredFrame,
    step: int,
    time_ps: float,
    *,
    potential_energy: float | None = None,
    pressure_bar: float | None = None,
    stress: F64 | None = None,
) -> ase.Atoms:
    """A copy of ``template`` in another state, with its step and time, its volume and density, and what else is known.

    Args:
        template: what is copied.
        state: where its atoms are.
        step: strides since the start.
        time_ps: ps.
        potential_energy: eV, for the frame's calculator.
        pressure_bar: bar, kinetic part included.
        stress: [6], eV/Å³, for the frame's calculator: as those of ASE give it, without the kinetic part.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = with_state(template, state.positions, state.momenta, state.cell)
    volume = volume_A3(atoms, atoms.cell.array)
    density = None if volume is None else float(density_g_per_cm3(atoms, volume))
    values = {"volume_A3": volume, "density_g_per_cm3": density, "pressure_bar": pressure_bar}
    known = {name: value for name, value in values.items() if value is not None}
    atoms.info.update(step=step, time_ps=time_ps, **known)
    results = {"energy": potential_energy, "stress": stress}
    if any(value is not None for value in results.values()):
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


class ChainedReader:
    """Reads the frames of a file that was closed and gone on with, each part by the reader of the writer that wrote it.

    Args:
        parts: index of the first frame of each part, and its reader.
    """

    def __init__(self, parts: list[tuple[int, FrameReader]]) -> None:
        self._parts = parts

    def read(self, index: int) -> StoredFrame:
        """Read one frame.

        Raises:
            OSError: the file cannot be read.
        """
        first, reader = next(part for part in reversed(self._parts) if part[0] <= index)
        return reader.read(index - first)


class FrameFile:
    """What it takes to make the frames of a file.

    Args:
        path: the finished file.
        reader: of its frames.
        template: structure that frames are copies of.
        steps: [F], strides since the start.
        times_ps: [F], ps.
        known: what is known of every frame, [F] by the names of :func:`make_frame`.
        last: the last frame, which is not read back.
    """

    def __init__(
        self,
        path: Path,
        reader: FrameReader,
        template: ase.Atoms,
        steps: Sequence[int],
        times_ps: F64,
        known: dict[str, F64],
        last: StoredFrame,
    ) -> None:
        self.path, self._reader, self._template = path, reader, template
        self._steps, self._times_ps, self._known = steps, times_ps, known
        self._recent = {len(steps) - 1: last}
        self._stamp = _stamp(path)

    def __len__(self) -> int:
        return len(self._steps)

    def frame(self, index: int) -> ase.Atoms:
        """Make one frame.

        Raises:
            OSError: the file is gone, or was changed since the run.
        """
        state, time_ps = self._state(index), float(self._times_ps[index])
        known: dict[str, Any] = {name: values[index].tolist() for name, values in self._known.items()}
        return make_frame(self._template, state, self._steps[index], time_ps, **known)

    def _state(self, index: int) -> StoredFrame:
        if index not in self._recent:
            if _stamp(self.path) != self._stamp:
                raise OSError(errno.ESTALE, "the frames of this run were changed since it wrote them", str(self.path))
            self._recent[index] = self._reader.read(index)
            if len(self._recent) > _RECENT:
                del self._recent[next(k for k in self._recent if k != len(self) - 1)]
        return self._recent[index]


class StoredFrames(Sequence["ase.Atoms"]):
    """A sequence of ``ase.Atoms`` that are read when they are asked for; slices are such sequences too.

    Each access makes a new object: what is done to it changes neither the file nor the next one.
    """

    def __init__(self, file: FrameFile, chosen: range | None = None) -> None:
        self._file = file
        self._chosen = range(len(file)) if chosen is None else chosen

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> ase.Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> StoredFrames: ...
    def __getitem__(self, index: int | slice) -> ase.Atoms | StoredFrames:
        if isinstance(index, slice):
            return StoredFrames(self._file, self._chosen[index])
        return self._file.frame(self._chosen[index])

    def __repr__(self) -> str:
        return f"<{len(self)} frames in {self.path}>"


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when a file is written to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
