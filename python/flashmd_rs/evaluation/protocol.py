"""What an evaluation puts every integrator through."""

from __future__ import annotations

from dataclasses import dataclass

# For a regression over starts: five degrees of freedom are left.
FEWEST_STARTS = 8


@dataclass(frozen=True)
class EvaluationProtocol:
    """What every integrator is put through.

    Attributes:
        system, size: see `flashmd-train generate`. temperature_K: of the starts and of the weak bath.
        nve_ps, nvt_ps: length of a run; 0 leaves the ensemble out. seeds: runs from different starts.
        equilibration_ps: in the reference's own bath before each.
        bath_ps: in that bath after the first, for the mean energy; only with bonds and enough starts for a regression.
    """

    system: str = "water"
    size: int | None = None
    temperature_K: float = 300.0
    nve_ps: float = 20.0
    nvt_ps: float = 0.0
    seeds: int = 1
    equilibration_ps: float = 15.0
    bath_ps: float = 100.0

    @property
    def starts(self) -> str:
        """What tells one protocol's starts from another's, for the names of files."""
        return f"{self.system}-{self.size}-{self.temperature_K:g}K-{self.equilibration_ps:g}ps"
