"""What a run returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from flashmd_rs.errors import StabilityError
from flashmd_rs.structure import F64
from flashmd_rs.temperature import kinetic_energy, temperatures_of
from flashmd_rs.writers import check_trajectory_path, open_frames

if TYPE_CHECKING:
    import ase
    from matplotlib.figure import Figure


@dataclass
class Trajectory:
    """Frames of a run and what was measured on them; a sequence of ``ase.Atoms``.

    Attributes:
        frames: structures with momenta, unwrapped; the first is the start, the last the end.
        times_ps: [F], simulated time of each frame, ps.
        potential_energy: [F], eV, or None where no energy model was used.
        conserved_energy: [F], eV: total energy less the heat of the thermostat and the work of the barostat; or None.
        seed: the seed that reproduces the run.
        report: settings, versions, timings and counters of the run.
        failure: why a replica ended before the others, or None.
    """

    frames: list[ase.Atoms]
    times_ps: F64
    potential_energy: F64 | None
    conserved_energy: F64 | None
    seed: int
    report: dict[str, Any] = field(default_factory=dict)
    failure: StabilityError | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[ase.Atoms]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: int) -> ase.Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[ase.Atoms]: ...
    def __getitem__(self, index: int | slice) -> ase.Atoms | list[ase.Atoms]:
        return self.frames[index]

    def __repr__(self) -> str:
        end = self.times_ps[-1] if len(self) else 0.0
        return f"<flashmd_rs.Trajectory: {len(self)} frames, {end:g} ps, seed {self.seed}>"

    @cached_property
    def temperature_K(self) -> dict[str, F64]:
        """Temperatures [F] in K: ``"total"`` over 3N − 3, and each symbol over 3(N_s − M_s/M) degrees of freedom."""
        rows = [temperatures_of(frame) for frame in self.frames]
        return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ["total"])}

    @cached_property
    def kinetic_energy(self) -> F64:
        """Kinetic energy [F], eV."""
        return np.array([kinetic_energy(frame.get_momenta(), frame.get_masses()) for frame in self.frames])

    @property
    def total_energy(self) -> F64 | None:
        """Potential plus kinetic energy [F], eV; None where no energy model was used."""
        return None if self.potential_energy is None else self.potential_energy + self.kinetic_energy

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write every frame to ``.extxyz``, ``.xyz`` (extended XYZ) or ASE's ``.traj``; an existing file is replaced.

        Extended XYZ keeps eight decimals, ``.traj`` every bit.

        Raises:
            InputError: another suffix.
            OSError: the file cannot be written.
        """
        writer = open_frames(check_trajectory_path(path))
        try:
            for frame in self.frames:
                writer.write(frame)
        finally:
            writer.close()

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Temperatures (and energies, where known) against time.

        Args:
            path: image to write (.png, .pdf, .svg), or None.

        Returns:
            The ``matplotlib`` figure.
        """
        from flashmd_rs.plots import plot_run

        return plot_run(self, path)
