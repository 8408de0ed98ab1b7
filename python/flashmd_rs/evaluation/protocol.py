"""The protocol of an evaluation: the runs that every integrator goes through."""

from __future__ import annotations

from dataclasses import dataclass

# Starts needed for a regression on two excess energies: five degrees of freedom are left.
FEWEST_STARTS = 8


@dataclass(frozen=True)
class EvaluationProtocol:
    """The runs that every integrator goes through.

    Attributes:
        system: a key of :data:`~flashmd_rs.reference.systems.SYSTEMS`, ``water`` or ``aluminium``.
        size: molecules or cells; None for the system's own.
        temperature_K: temperature of the starts and of the weak bath, K.
        nve_ps: length of a run without a bath, ps; 0 for none.
        nvt_ps: length of a run in a weak Langevin bath, ps; 0 for none.
        seeds: number of runs from different starts.
        equilibration_ps: time in the reference's own bath before each start, ps.
        bath_ps: time in that bath, ps, over which the mean potential energy is measured; only for systems with bonds
            and at least :data:`FEWEST_STARTS` starts.
    """

    system: str = "water"
    size: int | None = None
    temperature_K: float = 300.0
    nve_ps: float = 20.0
    nvt_ps: float = 0.0
    seeds: int = 1
    equilibration_ps: float = 15.0
    bath_ps: float = 100.0

    def time_ps(self, ensemble: str) -> float:
        """Length of a run in the ensemble ``nve`` or ``nvt``, ps."""
        return self.nve_ps if ensemble == "nve" else self.nvt_ps

    @property
    def ensembles(self) -> list[str]:
        """The ensembles that have runs, of ``nve`` and ``nvt``."""
        return [ensemble for ensemble in ("nve", "nvt") if self.time_ps(ensemble)]

    @property
    def starts_name(self) -> str:
        """Part of the names of files that belong to the same starts."""
        return f"{self.system}-{self.size}-{self.temperature_K:g}K-{self.equilibration_ps:g}ps"
