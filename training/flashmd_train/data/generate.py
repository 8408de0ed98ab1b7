"""Write NVE segments of flexible TIP3P water to HDF5, resumable.

Every segment starts from a thermostatted state and is stored with positions, momenta and forces at
one instant per frame, so that one file serves any stride that is a multiple of the frame spacing.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from flashmd_train.data.water import DENSITY_G_CM3, TIMESTEP_FS, Reference

# Short, strong Langevin pieces between segments renew momenta without waiting for diffusion.
DECORRELATION_FS = 20.0
DECORRELATION_FRICTION_PER_PS = 20.0


def open_file(path: Path, recipe: dict, n_atoms: int, n_frames: int, reference: Reference) -> h5py.File:
    file = h5py.File(path, "a")
    if "positions" in file:
        if json.loads(file.attrs["recipe"]) != recipe:
            raise ValueError(
                f"{path} was made by another recipe: {file.attrs['recipe']}; delete it or name another file"
            )
        return file
    file.attrs["recipe"] = json.dumps(recipe)
    file.attrs["units"] = "positions Å, momenta sqrt(eV u), forces eV/Å, energy eV, spacing fs"
    file["masses"] = reference.masses
    file["numbers"] = np.array([8, 1, 1] * (n_atoms // 3))
    file["cell"] = reference.cell
    for name in ("positions", "momenta", "forces"):
        file.create_dataset(
            name,
            (0, n_frames, n_atoms, 3),
            "f4",
            maxshape=(None, n_frames, n_atoms, 3),
            chunks=(1, n_frames, n_atoms, 3),
        )
    file.create_dataset("energy", (0, n_frames), "f8", maxshape=(None, n_frames))
    file.create_dataset("temperature_K", (0,), "f8", maxshape=(None,))
    return file


def generate(
    path: Path,
    n_waters: int,
    segments: int,
    temperatures_K: list[float],
    seed: int,
    spacing_fs: float = 4.0,
    length_fs: float = 32.0,
    equilibration_ps: float = 3.0,
    threads: int = 1,
    density_g_per_cm3: float = DENSITY_G_CM3,
) -> None:
    """Append segments to ``path`` until it holds ``segments``, cycling over ``temperatures_K``.

    A rerun after an interruption goes on from the last stored frame of each temperature.
    """
    reference = Reference(n_waters, threads, seed, density_g_per_cm3)
    n_frames = round(length_fs / spacing_fs) + 1
    recipe = dict(
        reference="flexible TIP3P, PME, velocity Verlet",
        timestep_fs=TIMESTEP_FS,
        n_waters=n_waters,
        temperatures_K=temperatures_K,
        seed=seed,
        spacing_fs=spacing_fs,
        length_fs=length_fs,
        density_g_per_cm3=density_g_per_cm3,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_file(path, recipe, 3 * n_waters, n_frames, reference) as file:
        per_temperature = -(-segments // len(temperatures_K))
        progress = tqdm(total=segments, initial=len(file["temperature_K"]), unit="seg", mininterval=10)
        for k, temperature in enumerate(temperatures_K):
            done = int(np.sum(file["temperature_K"][:] == temperature))
            if done >= per_temperature:
                continue
            _start(reference, file, temperature, seed + 1000 * k, equilibration_ps)
            for _ in range(done, per_temperature):
                if len(file["temperature_K"]) >= segments:
                    break
                reference.langevin(DECORRELATION_FS, temperature, DECORRELATION_FRICTION_PER_PS)
                reference.remove_net_momentum()
                append(file, segment(reference, n_frames, spacing_fs), temperature)
                progress.update()


def _start(reference: Reference, file: h5py.File, temperature: float, seed: int, time_ps: float) -> None:
    if len(file["temperature_K"]):
        reference.set(file["positions"][-1, -1].astype(float), file["momenta"][-1, -1].astype(float))
        reference.langevin(1000 * time_ps, temperature)
    else:
        reference.equilibrate(temperature, seed, 3 * time_ps)


def segment(reference: Reference, n_frames: int, spacing_fs: float) -> list[tuple]:
    frames = [reference.get()]
    for _ in range(n_frames - 1):
        reference.nve(spacing_fs)
        frames.append(reference.get())
    return frames


def append(file: h5py.File, frames: list[tuple], temperature: float) -> None:
    n = len(file["temperature_K"])
    positions = np.array([f[0] for f in frames])
    # Keep f32 digits: each molecule is moved as a whole into the box by the oxygen of the first frame.
    length = file["cell"][0, 0]
    oxygen = positions[0, ::3]
    positions = positions - np.repeat(np.floor(oxygen / length) * length, 3, axis=0)
    values = dict(
        positions=positions,
        momenta=[f[1] for f in frames],
        forces=[f[2] for f in frames],
        energy=[f[3] for f in frames],
        temperature_K=temperature,
    )
    for name, value in values.items():
        file[name].resize(n + 1, axis=0)
        file[name][n] = value
    file.flush()
