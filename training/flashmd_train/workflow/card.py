"""The card of a model: what it is for, what was measured, and what it costs beside its reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flashmd_rs.writers.atomic_write import atomic_write
from flashmd_train.export.contract import read_model
from flashmd_train.workflow.plan import Plan


def write_card(folder: Path, name: str, evaluations: list[Path], plan: Plan, seconds: float) -> Path:
    """Write ``card.md`` from the metadata of the models and the results of the evaluations.

    Args:
        folder: of the run.
        name: of the model.
        evaluations: folders with ``evaluation.json``.
        plan: of the run.
        seconds: wall time of the run, s.

    Returns:
        The card.
    """
    _, metadata = read_model(folder / f"{name}.onnx")
    _, energy = read_model(folder / f"{name}-energy.onnx")
    found = [json.loads((each / "evaluation.json").read_text()) for each in evaluations]
    notes = [*json.loads((folder / "check.json").read_text())]
    lines = [
        f"# {name}",
        "",
        f"{metadata['reference']}. A {metadata['kind']} model of {metadata['stride_fs']:g} fs for "
        f"{', '.join(metadata['species'])}, {_range(metadata['domain']['temperature_K'])} K, cutoff "
        f"{metadata['cutoff_A']:g} Å; fastest vibration {plan.fastest_period_fs:.0f} fs. "
        f"Made in {seconds / 60:.0f} min.",
        "",
        "## One stride",
        "",
        *_one_stride(metadata["validation"], energy["validation"]),
        *([_calibration(metadata["validation"])] if "calibration" in metadata["validation"] else []),
        "",
    ]
    for each, path in zip(found, evaluations):
        lines += [*_runs(each), "", f"All figures: [{path.name}]({path.name}/evaluation.md).", ""]
    if notes:
        lines += ["## What the check of the data said", "", *(f"- {note}" for note in notes), ""]
    card = folder / "card.md"
    with atomic_write(card) as temporary:
        temporary.write_text("\n".join(lines))
    return card


def _range(values: list[float]) -> str:
    return "–".join(f"{value:g}" for value in values)


def _one_stride(validation: dict[str, Any], energy: dict[str, Any]) -> list[str]:
    """Errors of a stride, beside those of free flight, and of the energy model's forces."""
    lines = ["| | momentum | displacement |", "|---|---|---|"]
    lines.append(
        f"| error, relative to the rms value | {100 * validation['one_stride_momentum_error']:.2f} % | "
        f"{100 * validation['one_stride_displacement_error']:.2f} % |"
    )
    lines.append(
        f"| of free flight, the prior | {100 * validation['free_flight_momentum_error']:.0f} % | "
        f"{100 * validation['free_flight_displacement_error']:.0f} % |"
    )
    return [
        *lines,
        "",
        f"Forces of the energy model: {1000 * energy['force_error_eV_A']:.1f} meV/Å, "
        f"{100 * energy['force_error']:.1f} % of the rms force.",
    ]


def _calibration(validation: dict[str, Any]) -> str:
    return f"Momenta: {validation['calibration']}."


def _runs(found: dict[str, Any]) -> list[str]:
    """Temperatures, stability and speed of the model and its reference, and the verdicts."""
    lines = [
        f"## {found['system']}, {found['temperature_K']:g} K",
        "",
        "| | run | T, K | sound for | ns/day, one thread |",
        "|---|---|---|---|---|",
    ]
    speeds = {}
    for text, integrator in found["integrators"].items():
        for ensemble in ("nvt", "nve"):
            if ensemble not in integrator:
                continue
            runs = integrator[ensemble]
            speeds.setdefault(text, runs["ns_per_day"])
            kelvin = ", ".join(
                f"{'all' if k == 'total' else k} {_with_error(v)}" for k, v in runs["temperature_K"].items()
            )
            lines.append(
                f"| {integrator['name']} | {ensemble}, {runs['wanted_ps']:g} ps | {kelvin} | "
                f"{runs['stable_ps']:.4g} ps | {runs['ns_per_day']:.3g} |"
            )
    lines += ["", _speed(speeds, found["reference"]), ""]
    if found["claims"]:
        lines += ["| claim | value | floor | verdict |", "|---|---|---|---|"]
        lines += [
            f"| {Path(c['integrator']).stem}: {c['quantity']} | {_with_error([c['value'], c['error']])} | "
            f"{c['floor']:g} | {c['verdict']} |"
            for c in found["claims"]
            if c["integrator"] != found["reference"]
        ]
    return lines


def _with_error(values: list[float | None]) -> str:
    value, error = values[0], values[1]
    assert value is not None
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def _speed(speeds: dict[str, float], reference: str | None) -> str:
    """Whether the model is faster than its reference, in words."""
    (model,) = (speed for text, speed in speeds.items() if text != reference)
    if reference is None or reference not in speeds:
        return f"The model makes {model:.3g} ns/day."
    ratio = model / speeds[reference]
    if ratio < 1:
        return f"**The model is slower than its reference**, {1 / ratio:.1f} times: use the reference."
    return f"The model is {ratio:.1f} times as fast as its reference."
