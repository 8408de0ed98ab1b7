"""Checks of a data file: momenta against Maxwell–Boltzmann, temperatures, drift of the total energy.

A plot shows momenta and speeds per species and temperature beside the analytic curves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from ase import units
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.stats import kstest

from flashmd_rs._structure import F64

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Probability that a good file is refused, over all its tests.
SIGNIFICANCE = 0.01
# First frames of segments of a chain count as independent once their momenta correlate less than this.
UNCORRELATED = 0.05


@dataclass
class Temperature:
    """Measurements on the segments of one temperature.

    Attributes:
        bath_K: temperature of the bath, K.
        expected_K: temperature that the momenta are tested against, K.
        frames: number of independent frames.
        scaled: per species, p/√m in these frames [frames, atoms of the species, 3], √eV.
        width: per species, standard deviation of p/√m expected at zero total momentum, √eV.
        ks_p: per species, p value of the Kolmogorov–Smirnov test.
        temperature_K: per species and for all atoms, mean and standard error, K.
        drift_meV_per_atom_ps: mean slope of the total energy and its standard error, over the segments, or over whole
            chains if they are NVE runs.
        noise_meV_per_atom: rms deviation of the total energy from a straight line.
        time_fs: times [T] of ``energy_meV_per_atom``, fs.
        energy_meV_per_atom: mean change of the total energy since the start and its standard error [T, 2].
    """

    bath_K: float
    expected_K: float
    frames: int
    scaled: dict[str, F64]
    width: dict[str, float]
    ks_p: dict[str, float]
    temperature_K: dict[str, tuple[float, float]]
    drift_meV_per_atom_ps: tuple[float, float]
    noise_meV_per_atom: float
    time_fs: F64
    energy_meV_per_atom: F64

    def figures(self) -> dict[str, Any]:
        """The main figures, rounded, for people and logs; the error of a single value is None."""

        def pair(values: tuple[float, float], digits: int) -> list[float | None]:
            return [round(x, digits) if np.isfinite(x) else None for x in values]

        return {
            "bath_K": self.bath_K,
            "independent_frames": self.frames,
            "temperature_K": {k: pair(v, 2) for k, v in self.temperature_K.items()},
            "ks_p": {k: round(v, 4) for k, v in self.ks_p.items()},
            "drift_meV_per_atom_ps": pair(self.drift_meV_per_atom_ps, 5),
            "noise_meV_per_atom": round(self.noise_meV_per_atom, 5),
        }


def check(path: Path) -> list[Temperature]:
    """Measurements on a data file, temperature by temperature.

    The tests use the first frames of segments, taken so far apart within a chain that their momenta no longer
    correlate. Where chains are NVE runs (``decorrelation_fs`` of 0) there is no bath, and momenta are tested against
    the run's own mean temperature.

    Raises:
        ValueError: no segments in the file, or a number that is not finite.
    """
    with h5py.File(path, "r") as file:
        recipe = json.loads(file.attrs["recipe"])
        numbers, masses = file["numbers"][:], file["masses"][:]
        momenta, energy, bath = file["momenta"][:], file["energy"][:], file["temperature_K"][:]
        finite = all(np.isfinite(file[name][n]).all() for name in ("positions", "forces") for n in range(len(bath)))
    if not len(bath):
        raise ValueError(f"{path} holds no segments yet")
    if not (finite and np.isfinite(momenta).all() and np.isfinite(energy).all()):
        raise ValueError(f"{path} holds numbers that are not finite")
    chain = np.arange(len(bath)) % (len(recipe["temperatures_K"]) * recipe["replicas"])
    return [
        _temperature(recipe, numbers, masses, momenta[bath == t], energy[bath == t], chain[bath == t], float(t))
        for t in np.unique(bath)
    ]


def refusals(temperatures: list[Temperature]) -> list[str]:
    """One sentence for every test that fails at ``SIGNIFICANCE``, shared by all tests (Bonferroni)."""
    tests = sum(len(t.ks_p) for t in temperatures)
    return [
        f"{symbol} at {t.bath_K:g} K: momenta are not Maxwell-Boltzmann at {t.expected_K:.1f} K, "
        f"p = {p:.1e} < {SIGNIFICANCE / tests:.1e}"
        for t in temperatures
        for symbol, p in t.ks_p.items()
        if p < SIGNIFICANCE / tests
    ]


def _temperature(
    recipe: dict[str, Any],
    numbers: NDArray[np.int_],
    masses: F64,
    momenta: F64,
    energy: F64,
    chain: NDArray[np.int_],
    bath_K: float,
) -> Temperature:
    atoms, mass = len(masses), masses.sum()
    scaled = momenta.astype(float) / np.sqrt(masses)[:, None]
    kinetic = 0.5 * (scaled**2).sum((2, 3))
    expected_K = bath_K
    if not recipe["decorrelation_fs"]:
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
    total, time_fs = energy + kinetic, recipe["spacing_fs"] * np.arange(energy.shape[1])
    if not recipe["decorrelation_fs"]:
        total, time_fs = _joined(total, chain, time_fs, recipe["length_fs"])
    change = 1000 * (total - total[:, :1]) / atoms
    slope, offset = np.polyfit(time_fs * 1e-3, change.T, 1)
    noise = change - slope[:, None] * time_fs * 1e-3 - offset[:, None]
    return Temperature(
        bath_K=bath_K,
        expected_K=expected_K,
        frames=len(first),
        scaled={symbol: first[:, mask] for symbol, mask in species.items()},
        width=width,
        ks_p={s: float(kstest((first[:, mask] / width[s]).ravel(), "norm").pvalue) for s, mask in species.items()},
        temperature_K=measured,
        drift_meV_per_atom_ps=(float(slope.mean()), _standard_error(slope)),
        noise_meV_per_atom=float(np.sqrt((noise**2).mean())),
        time_fs=time_fs,
        energy_meV_per_atom=np.stack([change.mean(0), change.std(0) / np.sqrt(len(change))], -1),
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


def plot(temperatures: list[Temperature], output: Path, title: str) -> None:
    """Draw distributions of momentum and speed per species, temperatures and energy to an image file."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    symbols = list(temperatures[0].width)
    figure = Figure(figsize=(10, 2.9 * (len(symbols) + 1)), layout="constrained")
    axes = figure.subplots(len(symbols) + 1, 2)
    colours = colormaps["plasma"](np.linspace(0.05, 0.8, len(temperatures)))
    for symbol, (component, speed) in zip(symbols, axes[:-1], strict=True):
        for t, colour in zip(temperatures, colours, strict=True):
            _distributions(component, speed, t, symbol, colour)
        component.set(xlabel=f"{symbol}: momentum component / √m (√eV)", ylabel="density", ylim=(0, None))
        speed.set(xlabel=f"{symbol}: speed · √m (√eV)", xlim=(0, None), ylim=(0, None))
        component.legend(
            fontsize="small",
            frameon=False,
            title="Kolmogorov–Smirnov",
            title_fontsize="small",
            loc="upper left",
            alignment="left",
        )
    _temperatures(axes[-1, 0], temperatures, symbols)
    _energies(axes[-1, 1], temperatures, colours)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(output, dpi=130)


def _distributions(component: Axes, speed: Axes, t: Temperature, symbol: str, colour: F64) -> None:
    from scipy.stats import maxwell, norm

    values, width = t.scaled[symbol], t.width[symbol]
    lengths = np.linalg.norm(values, axis=-1).ravel()
    for axis, sample, law, low in ((component, values.ravel(), norm, -4.5), (speed, lengths, maxwell, 0.0)):
        bins = int(np.clip(0.5 * sample.size**0.5, 12, 45))
        edges = np.linspace(low, 4.5, bins + 1) * width
        density, _ = np.histogram(sample, edges, density=True)
        x = np.linspace(edges[0], edges[-1], 300)
        axis.plot(0.5 * (edges[1:] + edges[:-1]), density, ".", ms=4, color=colour)
        axis.plot(
            x, law.pdf(x, scale=width), "-", lw=1, color=colour, label=f"{t.bath_K:g} K, p = {t.ks_p[symbol]:.2g}"
        )


def _temperatures(axis: Axes, temperatures: list[Temperature], symbols: list[str]) -> None:
    names = [*symbols, "all"] if len(symbols) > 1 else symbols
    # Species are drawn side by side.
    baths = np.array([t.bath_K for t in temperatures])
    shift = 0.08 * (np.diff(baths).min() if len(baths) > 1 else 100.0)
    for k, name in enumerate(names):
        mean, error = np.array([t.temperature_K[name] for t in temperatures]).T
        expected = np.array([t.expected_K for t in temperatures])
        axis.errorbar(
            baths + (k - 0.5 * (len(names) - 1)) * shift, mean - expected, error, fmt="o", ms=4, capsize=2, label=name
        )
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    axis.set(xlabel="bath (K)", ylabel="measured − expected (K)", xticks=baths)
    axis.margins(0.15, 0.25)
    axis.legend(fontsize="small", frameon=False, ncols=len(names))


def _energies(axis: Axes, temperatures: list[Temperature], colours: F64) -> None:
    for t, colour in zip(temperatures, colours, strict=True):
        # Long runs as means of blocks: a line through every frame would be a solid band.
        blocks = min(200, len(t.time_fs))
        time_fs, mean, error = (
            np.array([block.mean() for block in np.array_split(x, blocks)])
            for x in (t.time_fs, *t.energy_meV_per_atom.T)
        )
        slope, uncertain = t.drift_meV_per_atom_ps
        error_bar = f" ± {uncertain:.3f}" if np.isfinite(uncertain) else ""
        axis.plot(time_fs, mean, "-", color=colour, label=f"{t.bath_K:g} K: {slope:+.3f}{error_bar}")
        axis.fill_between(time_fs, mean - error, mean + error, color=colour, alpha=0.2, lw=0)
    axis.axhline(0, color="0.6", lw=0.8, zorder=0)
    low, high = axis.get_ylim()
    rows = (len(temperatures) + 1) // 2 + 1
    axis.set(
        xlabel="time without a bath (fs)",
        ylabel="Δ total energy (meV/atom)",
        ylim=(low, high + 0.12 * rows * (high - low)),
    )
    axis.legend(
        fontsize="small",
        frameon=False,
        title="drift (meV/atom/ps)",
        title_fontsize="small",
        loc="upper left",
        ncols=2,
        alignment="left",
    )
