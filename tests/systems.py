"""The systems of ``examples/systems`` at any size, and recipes for both kinds of reference."""

from pathlib import Path
from typing import Any

from flashmd_rs.reference.options import load_system, read_system_file
from flashmd_rs.reference.recipe import Recipe
from flashmd_rs.reference.system import System

FOLDER = Path(__file__).parents[1] / "examples" / "systems"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/system.yaml"))


def example(name: str, **size: Any) -> System:
    """A system, with arguments that its structure and its OpenMM system share."""
    path = FOLDER / name / "system.yaml"
    options, _ = read_system_file(path)
    return load_system(path, structure_args=size, openmm_args=size if options.openmm else {})


def ions(**changed: Any) -> Recipe:
    """32 ions in OpenMM, four start structures: thousands of steps a second."""
    common = {"temperatures_K": (500.0, 650.0), "timestep_fs": 2.0, "spacing_fs": 4.0, "length_fs": 16.0}
    return Recipe(**{"system": example("silver-iodide", cells=2), "equilibration_ps": 0.2} | common | changed)


def alloy(**changed: Any) -> Recipe:
    """32 atoms of copper and gold in ASE's effective-medium theory."""
    common = {"temperatures_K": (450.0, 600.0), "spacing_fs": 4.0, "length_fs": 8.0, "decorrelation_fs": 8.0}
    return Recipe(**{"system": example("copper-gold", cells=2), "equilibration_ps": 0.02} | common | changed)


RECIPES = {"openmm": ions, "ase": alloy}
