"""Pictures of an evaluation: energy and temperature against time, structure and motion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from flashmd_rs.evaluation.page.tables import completed
from flashmd_rs.evaluation.results import Runs

# Free energies beyond it have no colour of their own, kT.
MOST_KT = 8.0


def draw_energy(nve: Runs, path: Path) -> None:
    """Draw total energy and temperature against time while runs are stable; the mean where several starts all are."""
    start_K = next(iter(nve.values()))[0]["trace"]["T"][0]
    figure = Figure(figsize=(13, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, runs in enumerate(nve.values()):
        mean = len(runs) > 2 and all(map(completed, runs))
        traces = []
        for run in runs:
            times, energy, kelvin = (np.array(run["trace"][key]) for key in ("times_ps", "energy_eV", "T"))
            stable = times <= run["stable_ps"] + 1e-9
            traces.append((times[stable], (energy - energy[0])[stable], kelvin[stable]))
        thick: dict[str, Any] = {"color": f"C{k}", "lw": 1.5}
        thin = {"color": f"C{k}", "lw": 0.6, "alpha": 0.3}
        for trace in traces:
            for axis, values in zip((left, right), trace[1:], strict=True):
                axis.plot(trace[0], values, **(thin if mean else thick | {"lw": 1}))
        if mean:
            times, *means = np.mean(traces, 0)
            for axis, values in zip((left, right), means, strict=True):
                axis.plot(times, values, **thick)
        left.plot([], [], **thick, label=runs[0]["name"])
    left.set(xlabel="time / ps", ylabel="total energy change / eV", xlim=(0, None))
    right.set(xlabel="time / ps", ylabel="temperature / K", xlim=(0, None))
    # Where one run explodes the others must still be visible.
    if np.abs(left.dataLim.intervaly).max() > 1:
        left.set_yscale("symlog", linthresh=0.1)
        right.set_ylim(0, 3 * start_K)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)


def draw_pairs(integrators: Runs, path: Path) -> bool:
    """Draw the distribution of every pair of species, a band of two standard errors wide; False if there is none."""
    return _draw_blocks(integrators, "pairs", "r_A", "r / Å", path)


def draw_dihedrals(integrators: Runs, path: Path) -> bool:
    """Draw the distributions of dihedral angles; False if there is none."""
    return _draw_blocks(integrators, "dihedrals", "degrees", "angle / degree", path)


def draw_maps(integrators: Runs, path: Path) -> bool:
    """Draw free energies by two dihedral angles, a panel for each integrator, in kT; False if there is none."""
    known = {name: runs for name, runs in integrators.items() if any(run.get("dihedral_maps") for run in runs)}
    names = [name for runs in list(known.values())[:1] for run in runs[:1] for name in run["dihedral_maps"]]
    if not names:
        return False
    figure = Figure(figsize=(1 + 4 * len(known), 3.7 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), len(known), squeeze=False)
    for row, name in zip(panels, names, strict=True):
        first, second = name.split(" and ")
        for axis, runs in zip(row, known.values(), strict=True):
            blocks = [block for run in runs for block in run.get("dihedral_maps", {}).get(name, {}).get("blocks", [])]
            shares = np.mean(blocks, 0)
            with np.errstate(divide="ignore"):
                energy = -np.log(shares / shares.max())
            image = axis.imshow(
                energy.T, origin="lower", extent=(-180, 180, -180, 180), cmap="viridis", vmin=0, vmax=MOST_KT
            )
            axis.set(title=runs[0]["name"], xlabel=f"{first} / degree", ylabel=f"{second} / degree")
        figure.colorbar(image, ax=list(row), label="free energy / kT")
    figure.savefig(path, dpi=150)
    return True


def _draw_blocks(integrators: Runs, kind: str, abscissa: str, label: str, path: Path) -> bool:
    first = next((run for runs in integrators.values() for run in runs if run.get(kind)), None)
    if first is None:
        return False
    names = list(first[kind])
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.5 + 4.5 * columns, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(panels, names, strict=False):
        for k, runs in enumerate(integrators.values()):
            known = [run[kind][name] for run in runs if run.get(kind)]
            if not known:
                continue
            blocks = np.array([block for run in known for block in run["blocks"]])
            mean, error = blocks.mean(0), blocks.std(0, ddof=1) / len(blocks) ** 0.5
            x = known[0][abscissa]
            axis.plot(x, mean, f"C{k}", lw=1, label=runs[0]["name"])
            axis.fill_between(x, mean - error, mean + error, color=f"C{k}", alpha=0.3, lw=0)
        axis.set(title=name, xlabel=label, ylim=(0, None))
    for axis in panels[len(names) :]:
        axis.set_axis_off()
    quantity = {"pairs": "g(r)" if first["periodic"] else "n(r) / Å⁻¹", "dihedrals": "density / degree⁻¹"}[kind]
    panels[0].set_ylabel(quantity)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)
    return True


def draw_motion(integrators: Runs, path: Path) -> bool:
    """Draw mean-square displacements and vibrational densities of states of the first start; False without any."""
    shown = [(k, runs[0]) for k, runs in enumerate(integrators.values()) if "msd_A2" in runs[0]]
    if not shown:
        return False
    species, with_spectra = list(shown[0][1]["msd_A2"]), any("spectrum" in run for _, run in shown)
    rows = 1 + with_spectra
    figure = Figure(figsize=(2.5 + 4.5 * len(species), 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, len(species), squeeze=False)
    for column, symbol in enumerate(species):
        motion = panels[0, column]
        for k, run in shown:
            motion.plot(run["lags_ps"], run["msd_A2"][symbol], f"C{k}", lw=1, label=run["name"])
            if "spectrum" in run:
                panels[1, column].plot(run["wavenumber_per_cm"], run["spectrum"][symbol], f"C{k}", lw=1)
        motion.set(title=symbol, xlabel="lag / ps", xscale="log", yscale="log")
        if with_spectra:
            ends = [_last_wavenumber(run["wavenumber_per_cm"], run["spectrum"][symbol]) for _, run in shown]
            panels[1, column].set(xlabel="wavenumber / cm⁻¹", xlim=(0, max(ends)), ylim=(0, None))
            panels[1, 0].set_ylabel("density of states / cm")
    panels[0, 0].set_ylabel("mean-square displacement / Å²")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)
    return True


def _last_wavenumber(wavenumber: list[float], density: list[float]) -> float:
    """A little beyond where all but a thousandth of the density ends, cm⁻¹."""
    inside = int(np.searchsorted(np.cumsum(density) / np.sum(density), 0.999))
    return 1.1 * wavenumber[min(inside, len(wavenumber) - 1)]
