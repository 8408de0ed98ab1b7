"""What the segments of a data file say of themselves: momenta, temperatures, drift of the total energy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.stats import kstest

from flashmd_rs._structure import F64

# First frames of segments of a chain count as independent once their momenta correlate less than this.
UNCORRELATED = 0.05


@dataclass
class Energy:
    """The total energy of the segments of one temperature.

    Attributes:
        drift_meV_per_atom_ps: mean slope and its standard error, over the segments, or over whole chains if they are
            NVE runs.
        noise_meV_per_atom: rms deviation from a straight line.
        share_of_kinetic: rms fluctuation within segments over that of the kinetic energy; small where energy is
            conserved.
        time_fs: times [T], fs.
        change_meV_per_atom: mean change since the start and its standard error [T, 2].
    """

    drift_meV_per_atom_ps: tuple[float, float]
    noise_meV_per_atom: float
    share_of_kinetic: float
    time_fs: F64
    change_meV_per_atom: F64


@dataclass
class Temperature:
    """Measurements on the segments of one temperature.

    Attributes:
        bath_K: temperature of the bath, K.
        expected_K: temperature that the momenta are tested against, K.
        segments: number of segments.
        frames: number of independent frames.
        scaled: per species, p/√m in these frames [frames, atoms of the species, 3], √eV.
        width: per species, standard deviation of p/√m expected at zero total momentum, √eV.
        ks_p: per species, p value of the Kolmogorov–Smirnov test.
        temperature_K: per species and for all atoms, mean and standard error, K.
        energy: total energy; None where the file holds no potential energies.
    """

    bath_K: float
    expected_K: float
    segments: int
    frames: int
    scaled: dict[str, F64]
    width: dict[str, float]
    ks_p: dict[str, float]
    temperature_K: dict[str, tuple[float, float]]
    energy: Energy | None

    def figures(self) -> dict[str, Any]:
        """The main figures, rounded, for people and logs; the error of a single value is None."""

        def pair(values: tuple[float, float], digits: int) -> list[float | None]:
            return [round(x, digits) if np.isfinite(x) else None for x in values]

        return {
            "bath_K": self.bath_K,
            "independent_frames": self.frames,
            "temperature_K": {k: pair(v, 2) for k, v in self.temperature_K.items()},
            "ks_p": {k: round(v, 4) for k, v in self.ks_p.items()},
        } | (
            {}
            if self.energy is None
            else {
                "drift_meV_per_atom_ps": pair(self.energy.drift_meV_per_atom_ps, 5),
                "noise_meV_per_atom": round(self.energy.noise_meV_per_atom, 5),
                "noise_share_of_kinetic": round(self.energy.share_of_kinetic, 4),
            }
        )


def measure(path: Path) -> list[Temperature]:
    """Measurements on a data file, temperature by temperature.

    The tests use the first frames of segments, taken so far apart within a chain that their momenta no longer
    correlate. Where chains are NVE runs (``decorrelation_fs`` of 0) there is no bath, and momenta are tested against
    the run's own mean temperature. Segments of a recipe without chains, such as those of labelled frames, are
    independent.

    Raises:
        ValueError: no file of segments, no segments in it, or a number that is not finite.
    """
    with h5py.File(path, "r") as file:
        if "recipe" not in file.attrs:
            raise ValueError(f"{path} is not a file of segments: it has no recipe")
        recipe = json.loads(file.attrs["recipe"])
        numbers, masses = file["numbers"][:], file["masses"][:]
        momenta, bath = file["momenta"][:], file["temperature_K"][:]
        energy = file["energy"][:] if "energy" in file else None
        stored = [name for name in ("positions", "forces") if name in file]
        finite = all(np.isfinite(file[name][n]).all() for name in stored for n in range(len(bath)))
    if not len(bath):
        raise ValueError(f"{path} holds no segments yet")
    if not (finite and np.isfinite(momenta).all() and (energy is None or np.isfinite(energy).all())):
        raise ValueError(f"{path} holds numbers that are not finite")
    chains = len(recipe["temperatures_K"]) * recipe["replicas"] if has_chains(recipe) else len(bath)
    chain = np.arange(len(bath)) % chains
    found = []
    for t in np.unique(bath):
        own = bath == t
        its_energy = None if energy is None else energy[own]
        found.append(_temperature(recipe, numbers, masses, momenta[own], its_energy, chain[own], float(t)))
    return found


def has_chains(recipe: dict[str, Any]) -> bool:
    """True if segments come from simulations at their temperature, false of frames that came from elsewhere."""
    return "decorrelation_fs" in recipe


def _temperature(
    recipe: dict[str, Any],
    numbers: NDArray[np.int_],
    masses: F64,
    momenta: F64,
    energy: F64 | None,
    chain: NDArray[np.int_],
    bath_K: float,
) -> Temperature:
    atoms, mass = len(masses), masses.sum()
    scaled = momenta.astype(float) / np.sqrt(masses)[:, None]
    kinetic = 0.5 * (scaled**2).sum((2, 3))
    expected_K = bath_K
    if recipe.get("decorrelation_fs") == 0:
        expected_K = float(2 * kinetic.mean() / (3 * atoms - 3) / units.kB)
    first = np.concatenate([_independent(scaled[chain == c, 0]) for c in np.unique(chain)])
    species = {chemical_symbols[z]: numbers == z for z in np.unique(numbers)}
    # At zero total momentum an atom of mass m keeps 1 − m/M of its variance.
    width = {
        symbol: float(np.sqrt(units.kB * expected_K * (1 - masses[mask].mean() / mass)))
        for symbol, mask in species.items()
    }
    measured = {}
    for symbol, mask in {**species, "all": np.full(atoms, True)}.items():
        freedom = 3 * (mask.sum() - masses[mask].sum() / mass)
        values = (first[:, mask] ** 2).sum((1, 2)) / (freedom * units.kB)
        measured[symbol] = (float(values.mean()), _standard_error(values))
    return Temperature(
        bath_K=bath_K,
        expected_K=expected_K,
        segments=len(momenta),
        frames=len(first),
        scaled={symbol: first[:, mask] for symbol, mask in species.items()},
        width=width,
        ks_p={s: float(kstest((first[:, mask] / width[s]).ravel(), "norm").pvalue) for s, mask in species.items()},
        temperature_K=measured,
        energy=None if energy is None else _energy(recipe, energy, kinetic, chain, atoms),
    )


def _energy(recipe: dict[str, Any], potential: F64, kinetic: F64, chain: NDArray[np.int_], atoms: int) -> Energy:
    """The total energy of segments, from potential and kinetic energies [S, F], eV."""
    total, time_fs = potential + kinetic, recipe["spacing_fs"] * np.arange(potential.shape[1])
    share = total.std(1).mean() / kinetic.std(1).mean()
    if recipe.get("decorrelation_fs") == 0:
        total, time_fs = _joined(total, chain, time_fs, recipe["length_fs"])
    change = 1000 * (total - total[:, :1]) / atoms
    slope, offset = np.polyfit(time_fs * 1e-3, change.T, 1)
    noise = change - slope[:, None] * time_fs * 1e-3 - offset[:, None]
    return Energy(
        drift_meV_per_atom_ps=(float(slope.mean()), _standard_error(slope)),
        noise_meV_per_atom=float(np.sqrt((noise**2).mean())),
        share_of_kinetic=float(share),
        time_fs=time_fs,
        change_meV_per_atom=np.stack([change.mean(0), change.std(0) / np.sqrt(len(change))], -1),
    )


def _joined(total: F64, chain: NDArray[np.int_], time_fs: F64, length_fs: float) -> tuple[F64, F64]:
    """Energies [chains, n·F] and times [n·F] of chains whose segments follow each other without a bath."""
    members = np.unique(chain)
    n = min(int((chain == c).sum()) for c in members)
    runs = np.stack([total[chain == c][:n].ravel() for c in members])
    return runs, (length_fs * np.arange(n)[:, None] + time_fs).ravel()


def _standard_error(values: F64) -> float:
    """Standard error of the mean of successive values, from up to 20 blocks: energies correlate longer than momenta."""
    if len(values) < 2:
        return float("nan")
    means = np.array([block.mean() for block in np.array_split(values, min(20, len(values)))])
    return float(means.std(ddof=1) / np.sqrt(len(means)))


def _independent(scaled: F64) -> F64:
    """Those frames of one chain [n, A, 3] that are far enough apart to be independent."""
    n = len(scaled)
    variance = (scaled**2).mean()
    lag = 1
    while lag < n and abs((scaled[:-lag] * scaled[lag:]).mean() / variance) > UNCORRELATED:
        lag += 1
    return scaled[::lag]
