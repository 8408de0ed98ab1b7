"""``flashmd-rs doctor``: what this installation found, and why; what to run where something is missing."""

from __future__ import annotations

import os
import platform

import typer

from flashmd_rs import _core, _threads
from flashmd_rs import _runtime_library as library
from flashmd_rs.bundled import bundled
from flashmd_rs.describe import table, versions
from flashmd_rs.errors import RuntimeLibraryError


def doctor() -> None:
    """Print what this installation found, and why."""
    text, usable = diagnose()
    typer.echo(text)
    if not usable:
        raise typer.Exit(1)


def diagnose() -> tuple[str, bool]:
    """The report, and whether a run can work."""
    runtime_rows, usable = _runtime_rows()
    names, threads, known = bundled(), _threads.choose(None), _core.kernel_version()
    sections = {
        "This machine": [
            ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
            ("processors", f"{os.cpu_count()}, {_core.available_processors()} for this process"),
            *[(variable, os.environ.get(variable) or "not set") for variable in _threads.ENVIRONMENT_VARIABLES],
            ("threads", f"{threads.count} ({threads.source})"),
            ("kernels", "not for this processor" if known is None else f"version {known[0]} ({known[1]})"),
            *versions().items(),
        ],
        "ONNX Runtime": runtime_rows,
        "Bundled": [(kind, ", ".join(found) or "none") for kind, found in names.items()],
        "To use an NVIDIA GPU, run these two lines": [(str(k), line) for k, line in enumerate(library.GPU_INSTALL, 1)],
    }
    return "\n\n".join(f"{title}\n{_indented(rows)}" for title, rows in sections.items()), usable


def _indented(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"  {line}" for line in table(rows).splitlines())


def _state(wheel: library.Wheel) -> str:
    if not wheel.damaged:
        return "complete" if wheel.libraries else "without a library of its own, as built for conda or for a system"
    state = f"overwritten by another wheel or incomplete: {', '.join(wheel.damaged)}"
    expected = wheel.name == "onnxruntime" and library.gpu_wheel() is not None
    return f"{state} (as it should be beside onnxruntime-gpu)" if expected else f"{state}; mend with `{wheel.mend}`"


def _runtime_rows() -> tuple[list[tuple[str, str]], bool]:
    rows = [(variable, os.environ.get(variable) or "not set") for variable in library.ENVIRONMENT_VARIABLES]
    rows += [(f"wheel {wheel.name}", f"{wheel.version}, {_state(wheel)}") for wheel in library.wheels()]
    try:
        chosen = library.find_library()
        info = library.open_library()
    except RuntimeLibraryError as error:
        return [*rows, ("library", f"not usable: {error}")], False
    obstacle = library.cuda_obstacle(info)
    return [
        *rows,
        ("library", info["path"]),
        ("chosen because", chosen.reason),
        ("version", info["version"]),
        ("providers", ", ".join(info["providers"])),
        ("telemetry", "off (ORT_DISABLE_TELEMETRY=1)"),
        ("device cpu", "usable"),
        ("device cuda", "usable" if obstacle is None else f"not usable: {obstacle}"),
    ], True
