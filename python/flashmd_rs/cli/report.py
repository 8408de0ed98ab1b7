"""``flashmd-rs report``: one HTML page of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Checkpoint of a run that wrote a trajectory, or a trajectory.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file; pictures go beside it.", show_default="RUN-report.html"),
    ] = None,
    topology: Annotated[
        str | None, typer.Option(help="Structure with the elements of an .xtc or .dcd trajectory.")
    ] = None,
) -> None:
    """Show a finished RUN on one HTML page: settings, temperatures, energies, structure, motion, a 3-D view."""
    from flashmd_rs.report import read_run, write_report

    page = write_report(read_run(run, topology=topology), output or run.with_name(f"{run.stem}-report.html"))
    typer.echo(f"report      {page}")
