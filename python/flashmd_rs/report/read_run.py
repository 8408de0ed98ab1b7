"""A finished run from its files: what its frames say, and what its checkpoint says of its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs._structure import F64, constraints
from flashmd_rs.errors import InputError
from flashmd_rs.structure_files import read_frames
from flashmd_rs.temperature import kinetic_energy, temperatures
from flashmd_rs.trajectory import Trajectory
from flashmd_rs.volume import density_g_per_cm3

if TYPE_CHECKING:
    import ase

_SAFETENSORS_HEADER = b"{"


def read_run(path: str | os.PathLike[str], *, topology: str | os.PathLike[str] | None = None) -> Trajectory:
    """Read a run back: from its checkpoint, which knows its files and settings, or from a trajectory alone.

    Temperatures are those of the frames' momenta, energies and pressures those that the file kept with each frame.

    Args:
        path: a checkpoint of one run that wrote a trajectory, or a trajectory that
            :func:`~flashmd_rs.structure_files.read_frames` reads.
        topology: structure with the elements of an ``.xtc`` or ``.dcd`` trajectory, which keep none; a checkpoint
            knows them.

    Returns:
        The run; its ``report`` has the settings that are known.

    Raises:
        InputError: no frames, frames without a time, a checkpoint of several replicas or of a run that kept no
            trajectory.
        OSError: a file is missing.
    """
    file = Path(path)
    return _of_checkpoint(file) if _is_checkpoint(file) else _of_frames(_frames(file, topology), {})


def _is_checkpoint(path: Path) -> bool:
    """True for a safetensors file: eight bytes of length, then JSON."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == _SAFETENSORS_HEADER


def _of_checkpoint(path: Path) -> Trajectory:
    from flashmd_rs._engine.checkpoint import read_checkpoint

    saved = read_checkpoint(path)
    if len(saved.structures) != 1:
        raise InputError(
            f"{path} is of {len(saved.structures)} replicas: give the trajectory of one of them for a report"
        )
    if saved.files.trajectory is None:
        raise InputError(f"the run of {path} kept no trajectory: a report needs its frames")
    (structure,) = saved.structures
    trajectory = str(saved.files.trajectory).replace("{replica}", str(saved.replica))
    settings = saved.settings
    guarded = {"strides": {}, "first": saved.offsets[0]["violations"]}
    report: dict[str, Any] = {
        "model": Path(saved.model["file"]).stem,
        "model_file": saved.model["file"],
        "sha256": saved.model_sha256,
        "stride_fs": settings.stride_fs,
        "steps": saved.step,
        "seed": settings.seed,
        "replica": saved.replica,
        "temperature_K": settings.temperature_K[0] if settings.thermostat and settings.temperature_K else None,
        "thermostat": settings.thermostat,
        "pressure_bar": None if settings.barostat is None else settings.pressure_bar,
        "barostat": settings.barostat,
        "rescale_energy": settings.rescale_energy,
        "guard": settings.guard,
        "energy_model": saved.energy_model,
        "statistics": {"guard": None if settings.guard.policy == "off" else guarded},
    }
    return _of_frames(_frames(Path(trajectory), structure), report)


def _frames(path: Path, topology: str | os.PathLike[str] | ase.Atoms | None) -> list[ase.Atoms]:
    """All frames of a trajectory; ``topology`` is used where its format keeps no elements."""
    return read_frames(path, topology=topology if path.suffix.lower() in (".xtc", ".dcd") else None)


def _of_frames(frames: list[ase.Atoms], report: dict[str, Any]) -> Trajectory:
    """A run of frames that know their times."""
    times_ps = np.array([_time_ps(frame) for frame in frames])
    kinetic, kelvin = _thermal(frames)
    volumes = _known(frames, "volume_A3")
    return Trajectory(
        frames=frames,
        times_ps=times_ps,
        temperature_K=kelvin,
        kinetic_energy=kinetic,
        potential_energy=_potential(frames),
        conserved_energy=None,
        seed=int(report.get("seed", 0)),
        volume_A3=volumes,
        density_g_per_cm3=None if volumes is None else density_g_per_cm3(frames[0], volumes),
        pressure_bar=_known(frames, "pressure_bar"),
        report=report,
    )


def _time_ps(frame: ase.Atoms) -> float:
    if "time_ps" in frame.info:
        return float(frame.info["time_ps"])
    if "time_fs" in frame.info:
        return float(frame.info["time_fs"]) / 1000.0
    raise InputError("the frames do not say their times: wanted a trajectory of flashmd-rs, with time_ps in each frame")


def _thermal(frames: list[ase.Atoms]) -> tuple[F64, dict[str, F64]]:
    """Kinetic energies, eV, and temperatures, K; NaN and none where the format keeps no momenta."""
    if not all(frame.has("momenta") for frame in frames):
        return np.full(len(frames), np.nan), {}
    masses, symbols = frames[0].get_masses(), np.array(frames[0].get_chemical_symbols())
    fixed = constraints(frames[0]).fixed
    momenta = [frame.get_momenta() for frame in frames]
    rows = [temperatures(p, masses, symbols, fixed) for p in momenta]
    kinetic = np.array([kinetic_energy(p, masses) for p in momenta])
    return kinetic, {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _potential(frames: list[ase.Atoms]) -> F64 | None:
    """Potential energies that came with the frames, eV."""
    if not all(frame.calc is not None and "energy" in frame.calc.results for frame in frames):
        return None
    return np.array([frame.calc.results["energy"] for frame in frames])


def _known(frames: list[ase.Atoms], name: str) -> F64 | None:
    """A figure that every frame carries."""
    if not all(name in frame.info for frame in frames):
        return None
    return np.array([float(frame.info[name]) for frame in frames])
