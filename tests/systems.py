"""The systems of ``examples/systems`` at any size."""

from pathlib import Path
from typing import Any

from flashmd_rs.reference.options import load_system, read_system_file
from flashmd_rs.reference.system import System

FOLDER = Path(__file__).parents[1] / "examples" / "systems"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/system.yaml"))


def example(name: str, **size: Any) -> System:
    """A system, with arguments that its structure and its OpenMM system share."""
    path = FOLDER / name / "system.yaml"
    options, _ = read_system_file(path)
    return load_system(path, structure_args=size, openmm_args=size if options.openmm else {})
