"""The command ``flashmd-rs``, put together from its commands and from those that other packages bring."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from flashmd_rs.cli import bench, demo, doctor, evaluate, info, report, resume, run
from flashmd_rs.cli.errors import plainly
from flashmd_rs.cli.grouped_help import GroupedCommand

# Other packages add commands here: name = "module:function", a function as Typer takes it.
COMMANDS = "flashmd_rs.commands"

app = typer.Typer(
    name="flashmd-rs",
    help="Molecular dynamics in the long strides of a learned model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut the names of long flags off
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(shown: bool) -> None:
    if shown:
        from flashmd_rs import __version__

        typer.echo(f"flashmd-rs {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Molecular dynamics in the long strides of a learned model."""


def convert(context: typer.Context) -> None:
    """Import a metatrain checkpoint as a model file; needs the training package."""
    from flashmd_rs.errors import FlashMDError

    raise FlashMDError(
        "convert needs the training package; from a clone of this repository: pip install . './training[convert]'"
    )


def _add_commands() -> None:
    for command in (run.run, resume.resume):
        app.command(cls=GroupedCommand)(plainly(command))
    for command in (report.report, info.info, evaluate.evaluate, bench.bench, doctor.doctor, demo.demo):
        app.command()(plainly(command))
    brought = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    for name, entry in sorted(brought.items()):
        app.command(name)(plainly(entry.load()))
    if "convert" not in brought:
        anything: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
        app.command(context_settings=anything)(plainly(convert))


_add_commands()
