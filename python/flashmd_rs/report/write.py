"""The page of a run, put together from its sections."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flashmd_rs.errors import InputError
from flashmd_rs.pages import view_of, write_html
from flashmd_rs.pages.html import VIEW, cell
from flashmd_rs.pages.sample import Sample
from flashmd_rs.pages.view import INSTALL
from flashmd_rs.report import measured, settings
from flashmd_rs.writers.files import check_replaceable

if TYPE_CHECKING:
    from flashmd_rs.trajectory import Trajectory


def write_report(run: Trajectory, path: str | os.PathLike[str], *, command: str | None = None) -> Path:
    """Write the report of a run: one HTML file that opens from disk, and its pictures as PNG files beside it.

    Means are of the second half of the run. ± is half of the 95 % confidence interval, from the integrated correlation
    time (:func:`flashmd_rs.analysis.mean_and_error`) or from ten blocks; where it is not told the run is too short.

    Args:
        run: what :func:`flashmd_rs.rollout` returns or :func:`read_run` reads.
        path: ``.html`` file, replaced if it exists; pictures are ``<name>-….png``.
        command: the command that made the run, if it is known.

    Returns:
        The path of the page.

    Raises:
        InputError: another suffix, or a run without frames.
        OSError: a file cannot be written.
    """
    target = check_page(path)
    if not len(run):
        raise InputError("the run has no frames: a report needs one at least")
    sample = Sample.of(run.frames, run.times_ps)
    view = view_of(sample.frames, sample.times_ps, sample.formula)
    shown = f"Not here: chemiscope is not installed. `{INSTALL}`" if view is None else VIEW
    sections = [
        settings.run_section(run, command),
        measured.temperatures(run),
        measured.energies(run),
        measured.volume(run),
        measured.time_pictures(run, target),
        measured.momenta(run, sample, target),
        measured.structure(sample, target),
        measured.motion(sample, target),
        measured.speed(run),
        measured.violations(run),
        f"## In three dimensions\n\n{shown}",
        settings.model_section(run),
    ]
    title = f"# {cell(run.report.get('model', 'Run'))}: {sample.formula}, {run.times_ps[-1]:g} ps"
    text = "\n\n".join([title, *(section for section in sections if section)])
    write_html(text, target, target.parent, view, prefix=f"{target.stem}-")
    return target


def check_page(path: str | os.PathLike[str]) -> Path:
    """The path of a page, which must be one that can be written.

    Raises:
        InputError: another suffix than ``.html``.
        OSError: its folder is missing or cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"got {target} for a report, wanted a name that ends in .html")
    check_replaceable(target, "report")
    return target
