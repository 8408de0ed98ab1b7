"""Learned long-stride molecular dynamics: a Rust loop around an ONNX model.

>>> import flashmd_rs
>>> water = flashmd_rs.load_structure("water258")
>>> run = flashmd_rs.rollout(water, "water", time_ps=1, temperature_K=300)

Units are ASE's: Å, eV, u, momenta √(eV·u); times carry their unit in the name.
"""

from flashmd_rs._core import __version__
from flashmd_rs._runtime_library import open_library
from flashmd_rs.bundled import bundled, load_structure
from flashmd_rs.ensemble import ensemble
from flashmd_rs.errors import (
    CheckpointError,
    FlashMDError,
    FlashMDWarning,
    InputError,
    ModelError,
    RuntimeLibraryError,
    StabilityError,
)
from flashmd_rs.model import Model
from flashmd_rs.neighbors import neighbor_list
from flashmd_rs.options import (
    Bussi,
    CellRescaling,
    Checkpoint,
    EnergyRescaling,
    Guard,
    Langevin,
    MonteCarloBarostat,
    Output,
)
from flashmd_rs.rollout import resume, rollout
from flashmd_rs.simulation import Simulation, StateView
from flashmd_rs.structure_files import read_structure
from flashmd_rs.trajectory import Trajectory

__all__ = [
    "Bussi",
    "CellRescaling",
    "Checkpoint",
    "CheckpointError",
    "EnergyRescaling",
    "FlashMDError",
    "FlashMDWarning",
    "Guard",
    "InputError",
    "Langevin",
    "Model",
    "ModelError",
    "MonteCarloBarostat",
    "Output",
    "RuntimeLibraryError",
    "Simulation",
    "StabilityError",
    "StateView",
    "Trajectory",
    "__version__",
    "bundled",
    "ensemble",
    "load_structure",
    "neighbor_list",
    "open_library",
    "read_structure",
    "resume",
    "rollout",
]
