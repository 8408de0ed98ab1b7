"""The command ``flashmd-rs``, put together from its commands and from those that other packages bring."""

from __future__ import annotations

from collections.abc import Callable
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


# Commands of the training package, which says in their place that it is missing.
TRAINING = {
    "convert": "Import a metatrain checkpoint as a model file; needs the training package.",
    "domain": "Give a model the domain of structures; needs the training package.",
    "fetch": "Download and convert a universal model; needs the training package.",
}


def _stand_in(name: str) -> Callable[..., None]:
    """The command ``name`` where the package that brings it is not installed."""

    def command(context: typer.Context) -> None:
        from flashmd_rs.errors import FlashMDError

        raise FlashMDError(
            f"{name} needs the training package; from a clone of this repository: pip install . './training[convert]'"
        )

    command.__doc__ = TRAINING[name]
    return command


def _add_commands() -> None:
    for command in (run.run, resume.resume):
        app.command(cls=GroupedCommand)(plainly(command))
    for command in (report.report, info.info, evaluate.evaluate, bench.bench, doctor.doctor, demo.demo):
        app.command()(plainly(command))
    brought = {entry.name: entry for entry in entry_points(group=COMMANDS)}
    for name, entry in sorted(brought.items()):
        app.command(name)(plainly(entry.load()))
    anything: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name in sorted(TRAINING.keys() - brought.keys()):
        app.command(name, context_settings=anything)(plainly(_stand_in(name)))


_add_commands()
