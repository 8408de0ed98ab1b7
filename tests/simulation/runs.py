"""Runs that the tests of a simulation share, and when two are the same."""

import ase.io
import numpy as np

from flashmd_rs import (
    Bussi,
    CellRescaling,
    Langevin,
    MonteCarloBarostat,
)

from conftest import fixture_model, h5md_tables, make_crystal

BATH = {"temperature_K": 60.0, "thermostat": Langevin(50)}
SOFT = {"interval": 3, "compressibility_per_bar": 1e-5}
PRESSURE = {**BATH, "pressure_bar": 2000.0}
BARE = {"rescale_energy": False}
# The model that moves the atoms, and options.
ENSEMBLES = {
    "nve": ("pair_stride", {"energy_model": fixture_model("pair_energy"), **BARE}),
    "rescaled nve": ("pair_stride", {}),
    "langevin": ("pair_stride", BATH),
    "bussi": ("pair_stride", {**BATH, "thermostat": Bussi(50)}),
    "rotated": ("pair_stride", {**BATH, "random_rotation": True}),
    "noise of the model": ("noisy", {**BATH, "guard": "off"}),
    "cell rescaling": ("pair_stride", {**PRESSURE, "barostat": CellRescaling(**SOFT)}),
    "monte carlo": ("pair_stride", {**PRESSURE, "barostat": MonteCarloBarostat(coupling="anisotropic", **SOFT)}),
    "rescaled by molecule": ("pair_stride", {**PRESSURE, "rescale_energy": "molecule"}),
    "metropolis": ("weak", {**BATH, "metropolis": True, "guard": "off"}),
    "splitting": ("verlet", {**BATH, **BARE}),
    "two scalars": ("two_scalars", {**BATH, **BARE}),
    "splitting under pressure": ("verlet", {**PRESSURE, "energy_model": fixture_model("pair_energy")}),
    "hybrid": ("hybrid", BARE),
    "hybrid with pair tables": ("pulled", {**BATH, **BARE}),
    "hybrid with pair tables under pressure": ("pulled", {**PRESSURE, "energy_model": fixture_model("pair_energy")}),
    "mollified hybrid": ("mollified", BARE),
    "action": ("midpoint", {**BATH, **BARE}),
}
SUFFIXES = [".extxyz", ".traj", ".h5md", ".xtc", ".dcd"]


def start(replicas=1):
    """One small crystal, or a list of different ones."""
    crystals = [make_crystal(2 + r % 2, seed=3 + r) for r in range(replicas)]
    return crystals if replicas > 1 else crystals[0]


def as_list(results):
    return results if isinstance(results, list) else [results]


def assert_same_frames(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.info["step"] == other.info["step"]
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.get_momenta(), other.get_momenta())
        np.testing.assert_array_equal(one.cell.array, other.cell.array)


def assert_same_runs(some, others):
    """Frames, series and counters of runs are the same to the last bit."""
    for one, other in zip(as_list(some), as_list(others), strict=True):
        assert_same_frames(list(one), list(other))
        for name in ("times_ps", "kinetic_energy", "potential_energy", "conserved_energy"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_equal(one.temperature_K, other.temperature_K)
        assert one.report["statistics"] == other.report["statistics"]
        for name in ("steps", "time_ps", "network_runs", "seed", "interval", "thermostat", "barostat"):
            assert one.report[name] == other.report[name], name


def assert_same_files(folder, suffix, replicas=1):
    """Trajectory and log of "run" are those of "whole", and no segment is left."""
    for end in map(str, range(replicas)) if replicas > 1 else [""]:
        run, whole = (contents(folder / f"{name}{end}{suffix}") for name in ("run", "whole"))
        if isinstance(run, bytes):
            assert run == whole, f"{len(run)} bytes, not {len(whole)}, or others"  # not a page of them
        else:
            np.testing.assert_equal(run, whole)
        assert (folder / f"run{end}.log").read_text().splitlines() == (
            (folder / f"whole{end}.log").read_text().splitlines()
        )
    assert [path.name for path in folder.iterdir() if ".segment" in path.name] == []


def move_and_look(simulation, strides):
    """Stride by stride, the files finished after each."""
    for _ in range(strides):
        simulation.step()
        _ = simulation.trajectory


def contents(path):
    """What must not depend on how often a file was closed: its bytes, or every number in it."""
    if path.suffix == ".traj":
        frames = ase.io.read(path, ":")
        return [(f.positions, f.get_momenta(), f.cell.array, f.info["step"], f.get_potential_energy()) for f in frames]
    return h5md_tables(path) if path.suffix == ".h5md" else path.read_bytes()
