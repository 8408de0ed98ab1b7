"""The protocol of an evaluation: the runs that every integrator goes through."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from flashmd_rs.reference.system import System

# Starts needed for a regression on two excess energies: five degrees of freedom are left.
FEWEST_STARTS = 8
ENSEMBLES = ("nve", "nvt", "npt")


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationProtocol:
    """The runs that every integrator goes through.

    Attributes:
        system: start structures and their potential, the reference.
        name: of the system, in the names of files and as title; None for its formula.
        temperature_K: temperature of the starts and of the baths, K.
        nve_ps: length of a run without a bath, ps; 0 for none.
        nvt_ps: length of a run in a weak Langevin bath, ps; 0 for none.
        npt_ps: length of a run in that bath at constant pressure, ps; 0 for none.
        reference_ps: longest run of an integrator that calls the reference, ps; None for the others' length.
        pressure_bar: pressure of those runs, bar.
        time_constant_ps: relaxation time of momenta in the bath, ps.
        seeds: number of runs from different starts; start structures are taken in turn.
        equilibration_ps: time in the reference's own bath before each start, ps.
        anneal_K: the first third of it is at least this hot, K.
        bath_ps: time in that bath, ps, over which the mean potential energy is measured; only for systems with bonds
            and at least :data:`FEWEST_STARTS` starts.
        frames: frames of a run.
        dihedrals: dihedral angles whose distributions are measured, of four atoms each, counted from 0.

    Raises:
        ValueError: a number that is out of bounds, or no ensemble at all.
    """

    system: System
    name: str | None = None
    temperature_K: float = 300.0
    nve_ps: float = 20.0
    nvt_ps: float = 0.0
    npt_ps: float = 0.0
    reference_ps: float | None = None
    pressure_bar: float = 1.0
    time_constant_ps: float = 1.0
    seeds: int = 1
    equilibration_ps: float = 15.0
    anneal_K: float = 0.0
    bath_ps: float = 100.0
    frames: int = 1000
    dihedrals: tuple[tuple[int, int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.ensembles:
            raise ValueError("got 0 ps of NVE, of NVT and of NpT, wanted some of one of them")
        for name in ("temperature_K", "time_constant_ps", "equilibration_ps", "seeds", "bath_ps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"got {name} = {getattr(self, name)}, wanted more than 0")
        for name in ("nve_ps", "nvt_ps", "npt_ps", "reference_ps", "anneal_K"):
            if (getattr(self, name) or 0.0) < 0:
                raise ValueError(f"got {name} = {getattr(self, name)}, wanted no less than 0")
        if self.frames < 100:
            raise ValueError(f"got {self.frames} frames, wanted at least 100: figures and their errors come from these")
        atoms = self.system.structures[0]
        if self.npt_ps and not atoms.pbc.all():
            raise ValueError("constant pressure needs a system that is periodic along every axis")
        for dihedral in self.dihedrals:
            if len(set(dihedral)) != 4 or not all(0 <= atom < len(atoms) for atom in dihedral):
                raise ValueError(f"got dihedral {dihedral}, wanted four different atoms, from 0 to {len(atoms) - 1}")

    def time_ps(self, ensemble: str, by_reference: bool = False) -> float:
        """Length of a run, ps.

        Args:
            ensemble: one of :data:`ENSEMBLES`.
            by_reference: if the integrator calls the reference.
        """
        time_ps: float = getattr(self, f"{ensemble}_ps")
        return min(time_ps, self.reference_ps) if by_reference and self.reference_ps else time_ps

    @property
    def ensembles(self) -> list[str]:
        """The ensembles that have runs."""
        return [ensemble for ensemble in ENSEMBLES if self.time_ps(ensemble)]

    @property
    def title(self) -> str:
        """Name of the system."""
        return self.name or self.system.formula

    @property
    def starts_name(self) -> str:
        """Part of the names of files that belong to the same starts."""
        digest = hashlib.sha256(json.dumps(self.system.attributes(), sort_keys=True).encode()).hexdigest()[:8]
        hot = f"-{self.anneal_K:g}K" if self.anneal_K else ""
        plain = re.sub(r"[^\w.]+", "-", self.title)
        return f"{plain}-{digest}-{self.temperature_K:g}K{hot}-{self.equilibration_ps:g}ps"
