"""Density of the bundled water at constant pressure against OpenMM's, 258 flexible TIP3P waters at 300 K and 1 bar.

    python benches/npt.py reference     # OpenMM, Monte Carlo barostat, 0.5 fs: benches/results/npt-openmm.json
    python benches/npt.py study         # the bundled model: benches/results/npt-flashmd-1.json, or of another --seed
    python benches/npt.py compare       # both densities, their difference, and its standard error, over all seeds

Needs ``pip install '.[evaluate]'``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openmm
import typer
from openmm import unit

import flashmd_rs
from flashmd_rs.reference.options import load_system

RESULTS = Path(__file__).parent / "results"
TEMPERATURE_K, PRESSURE_BAR, TIMESTEP_FS = 300.0, 1.0, 0.5
WATER = Path(__file__).parents[1] / "examples" / "systems" / "water" / "system.yaml"  # 258 molecules
MASS_G = 258 * 18.01528 / 6.02214076e23
# Blocks of the mean; volumes of water forget each other within 2 to 3 ps.
BLOCKS = 10
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


def density(volume_A3: float) -> float:
    """Of the box, g/cm³."""
    return MASS_G / (volume_A3 * 1e-24)


def save(name: str, settings: dict, densities: list[float]) -> None:
    """Write a result file in one go."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    blocks = [block.mean() for block in np.array_split(densities, BLOCKS)]
    figures = dict(
        density_g_per_cm3=float(np.mean(densities)), standard_error=float(np.std(blocks, ddof=1) / BLOCKS**0.5)
    )
    (RESULTS / name).write_text(json.dumps(settings | figures | dict(samples=[round(d, 5) for d in densities])) + "\n")
    typer.echo(json.dumps(settings | figures))


@app.command()
def reference(time_ps: float = 150.0, discard_ps: float = 20.0, sample_ps: float = 0.1, threads: int = 1) -> None:
    """OpenMM: Langevin dynamics with its own Monte Carlo barostat."""
    potential = openmm.XmlSerializer.deserialize(load_system(WATER).potential.xml)
    potential.addForce(openmm.MonteCarloBarostat(PRESSURE_BAR * unit.bar, TEMPERATURE_K * unit.kelvin, 25))
    integrator = openmm.LangevinMiddleIntegrator(
        TEMPERATURE_K * unit.kelvin, 10.0 / unit.picosecond, TIMESTEP_FS * unit.femtosecond
    )
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(potential, integrator, platform, {"Threads": str(threads)})
    start = flashmd_rs.load_structure("water258")
    context.setPeriodicBoxVectors(*(0.1 * start.cell[:]))
    context.setPositions(0.1 * start.positions)
    context.setVelocitiesToTemperature(TEMPERATURE_K * unit.kelvin, 3)
    densities = []
    for k in range(round(time_ps / sample_ps)):
        integrator.step(round(1000 * sample_ps / TIMESTEP_FS))
        if (k + 1) * sample_ps > discard_ps:
            volume = context.getState().getPeriodicBoxVolume().value_in_unit(unit.angstrom**3)
            densities.append(density(volume))
    save("npt-openmm.json", dict(time_ps=time_ps, discard_ps=discard_ps, timestep_fs=TIMESTEP_FS), densities)


@app.command()
def study(
    time_ps: float = 150.0,
    discard_ps: float = 20.0,
    model: str = "water",
    barostat: str = "cell_rescaling",
    seed: int = 1,
    threads: int = 1,
) -> None:
    """The bundled model with Langevin and a barostat."""
    run = flashmd_rs.rollout(
        flashmd_rs.load_structure("water258"),
        flashmd_rs.Model(model, threads=threads),
        time_ps=time_ps,
        temperature_K=TEMPERATURE_K,
        pressure_bar=PRESSURE_BAR,
        barostat=barostat,
        interval=6,
        seed=seed,
        progress=False,
    )
    kept = run.times_ps > discard_ps
    densities = [density(frame.get_volume()) for frame, keep in zip(run.frames, kept) if keep]
    settings = dict(time_ps=time_ps, discard_ps=discard_ps, model=model, barostat=barostat, sha256=run.report["sha256"])
    save(f"npt-flashmd-{seed}.json", settings, densities)


@app.command()
def compare() -> None:
    """Relative difference of the densities and its standard error; exit 1 if it is beyond one per cent."""
    ours, theirs = _over_runs("npt-flashmd-*.json"), _over_runs("npt-openmm.json")
    for name, (mean, error) in (("OpenMM", theirs), ("flashmd-rs", ours)):
        typer.echo(f"{name:11}{mean:.4f} ± {error:.4f} g/cm³")
    difference, error = ours[0] / theirs[0] - 1, np.hypot(ours[1], theirs[1]) / theirs[0]
    typer.echo(f"difference {100 * difference:+.2f} ± {100 * error:.2f} %")
    raise typer.Exit(abs(difference) > 0.01)


def _over_runs(pattern: str) -> tuple[float, float]:
    """Mean density over runs of equal length and its standard error, g/cm³."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(pattern))]
    means, errors = (np.array([r[key] for r in results]) for key in ("density_g_per_cm3", "standard_error"))
    return float(means.mean()), float(np.sqrt((errors**2).sum()) / len(results))


if __name__ == "__main__":
    app()
