"""The bundled water model against OpenMM: temperatures, structure, drift.

    python benches/water.py reference     # OpenMM, Langevin, 0.5 fs: benches/results/openmm.json
    python benches/water.py study         # the bundled model: benches/results/flashmd.json
    python benches/water.py measured      # benches/results/measured.json, for the model's metadata
    python benches/water.py page          # docs/validation/water.md and docs/validation/water.png from both

Needs ``pip install '.[evaluate]'``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from matplotlib.figure import Figure

import flashmd_rs
from flashmd_rs.analysis import first_peak, radial_distribution
from flashmd_rs.reference.options import load_system
from flashmd_rs.temperature import draw_momenta, temperatures

ROOT = Path(__file__).parent.parent
RESULTS, PAGES = ROOT / "benches" / "results", ROOT / "docs" / "validation"
WATER = ROOT / "examples" / "systems" / "water" / "system.yaml"  # 258 molecules
TARGET_K, TIME_CONSTANT_FS, WEAK_FS = 300.0, 100.0, 1000.0
app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


def structure_figures(frames: list[Atoms]) -> dict:
    """g_OO of frames: curve, first peak."""
    r, g = radial_distribution(frames, ("O", "O"))
    position, height = first_peak(r, g)
    return dict(r_A=r.tolist(), g_OO=g.tolist(), peak_A=position, peak_height=height)


def with_error(values: np.ndarray, blocks: int = 10) -> dict:
    """Mean and its standard error from block averages."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return dict(mean=float(np.mean(values)), standard_error=float(np.std(means, ddof=1) / blocks**0.5))


def _rounded(value: object) -> object:
    """Six significant digits: what the page shows, in a file one can commit."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def save(name: str, result: dict) -> None:
    """Write a result file in one go."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(json.dumps(_rounded(result)) + "\n")


@app.command()
def reference(
    time_ps: float = 60.0, sample_fs: float = 100.0, discard_ps: float = 5.0, threads: int = 1, seed: int = 11
) -> None:
    """OpenMM on the same box: Langevin with the same time constant, 0.5 fs steps."""
    start = flashmd_rs.load_structure("water258")
    openmm = load_system(WATER).reference(0.5, threads)
    rng = np.random.default_rng(seed)
    openmm.set(start.positions, start.get_momenta())
    openmm.langevin(1000 * discard_ps, TARGET_K, rng, 1000 / TIME_CONSTANT_FS)
    frames = []
    for _ in range(round(1000 * time_ps / sample_fs)):
        openmm.langevin(sample_fs, TARGET_K, rng, 1000 / TIME_CONSTANT_FS)
        frames.append(openmm.atoms())
    rows = [temperatures(f.get_momenta(), f.get_masses(), np.array(f.get_chemical_symbols())) for f in frames]
    result = {name: with_error(np.array([row[name] for row in rows])) for name in rows[0]}
    save("openmm.json", dict(time_ps=time_ps, timestep_fs=0.5, temperature_K=result, **structure_figures(frames)))
    typer.echo(json.dumps(result))


@app.command()
def study(
    time_ps: float = 20.0,
    weak_ps: Annotated[float, typer.Option(help="With a time constant of 1 ps, whose means need longer.")] = 40.0,
    seeds: Annotated[int, typer.Option(help="Runs with Langevin, and as many without any filter.")] = 3,
    nve_ps: float = 5.0,
    rescaled_nve_ps: float = 20.0,
    discard_ps: float = 5.0,
    model: str = "water",
    threads: int | None = None,
    output: str = "flashmd.json",
) -> None:
    """Langevin runs, the same in a weak bath and with energy rescaling, NVE with rescaling and without any filter."""
    start = flashmd_rs.load_structure("water258")
    opened = flashmd_rs.Model(model, threads=threads)
    energy = flashmd_rs.Model("water-energy", threads=threads)
    result: dict = dict(model=opened.metadata["validation"], stride_fs=opened.stride_fs, sha256=opened.sha256)
    common = dict(temperature_K=TARGET_K, time_constant_fs=TIME_CONSTANT_FS)
    result["langevin"] = [
        _run(start, opened, discard_ps, time_ps=time_ps, interval=5, seed=s, **common) for s in range(seeds)
    ]
    save(output, result)
    weak = dict(time_ps=weak_ps, interval=5, temperature_K=TARGET_K, time_constant_fs=WEAK_FS)
    result["langevin_weak"] = [_run(start, opened, discard_ps, seed=s, **weak) for s in range(seeds)]
    save(output, result)
    rescaled = dict(interval=5, energy_model=energy, rescale_energy=True)
    result["langevin_rescaled"] = [
        _attempt(start, opened, discard_ps, time_ps=time_ps, seed=s, **rescaled, **common) for s in range(seeds)
    ]
    save(output, result)
    result["nve_rescaled"] = _attempt(start, opened, discard_ps, time_ps=rescaled_nve_ps, seed=0, **rescaled)
    save(output, result)
    bare = dict(time_ps=nve_ps, interval=1, rescale_energy=False, energy_model=energy)
    result["nve"] = [_nve(start, opened, seed=s, **bare) for s in range(seeds)]
    save(output, result)


def _run(
    start: Atoms, model: flashmd_rs.Model, discard_ps: float, time_constant_fs: float | None = None, **options: object
) -> dict:
    thermostat = None if time_constant_fs is None else flashmd_rs.Langevin(time_constant_fs=time_constant_fs)
    run = flashmd_rs.rollout(start, model, thermostat=thermostat, progress=False, **options)
    kept = run.times_ps >= discard_ps
    frames = [frame for frame, keep in zip(run.frames, kept) if keep]
    result = dict(
        options={
            k: v
            for k, v in (options | dict(time_constant_fs=time_constant_fs)).items()
            if isinstance(v, int | float | str)
        },
        temperature_K={name: with_error(values[kept]) for name, values in run.temperature_K.items()},
        ns_per_day=run.report["ns_per_day"],
        conserved_drift_eV_per_ps=_slope(run.times_ps, run.conserved_energy),
        rescale=run.report["statistics"]["rescaling"],
        trace=dict(
            times_ps=run.times_ps[::10].round(3).tolist(),
            **{name: values[::10].round(1).tolist() for name, values in run.temperature_K.items()},
        ),
        **structure_figures(frames[::4]),
    )
    typer.echo(json.dumps({k: result[k] for k in ("options", "temperature_K", "peak_A", "peak_height", "ns_per_day")}))
    return result


def _attempt(start: Atoms, model: flashmd_rs.Model, discard_ps: float, **options: object) -> dict:
    try:
        return _run(start, model, discard_ps, **options)
    except flashmd_rs.StabilityError as error:
        typer.echo(f"stopped: {error}")
        return dict(stopped=str(error), time_ps=error.time_ps)


def _nve(start: Atoms, model: flashmd_rs.Model, **options: object) -> dict:
    """Momenta are redrawn with the seed, so that the seeds are different runs."""
    atoms = start.copy()
    atoms.set_momenta(draw_momenta(atoms.get_masses(), TARGET_K, options["seed"]))
    try:
        run = flashmd_rs.rollout(atoms, model, progress=False, **options)
    except flashmd_rs.StabilityError as error:
        typer.echo(f"stopped: {error}")
        return dict(stopped=str(error), time_ps=error.time_ps)
    first = run.times_ps <= 1.0
    result = dict(
        drift_0_1_ps_eV_per_ps=_slope(run.times_ps[first], run.total_energy[first]),
        drift_eV_per_ps=_slope(run.times_ps, run.total_energy),
        final_temperature_K={name: float(values[-20:].mean()) for name, values in run.temperature_K.items()},
        times_ps=run.times_ps.round(3).tolist(),
        total_energy_eV=run.total_energy.round(3).tolist(),
    )
    typer.echo(json.dumps({k: v for k, v in result.items() if "times" not in k and "total" not in k}))
    return result


def _slope(times: np.ndarray, energy: np.ndarray | None) -> float | None:
    return None if energy is None else float(np.polyfit(times, energy, 1)[0])


@app.command()
def measured(name: str = "flashmd.json") -> None:
    """benches/results/measured.json: the figures that `flashmd-train export --measured` puts into the model."""
    ours = json.loads((RESULTS / name).read_text())
    nve = [run for run in ours["nve"] if "stopped" not in run]
    figures = {}
    for bath, runs in (("langevin_100_fs", ours["langevin"]), ("langevin_1_ps", ours["langevin_weak"])):
        for k in ("total", "O", "H"):
            mean = np.mean([run["temperature_K"][k]["mean"] for run in runs])
            figures[f"{bath}_mean_{k}_temperature_K"] = round(float(mean), 2)
    figures["nve_drift_over_first_ps_eV_per_ps"] = round(float(np.mean([r["drift_0_1_ps_eV_per_ps"] for r in nve])), 2)
    figures["nve_drift_over_5_ps_eV_per_ps"] = round(float(np.mean([r["drift_eV_per_ps"] for r in nve])), 2)
    save("measured.json", figures)


@app.command()
def page(name: str = "flashmd.json") -> None:
    """docs/validation/water.md and docs/validation/water.png from the result files."""
    openmm, ours = (json.loads((RESULTS / n).read_text()) for n in ("openmm.json", name))
    _draw(openmm, ours, PAGES / "water.png")
    (PAGES / "water.md").write_text(_words(openmm, ours))


def _draw(openmm: dict, ours: dict, path: Path) -> None:
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(openmm["r_A"], openmm["g_OO"], color="black", lw=2.5, label="OpenMM, Langevin, 0.5 fs")
    for k, run in enumerate(ours["langevin"]):
        label = f"flashmd-rs, {ours['stride_fs']:g} fs" if k == 0 else None
        left.plot(run["r_A"], run["g_OO"], color="tab:red", lw=1, label=label)
    left.set(xlabel="r / Å", ylabel=r"$g_\mathrm{OO}(r)$", xlim=(2, 8), ylim=(0, None))
    left.legend(fontsize="small")
    for symbol, colour in (("total", "black"), ("O", "tab:orange"), ("H", "tab:blue")):
        trace = ours["langevin"][0]["trace"]
        middle.plot(
            trace["times_ps"], trace[symbol], color=colour, lw=0.8, label="all" if symbol == "total" else symbol
        )
        mean = openmm["temperature_K"][symbol]["mean"]
        middle.axhline(
            mean, color=colour, ls="--", lw=1, label=f"OpenMM mean {mean:.0f} K" if symbol == "total" else None
        )
    middle.set(xlabel="time / ps", ylabel="temperature / K", title="Langevin, 300 K, 100 fs")
    middle.legend(fontsize="small", ncols=2)
    for run in ours["nve"]:
        if "stopped" not in run:
            energy = np.array(run["total_energy_eV"])
            right.plot(run["times_ps"], energy - energy[0], lw=1)
    right.axhline(0, color="0.6", lw=0.8)
    right.set(xlabel="time / ps", ylabel="total energy change / eV", title="no thermostat, no rescaling: it drifts")
    figure.savefig(path, dpi=150)


def _row(name: str, run: dict) -> str:
    if "stopped" in run:
        return f"| {name} | stopped at {run['time_ps']:.2f} ps | | | | | |"
    cells = [
        f"{t['mean']:.1f} ± {t['standard_error']:.1f}" for t in (run["temperature_K"][k] for k in ("total", "O", "H"))
    ]
    drift = run.get("conserved_drift_eV_per_ps")
    drift = "" if drift is None else f"{abs(drift):.1e}"
    time = run["options"]["time_ps"] if "options" in run else run["time_ps"]
    return f"| {name} | {time:g} | {' | '.join(cells)} | {run['peak_A']:.3f} | {run['peak_height']:.2f} | {drift} |"


def _words(openmm: dict, ours: dict) -> str:
    rows = [_row("OpenMM, 0.5 fs", openmm)]
    rows += [_row(f"flashmd-rs, Langevin, seed {k}", run) for k, run in enumerate(ours["langevin"])]
    rows += [_row(f"Langevin of 1 ps, seed {k}", run) for k, run in enumerate(ours["langevin_weak"])]
    rescaled = enumerate(ours["langevin_rescaled"])
    rows += [_row(f"Langevin, energy rescaled each stride, seed {k}", run) for k, run in rescaled]
    rows.append(_row("NVE, energy rescaled each stride", ours["nve_rescaled"]))
    nve = []
    for run in ours["nve"]:
        if "stopped" in run:
            nve.append(f"| stopped at {run['time_ps']:.2f} ps | | | |")
            continue
        early, whole, final = run["drift_0_1_ps_eV_per_ps"], run["drift_eV_per_ps"], run["final_temperature_K"]
        nve.append(f"| {early:+.2f} | {whole:+.2f} | {final['O']:.0f} | {final['H']:.0f} |")
    lines = [
        "# The bundled water model against OpenMM",
        "",
        "Made by `python benches/water.py reference`, `… study` and `… page`: 258 flexible TIP3P waters, 300 K,",
        f"Langevin with a time constant of 100 fs, strides of {ours['stride_fs']:g} fs against OpenMM's 0.5 fs. The",
        "first 5 ps of a run are discarded. Temperatures in K with block standard errors, the g_OO peak in Å.",
        "",
        "![g_OO, temperatures and NVE energy](water.png)",
        "",
        "| run | ps | T | T of O | T of H | g_OO peak at | height | drift of the conserved energy, eV/ps |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "Without thermostat and rescaling (NVE), energies by the bundled energy model:",
        "",
        "| drift over 0–1 ps, eV/ps | over the whole run, eV/ps | final T of O, K | of H, K |",
        "|---|---|---|---|",
        *nve,
        "",
        "What velocity Verlet does without a bath is in [nve.md](nve.md). The direct model drifts hundreds of times",
        "more, and in the end loses equipartition: use it with a thermostat, and read dynamics from it with care.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app()
