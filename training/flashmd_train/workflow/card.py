"""The card of a model: what it is for, what was measured, and what it costs beside its reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flashmd_rs.pages import write_html
from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.data.segments import Segments
from flashmd_train.model_files.contract import read_model
from flashmd_train.workflow.clock import Clock
from flashmd_train.workflow.plan import Plan
from flashmd_train.workflow.run_folder import RunFolder

# Largest momentum error of a model, as a share of free flight's.
LARGEST_SHARE = 0.2
ENSEMBLES = {"nvt": "bath", "nve": "no bath"}


def write_card(folder: RunFolder, plan: Plan, clock: Clock) -> None:
    """Write ``card.md`` and ``card.html`` from the metadata of the models and the results of the evaluations.

    Args:
        folder: of the run.
        plan: of the run.
        clock: of the run.
    """
    _, metadata = read_model(folder.model)
    _, energy = read_model(folder.energy_model)
    lines = [
        f"# {folder.name}",
        "",
        f"A {metadata['kind']} model of {metadata['stride_fs']:g} fs for {', '.join(metadata['species'])} at "
        f"{'–'.join(f'{t:g}' for t in metadata['domain']['temperature_K'])} K, cutoff {metadata['cutoff_A']:g} Å.",
        "",
        f"Reference: {metadata['reference']}, {plan.timestep_fs:g} fs.",
        "",
        "## One stride",
        "",
        *_one_stride(metadata["validation"], energy["validation"]),
    ]
    for path in folder.evaluations:
        found = json.loads((path / "evaluation.json").read_text())
        lines += [*_runs(found), "", f"All figures: [{path.name}]({path.name}/evaluation.md).", ""]
    notes = json.loads(folder.check.read_text())
    lines += [
        "## Data and provenance",
        "",
        *_provenance(folder, plan, metadata, clock),
        *(f"- Check: {note}" for note in notes),
    ]
    page = "\n".join(lines).replace("/evaluation.md)", "/evaluation.html)")
    write_html(page, folder.card.with_suffix(".html"), folder.path)
    # The last file of a run: its presence says that the run is done.
    with atomic_write(folder.card) as temporary:
        temporary.write_text("\n".join([*lines, ""]))


def verdict(model: Path) -> str:
    """The error of one stride beside that of free flight, in a sentence."""
    return _verdict(read_model(model)[1]["validation"])


def _verdict(validation: dict[str, Any]) -> str:
    error, prior = validation["one_stride_momentum_error"], validation["free_flight_momentum_error"]
    measured = f"momentum error {100 * error:.2f} %, {100 * error / prior:.1f} % of free flight's"
    if error > LARGEST_SHARE * prior:
        return f"**Not good enough** ({measured}): give it more hours or a shorter stride."
    return f"{measured[0].upper()}{measured[1:]}."


def _one_stride(validation: dict[str, Any], energy: dict[str, Any]) -> Iterator[str]:
    """Errors of a stride beside those of free flight, calibration, and errors of the energy model."""
    yield "| error, share of the rms value | momentum | displacement |"
    yield "|---|---|---|"
    for who, prefix in (("model", "one_stride"), ("free flight", "free_flight")):
        errors = [f"{100 * validation[f'{prefix}_{what}_error']:.2f} %" for what in ("momentum", "displacement")]
        yield f"| {who} | {' | '.join(errors)} |"
    yield ""
    yield _verdict(validation)
    yield ""
    if "calibration" in validation:
        yield f"Calibration of the momenta: {validation['calibration']}."
        yield ""
    yield (
        f"Energy model: forces {1000 * energy['force_error_eV_A']:.1f} meV/Å off, {100 * energy['force_error']:.1f} % "
        f"of the rms force; energies {energy['energy_error_meV_per_atom']:.2f} meV per atom."
    )
    yield ""


def _runs(found: dict[str, Any]) -> Iterator[str]:
    """Temperatures, stability and speed of the model and its reference, and the verdicts."""
    yield f"## {found['system']}, {found['temperature_K']:g} K"
    yield ""
    yield "| | run | T, K | stable for | ns/day, one thread |"
    yield "|---|---|---|---|---|"
    speeds: dict[str, float] = {}
    for text, integrator in found["integrators"].items():
        for ensemble, called in ENSEMBLES.items():
            if ensemble in integrator:
                runs = integrator[ensemble]
                speeds.setdefault(text, runs["ns_per_day"])
                yield (
                    f"| {integrator['name']} | {called}, {runs['wanted_ps']:g} ps | "
                    f"{_temperatures(runs['temperature_K'])} | {runs['stable_ps']:.4g} ps | "
                    f"{_three_digits(runs['ns_per_day'])} |"
                )
    yield ""
    yield _speed(speeds, found["reference"])
    claims = [claim for claim in found["claims"] if claim["integrator"] != found["reference"]]
    if claims:
        yield ""
        yield "| claim | value | floor | verdict |"
        yield "|---|---|---|---|"
    for claim in claims:
        value = _with_error(claim["value"], claim["error"])
        yield f"| {claim['quantity']} | {value} | {claim['floor']:g} | {claim['verdict']} |"


def _temperatures(found: dict[str, list[float | None]]) -> str:
    """Of all atoms and, if there are several, of each species."""
    if len(found) <= 2:
        found = {"total": found["total"]}
    return ", ".join(
        _with_error(mean, error) if name == "total" else f"{name} {_with_error(mean, error)}"
        for name, (mean, error, _) in found.items()
    )


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def _speed(speeds: dict[str, float], reference: str | None) -> str:
    """Whether the model is faster than its reference, in words."""
    (model,) = (speed for text, speed in speeds.items() if text != reference)
    if reference is None or reference not in speeds:
        return f"The model makes {_three_digits(model)} ns/day."
    both = f"{_three_digits(model)} ns/day against {_three_digits(speeds[reference])}"
    ratio = model / speeds[reference]
    if ratio < 1:
        return f"**The model is slower than its reference**, {1 / ratio:.1f} times ({both}): use the reference."
    return f"The model is {ratio:.1f} times as fast as its reference ({both})."


def _provenance(folder: RunFolder, plan: Plan, metadata: dict[str, Any], clock: Clock) -> Iterator[str]:
    """Data, costs, and the command."""
    provenance = metadata["provenance"]
    kelvin = ", ".join(f"{t:g}" for t in plan.temperatures_K)
    # As many as were made: their time may have been up before those of the plan were.
    made = [str(len(Segments.load(path).temperature_K)) for path in folder.equilibrium]
    yield f"- Data: {' + '.join(made)} segments of {plan.length_fs:g} fs at {kelvin} K."
    added = len(provenance["data"]) - len(made)
    if added:
        yield f"- Added: {added} {'file' if added == 1 else 'files'} of further segments."
    yield f"- Fastest vibration: {plan.fastest_period_fs:.0f} fs. Steps of the last training: {provenance['steps']}."
    yield f"- Cost: {clock.seconds / 60:.1f} min, {clock.processor_seconds / 3600:.2g} core hours."
    yield f"- Command: `{provenance['command']}`"


def _three_digits(value: float) -> str:
    """A positive number to three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):.10g}"
