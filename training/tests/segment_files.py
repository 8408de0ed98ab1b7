"""Small HDF5 files of segments, written without ``generate``: EMT metals, and any arrays."""

from __future__ import annotations

import json
from pathlib import Path

import ase
import h5py
import numpy as np
from ase import units
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

# Energy of a lone atom that is added to EMT's, eV: what other potentials have, and EMT has not.
ATOMIC_EV = {"Cu": -3.0, "Au": -5.0, "Al": 2.0}


def write(path: Path, atoms: ase.Atoms, arrays: dict[str, np.ndarray], spacing_fs: float = 4.0) -> Path:
    """A file of ``arrays`` by name; without a temperature all segments are of 300 K."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["recipe"] = json.dumps(dict(reference="a test", spacing_fs=spacing_fs))
        file["numbers"], file["masses"], file["cell"] = atoms.numbers, atoms.get_masses(), atoms.cell.array
        file["periodic"] = atoms.pbc
        arrays = {"temperature_K": np.full(len(arrays["positions"]), 300.0)} | arrays
        for name, array in arrays.items():
            file.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]), chunks=(1, *array.shape[1:]))
    return path


def still(path: Path, atoms: ase.Atoms, segments: int, **more: np.ndarray) -> Path:
    """A file of atoms that do not move, without forces and energies."""
    frames = np.broadcast_to(atoms.positions.astype("f4"), (segments, 2, len(atoms), 3))
    return write(path, atoms, dict(positions=frames, momenta=np.zeros_like(frames), **more))


def emt(path: Path, atoms: ase.Atoms, segments: int = 8, frames: int = 3, labels: tuple = ("forces", "energy")) -> Path:
    """NVE segments of rattled atoms at 600 K under EMT, a frame every 4 fs."""
    found: dict[str, list] = {"positions": [], "momenta": [], "forces": [], "energy": []}
    shift = sum(ATOMIC_EV[symbol] for symbol in atoms.symbols)
    for seed in range(segments):
        moving = atoms.copy()
        moving.calc = EMT()
        moving.rattle(0.1, seed=seed)
        width = np.sqrt(600 * units.kB * moving.get_masses())[:, None]
        moving.set_momenta(width * np.random.default_rng(seed).normal(size=(len(atoms), 3)))
        verlet = VelocityVerlet(moving, 2 * units.fs)
        for frame in range(frames):
            verlet.run(2 if frame else 0)
            found["positions"].append(moving.positions.copy())
            found["momenta"].append(moving.get_momenta())
            found["forces"].append(moving.get_forces())
            found["energy"].append(moving.get_potential_energy() + shift)
    arrays = {name: np.array(found[name], "f4").reshape(segments, frames, -1, 3) for name in list(found)[:3]}
    arrays["energy"] = np.array(found["energy"]).reshape(segments, frames)
    return write(path, atoms, {k: v for k, v in arrays.items() if k in ("positions", "momenta", *labels)})
