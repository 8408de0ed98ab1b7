"""``flashmd-rs evaluate``: integrators side by side, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    integrators: Annotated[
        list[str],
        typer.Argument(
            help="What is compared: a model file or bundled name; MODEL:POLICY with energy rescaling (global, species "
            "or molecule) or with a Metropolis test (metropolis); verlet:FS; respa:FS (bonds every 0.5 fs)."
        ),
    ],
    folder: Annotated[Path, typer.Option(help="Folder of the runs and the page; a rerun continues.")] = Path(
        "evaluation"
    ),
    system: Annotated[Literal["water", "aluminium"], typer.Option(help="Flexible TIP3P, or ASE's EMT.")] = "water",
    size: Annotated[int | None, typer.Option(help="Molecules or cells.", show_default="the system's own")] = None,
    temperature_k: Annotated[float, typer.Option(help="Temperature of the starts and of the weak bath, K.")] = 300.0,
    nve_ps: Annotated[float, typer.Option(help="Length of a run without a bath, ps; 0 for none.")] = 20.0,
    nvt_ps: Annotated[
        float, typer.Option(help="Length of a run in a Langevin bath with a time constant of 1 ps, ps; 0 for none.")
    ] = 0.0,
    seeds: Annotated[int, typer.Option(help="Runs from different starts.")] = 1,
    equilibration_ps: Annotated[float, typer.Option(help="In the reference's own bath before each start, ps.")] = 15.0,
    workers: Annotated[int, typer.Option(help="Processes, of one thread each.")] = 2,
) -> None:
    """Compare models and integrators by the reference's energies: drift, equipartition, structure, motion, cost."""
    from flashmd_rs.errors import FlashMDError, InputError

    try:
        from flashmd_rs.evaluation import evaluate as evaluation
        from flashmd_rs.evaluation.protocol import EvaluationProtocol
    except ImportError as error:
        raise FlashMDError(str(error)) from None
    protocol = EvaluationProtocol(system, size, temperature_k, nve_ps, nvt_ps, seeds, equilibration_ps)
    try:
        typer.echo(evaluation.evaluate(integrators, protocol, folder, workers))
    except ValueError as error:
        raise InputError(str(error)) from None
