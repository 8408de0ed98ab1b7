"""Trajectory of a run: its kept frames, and what was measured on them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from flashmd_rs._structure import F64
from flashmd_rs._warn import warn
from flashmd_rs.errors import InputError, StabilityError

if TYPE_CHECKING:
    import ase
    from matplotlib.figure import Figure

    from flashmd_rs.plots import RunSeries


@dataclass
class Trajectory:
    """Frames of a run and what was measured on them; a sequence of ``ase.Atoms``.

    Attributes:
        frames: structures, unwrapped; the first is the start, the last the end. Where the run wrote a trajectory they
            are read from that file when they are asked for, with what its format keeps (XTC and DCD: no momenta, less
            precision), and only the last, whole and exact, is in memory; else all of them are, or with
            ``Output(None)`` only the last.
        times_ps: [F], simulated time of each frame, ps.
        temperature_K: temperatures [F] in K: ``"total"`` over 3N − 3, and each symbol over 3(N_s − M_s/M) degrees of
            freedom.
        kinetic_energy: [F], eV.
        potential_energy: [F], eV, or None where no energy model was used.
        conserved_energy: [F], eV: total energy less the heat of the thermostat and the work of barostat and
            bias; or None. What a caller moved counts where energies are rescaled.
        seed: the seed that reproduces the run.
        volume_A3: [F], Å³, or None unless all axes are periodic.
        density_g_per_cm3: [F], g/cm³, or None as well.
        pressure_bar: [F], bar, −tr(stress)/3; None without a volume, and where no energy model was used or it has no
            virial.
        stress_eV_per_A3: [F,3,3], eV/Å³, as ASE counts it, positive where the cell is stretched; its kinetic part
            −Σ p⊗p/mV is that of all momenta, the centre of mass's motion included.
        report: settings, versions, timings and counters of the run.
        failure: why a replica ended before the others, or None.
    """

    frames: Sequence[ase.Atoms]
    times_ps: F64
    temperature_K: dict[str, F64]
    kinetic_energy: F64
    potential_energy: F64 | None
    conserved_energy: F64 | None
    seed: int
    volume_A3: F64 | None = None
    density_g_per_cm3: F64 | None = None
    pressure_bar: F64 | None = None
    stress_eV_per_A3: F64 | None = None
    report: dict[str, Any] = field(default_factory=dict)
    failure: StabilityError | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[ase.Atoms]:
        return iter(self.frames)

    @overload
    def __getitem__(self, index: int) -> ase.Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ase.Atoms]: ...
    def __getitem__(self, index: int | slice) -> ase.Atoms | Sequence[ase.Atoms]:
        return self.frames[index]

    def __repr__(self) -> str:
        end = self.times_ps[-1] if len(self) else 0.0
        return f"<flashmd_rs.Trajectory: {len(self)} frames, {end:g} ps, seed {self.seed}>"

    @property
    def total_energy(self) -> F64 | None:
        """Potential plus kinetic energy [F], eV; None where no energy model was used."""
        return None if self.potential_energy is None else self.potential_energy + self.kinetic_energy

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write every frame to a file, in the format of its suffix; an existing file is replaced.

        Extended XYZ (``.extxyz``, ``.xyz``) keeps eight decimals, ASE's ``.traj`` every bit; what ``.h5md``, ``.xtc``
        and ``.dcd`` keep is in :mod:`flashmd_rs.writers`.

        Labels of the structure that would not read back as they are stay out of the file, with a warning.

        Raises:
            InputError: another suffix, one whose library is not installed, or the file these frames are read from.
            OSError: the file cannot be written, or a run is writing it.
        """
        from flashmd_rs.writers import LeftOut, check_trajectory_path, labels_left_out, write_frames
        from flashmd_rs.writers.stored_frames import StoredFrames

        target = check_trajectory_path(path)
        if isinstance(self.frames, StoredFrames) and target.exists() and target.samefile(self.frames.path):
            raise InputError(f"the frames are in {target} already, and are read from it: write to another file")
        left_out = labels_left_out(target, self.frames[0]) if self.frames else LeftOut()
        if left_out.items:
            warn(f"{target.name} leaves out what would not read back as it is: {', '.join(left_out.names())}")
        write_frames(target, (left_out.of(frame) for frame in self.frames), "trajectory")

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Temperatures (and energies, where known) against time.

        Args:
            path: image to write (.png, .pdf, .svg), or None.

        Returns:
            The ``matplotlib`` figure.
        """
        from flashmd_rs.plots import plot_run

        return plot_run(self.series(), path)

    def view(self) -> Any:
        """The frames in three dimensions: chemiscope's widget, which a notebook shows.

        Raises:
            InputError: chemiscope is not installed, or the run kept no frames.
        """
        from flashmd_rs.pages.sample import Sample
        from flashmd_rs.pages.view import widget

        if not len(self):
            raise InputError("the run kept no frames: a view needs one at least")
        sample = Sample.of(self.frames, self.times_ps)
        return widget(sample.frames, sample.times_ps, sample.formula)

    def _repr_html_(self) -> str:
        """What a notebook shows: the model, the length and the speed of the run, and it against time."""
        from flashmd_rs.pages.notebook import figure, table

        if not len(self):
            return table([("run", repr(self))])
        rows = [("frames", f"{len(self)}, {self.times_ps[-1]:g} ps"), ("atoms", self[-1].get_chemical_formula())]
        if "ns_per_day" in self.report:
            speed = f"{self.report['ns_per_day']:.3g} ns/day on {self.report['device']}"
            rows += [("model", f"{self.report['model']}, {self.report['stride_fs']:g} fs"), ("speed", speed)]
        return table([*rows, ("seed", str(self.seed))]) + figure(self.plot(), "temperatures and energies against time")

    def series(self) -> RunSeries:
        """What a figure shows of the run."""
        from flashmd_rs.plots import RunSeries

        energies = {"total": self.total_energy, "conserved": self.conserved_energy}
        return RunSeries(
            times_ps=self.times_ps,
            temperature_K=self.temperature_K,
            target_K=self.report.get("temperature_K"),
            atoms=len(self.frames[0]) if len(self) else 0,
            energies_eV={name: values for name, values in energies.items() if values is not None},
        )
