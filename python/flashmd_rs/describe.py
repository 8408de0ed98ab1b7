"""Descriptions for people: cards of models, headers and summaries of runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from flashmd_rs import _core
from flashmd_rs._structure import F64
from flashmd_rs.analysis import mean_and_error

if TYPE_CHECKING:
    from flashmd_rs.trajectory import Trajectory

# Ends of metadata keys and the unit they stand for, longest first.
_UNITS = {
    "_eV_per_ps": "eV/ps",
    "_meV_per_atom_per_ps": "meV/atom/ps",
    "_meV_per_atom": "meV/atom",
    "_meV_per_A": "meV/Å",
    "_eV_per_rad2": "eV/rad²",
    "_eV_per_A2": "eV/Å²",
    "_eV_per_A": "eV/Å",
    "_g_per_cm3": "g/cm³",
    "_A2_per_ps": "Å²/ps",
    "_per_A3": "1/Å³",
    "_sqrt_eV": "√eV",
    "_eV_A3": "eV Å³",
    "_eV_A6": "eV Å⁶",
    "_percent": "%",
    "_bytes": "bytes",
    "_meV": "meV",
    "_eV": "eV",
    "_fs": "fs",
    "_ps": "ps",
    "_ns": "ns",
    "_nm": "nm",
    "_bar": "bar",
    "_A": "Å",
    "_K": "K",
    "_u": "u",
    "_s": "s",
}


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    from importlib.metadata import version

    info = _core.runtime_info()
    return {
        "flashmd-rs": _core.__version__,
        "onnxruntime": info["version"] if info else "not open",
        "ase": version("ase"),
        "numpy": version("numpy"),
    }


def drift_at_export(metadata: dict[str, Any]) -> str:
    """The energy drift that a model's metadata states, in words."""
    validation = metadata.get("validation")
    figures = flatten(validation) if isinstance(validation, dict) else []
    found = [f"{label} {text}" for label, text in figures if "drift" in label.lower()]
    return "measured at export: " + "; ".join(found) if found else "no drift was measured at export"


def describe_model(name: str, metadata: dict[str, Any], sha256: str, size: int, kernels: str) -> str:
    """A model's metadata for people, every number with its unit, and what kernels run of it."""
    rows = [("model", name), ("SHA-256", sha256), ("size", f"{size / 1e6:.2f} MB"), ("kernels", kernels)]
    return table([*rows, *flatten(metadata)])


def table(rows: list[tuple[str, str]]) -> str:
    """Labels and texts in two columns."""
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in rows)


def flatten(entry: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows ``label, text`` of nested metadata; ``{"value": x, "unit": u}`` is one number."""
    rows: list[tuple[str, str]] = []
    for key, value in entry.items():
        name, unit = _split_unit(key)
        label = f"{prefix}{_printable(name.replace('_', ' '))}"
        if isinstance(value, dict) and "value" in value:
            rows.append((label, f"{_format(value['value'])} {_format(value.get('unit', unit))}".rstrip()))
        elif isinstance(value, dict) and value:
            rows += flatten({f"{k}{_suffix(key)}": v for k, v in value.items()}, f"{label} · ")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            rows += [(f"{label} · {number}", _format(item)) for number, item in enumerate(value, 1)]
        else:
            rows.append((label, f"{_format(value)} {unit}".rstrip() if value is not None else "not stated"))
    return rows


def _suffix(key: str) -> str:
    return next((suffix for suffix in _UNITS if key.endswith(suffix)), "")


def _split_unit(key: str) -> tuple[str, str]:
    suffix = _suffix(key)
    return (key[: -len(suffix)], _UNITS[suffix]) if suffix else (key, "")


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_format(item) for item in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{label} {text}" for label, text in flatten(value)) or "none"
    return _printable(str(value))


def _printable(text: str) -> str:
    """Text of a file without what would steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def run_header(report: dict[str, Any]) -> list[str]:
    """Lines that say which run this is, from its report."""
    lines = [
        ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
        f"model {report['model']} (sha256 {report['sha256']}), {report['kind']}, stride {report['stride_fs']:g} fs, "
        f"on {report['device']}, threads {report['threads']} ({report['threads_source']})",
        f"kernels {report['kernels']}",
        f"momenta {report['momenta']}",
        f"thermostat {_thermostat(report)}",
        f"barostat {_barostat(report)}",
        f"Metropolis test {_switch(report['metropolis'])}; random rotation {_switch(report['random_rotation'])}",
        f"energy rescaling {report['rescale_energy'] or 'off'}",
        f"guard {report['guard']}",
        f"seed {report['seed']}, replica {report['replica']}",
    ]
    if report["energy_model"] is not None:
        sha256 = report["energy_model_sha256"]
        without = "" if report["has_virial"] else ", without a stress: no pressure"
        lines.insert(2, f"energy model {report['energy_model']}" + (f" (sha256 {sha256})" if sha256 else "") + without)
    return lines


def _thermostat(report: dict[str, Any]) -> str:
    thermostat = report["thermostat"]
    return "none" if thermostat is None else f"{thermostat} at {report['temperature_K']:g} K"


def _barostat(report: dict[str, Any]) -> str:
    barostat = report["barostat"]
    return "none" if barostat is None else f"{barostat} at {report['pressure_bar']:g} bar"


def _switch(on: bool) -> str:
    return "on" if on else "off"


def summary(trajectory: Trajectory) -> str:
    """What a run did, in a few lines: strides, time, speed, temperatures, energy change, density and pressure."""
    report = trajectory.report
    rows = [
        ("model", f"{report['model']}, stride {report['stride_fs']:g} fs, on {report['device']}"),
        ("strides", f"{report['steps']}"),
        ("simulated", f"{_simulated_ps(report):g} ps in {report['seconds']:.1f} s"),
        ("speed", f"{report['ns_per_day']:.3g} ns/day, network {_share(report, 'seconds_network')} of the time"),
        ("momenta", report["momenta"]),
        *_temperature_rows(trajectory),
        *_energy_rows(trajectory),
        *_volume_rows(trajectory),
        *_metropolis_rows(report),
        *_guard_rows(report),
        ("seed", f"{trajectory.seed}"),
    ]
    return table(rows)


def summary_figures(trajectory: Trajectory) -> dict[str, Any]:
    """The summary as plain data: the report, and means of the second half with their standard errors."""
    series: dict[str, F64 | None] = {f"T_{name}_K": values for name, values in trajectory.temperature_K.items()}
    series |= {"density_g_per_cm3": trajectory.density_g_per_cm3, "pressure_bar": trajectory.pressure_bar}
    known = {name: values for name, values in series.items() if values is not None and len(values)}
    means = {name: mean_and_error(second_half(values)) for name, values in known.items()}
    return {
        "report": _plain(trajectory.report),
        "frames": len(trajectory.times_ps),
        "means": {name: _plain({"mean": mean, "standard_error": error}) for name, (mean, error) in means.items()},
    }


def _plain(value: Any) -> Any:
    """Something as JSON takes it: numbers that are none become null."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _plain(value.as_dict()) if hasattr(value, "as_dict") else str(value)


def _metropolis_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """How many strides stood, where they were tested."""
    moves = report["statistics"]["metropolis"]
    if not moves or not moves["tried"]:
        return []
    return [("accepted", f"{100 * moves['accepted'] / moves['tried']:.1f} % of the strides")]


def _guard_rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What was out of bounds, where anything was."""
    guard = report["statistics"]["guard"]
    if not guard or not guard["strides"]:
        return []
    found = ", ".join(f"{quantity} in {count}" for quantity, count in guard["strides"].items())
    fallen = f"; {guard['fallback_strides']} by velocity Verlet" if guard["fallback_strides"] else ""
    return [("guard", f"strides out of bounds: {found}{fallen}")]


def _simulated_ps(report: dict[str, Any]) -> float:
    """Simulated time of this call, which may have gone on from a checkpoint, ps."""
    return float(report["steps"] * report["stride_fs"] / 1000.0)


def _share(report: dict[str, Any], part: str) -> str:
    return f"{100 * report[part] / report['seconds']:.0f} %" if report["seconds"] > 0 else "–"


def second_half(values: Any) -> Any:
    """The part of a series that is averaged: its second half."""
    return values[len(values) // 2 :]


def _temperature_rows(trajectory: Trajectory) -> list[tuple[str, str]]:
    target = trajectory.report["temperature_K"]
    rows: list[tuple[str, str]] = []
    if not len(trajectory):
        return rows
    for name, values in trajectory.temperature_K.items():
        mean = float(np.mean(second_half(values)))
        # A species that cannot move has no temperature to compare.
        wanted = "" if target is None or mean == 0.0 else f" (target {target:g} K, {mean - target:+.1f})"
        rows.append((f"T {'all' if name == 'total' else name}", f"{mean:.1f} K{wanted}"))
    rows[0] = (rows[0][0], f"{rows[0][1]}, mean of the second half")
    return rows


def _volume_rows(trajectory: Trajectory) -> list[tuple[str, str]]:
    """Density and pressure, where there is a volume."""
    density, pressure, report = trajectory.density_g_per_cm3, trajectory.pressure_bar, trajectory.report
    if density is None:
        return []
    fixed = f"{density[-1]:.4g} g/cm³"
    rows = [("density", fixed if report["barostat"] is None else _mean_text(density, "g/cm³"))]
    if pressure is not None:
        rows.append(("pressure", _mean_text(pressure, "bar")))
    elif report["energy_model"] is not None:
        rows.append(("pressure", f"not known: {report['energy_model']} gives no stress"))
    return rows


def _mean_text(series: F64, unit: str) -> str:
    """Mean of the second half, to the digits of its standard error, where that can be told."""
    mean, error = mean_and_error(second_half(series))
    if error is None:
        return f"{mean:.4g} {unit}, mean of the second half, too short to tell its error"
    digits = min(max(0, 1 - math.floor(math.log10(error))), 6) if error > 0 else 3
    return f"{mean:.{digits}f} ± {error:.{digits}f} {unit}, mean of the second half"


def _energy_rows(trajectory: Trajectory) -> list[tuple[str, str]]:
    """The energy that should stay: the total in NVE, less the heat of the bath with a thermostat."""
    bath = trajectory.report["thermostat"] is not None
    values = trajectory.conserved_energy if bath else trajectory.total_energy
    if values is None or len(values) < 2:
        return []
    time_ps = trajectory.times_ps[-1] - trajectory.times_ps[0]
    change = float(values[-1] - values[0])
    per_atom = 1000.0 * change / len(trajectory.frames[0]) / time_ps
    text = f"changed by {change:+.4g} eV ({per_atom:+.3g} meV/atom/ps)"
    return [("conserved energy" if bath else "total energy", text)]
