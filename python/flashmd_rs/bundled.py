"""Models and structures that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flashmd_rs.errors import InputError

if TYPE_CHECKING:
    import ase

_PACKAGE = Path(__file__).parent
MODELS = _PACKAGE / "models"
STRUCTURES = _PACKAGE / "structures"


def bundled() -> dict[str, list[str]]:
    """Names of what comes with the package.

    Returns:
        ``{"models": [...], "structures": [...]}``; the names go into :class:`~flashmd_rs.Model`,
        :func:`~flashmd_rs.rollout` and :func:`load_structure`.
    """
    return {"models": _names(MODELS, ".onnx"), "structures": _names(STRUCTURES, ".extxyz")}


def _names(folder: Path, suffix: str) -> list[str]:
    return sorted(path.stem for path in folder.glob(f"*{suffix}"))


def bundled_file(folder: Path, name: str, suffix: str) -> Path | None:
    """The file of a bundled name, given with or without its suffix; None if there is none."""
    known = {path.stem: path for path in folder.glob(f"*{suffix}")}
    return known.get(name.removesuffix(suffix))


def load_structure(name: str) -> ase.Atoms:
    """A bundled structure, with momenta where it has them.

    Args:
        name: one of ``bundled()["structures"]``.

    Raises:
        InputError: there is no structure of that name.
    """
    from ase.io import read

    path = bundled_file(STRUCTURES, name, ".extxyz")
    if path is None:
        known = ", ".join(bundled()["structures"]) or "none"
        raise InputError(f"no bundled structure {name!r}; bundled structures: {known}")
    structure: ase.Atoms = read(path)  # type: ignore[assignment]
    return structure
