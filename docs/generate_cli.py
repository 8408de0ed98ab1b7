"""Writes reference/cli.md from the help of the command itself: ``python docs/generate_cli.py``.

A test holds the page to what the command accepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from flashmd_rs.cli.app import TRAINING

PAGE = Path(__file__).parent / "reference" / "cli.md"

HEAD = """# Command line

Every command of `flashmd-rs` and its options, from the command's own help (this page is written by `python
docs/generate_cli.py`), and the commands of `flashmd-train`.

Errors are one line on standard error. `FLASHMD_TRACEBACK=1` shows where an unexpected one came from.

| exit code | |
|---|---|
| 0 | done |
| 1 | an error: bad input, an unstable run, a file that cannot be written |
| 2 | the command was wrong: an option or an entry of `--config` that does not exist, or a value it cannot have |
| 75 | the wall time was over: saved, to be gone on with |
| 130, 143 | Ctrl-C, SIGTERM |
"""

TAIL = """## flashmd-train

Comes with `pip install . ./training`; `flashmd-train COMMAND --help` prints all options.

| command | does |
|---|---|
| `fit RUN` | from a potential to a model with its card ([how](../how-to/own-system.md)) |
| `generate OUTPUT.h5` | simulates a reference system and stores NVE segments, on all cores or a Dask cluster |
| `check DATA.h5` | tests whether data is fit for training: forces, drift, Maxwell–Boltzmann, spacing |
| `structure OUTPUT.extxyz` | writes an equilibrated structure with momenta |
| `label FRAMES OUTPUT.h5` | simulates a segment from each frame |
| `frames DATA.h5 OUTPUT.extxyz` | writes stored segments as frames for `mtt train` |
| `config KIND` | prints every setting of a training run, with its default and its meaning |
| `bonded DATA.h5 …` | prints the bonds and angles of molecules, fitted to forces, for settings of `splitting` |
| `direct`, `splitting`, `energy`, `action` `CONFIG RUN` | trains a model of that kind |
| `export RUN OUTPUT.onnx` | exports a run to the model contract, with figures measured on held-out data |
| `pressure MODEL OUTPUT.onnx` | compares an energy model's pressures with its reference's, sets its mean field |
| `restamp MODEL` | changes the metadata of a file |
| `ranking MODEL` | prints whether a model's uncertainty ranks its errors |
| `study FOLDER` | repeats the [water study](../validation/study/report.md) |
| `active CONFIG FOLDER` | runs the [active learning experiment](../validation/active.md) |
| `learning-curve CONFIG TEST FOLDER` | error by number of segments ([page](../validation/pet.md)) |
| `networks FOLDER` | networks side by side on the same data in the same time |
| `against-metatrain DATA TEST FOLDER` | trains PET here and by `mtt train` ([page](../validation/pet.md)) |
"""


def commands() -> dict[str, Any]:
    """The commands of ``flashmd-rs`` by name."""
    from flashmd_rs.cli import app

    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def page(found: dict[str, Any]) -> str:
    """The page as Markdown."""
    sections = [
        _section(name, command) for name, command in found.items() if name not in TRAINING
    ]
    return "\n".join([HEAD, *sections, _TRAINING, TAIL])


_TRAINING = """## flashmd-rs convert

Import a metatrain checkpoint: `flashmd-rs convert CHECKPOINT --output MODEL.onnx [--weights best|last]`. It
comes with `pip install . './training[convert]'`; see [Import a model from metatrain](../how-to/metatrain.md).

## flashmd-rs domain

Give a model without a domain that of your structures: `flashmd-rs domain MODEL FRAMES … --output OUT.onnx`. It
comes with `pip install . ./training`; see [Universal models](../how-to/universal-models.md#a-domain-for-the-guard).

## flashmd-rs fetch

Download and convert a universal model: `flashmd-rs fetch MODEL [--stride-fs 16] [--revision main]`. It comes with
`convert`; see [Universal models](../how-to/universal-models.md).
"""


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    text = " ".join((command.help or "").split())
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    usage = " ".join(
        ["flashmd-rs", name, *(p.name.upper() for p in arguments), "[OPTIONS]"]
    )
    rows = [_row(parameter, context) for parameter in command.params]
    table = (
        ["| option | value | default | meaning |", "|---|---|---|---|", *rows]
        if rows
        else []
    )
    return "\n".join(
        [f"## flashmd-rs {name}", "", text, "", f"    {usage}", "", *table, ""]
    )


def _row(parameter: Any, context: Any) -> str:
    """One parameter, taken from what ``--help`` prints of it: ``--name <value>``, ``meaning  [default: (value)]``."""
    name, text = (
        " ".join(part.split())
        for part in parameter.get_help_record(context) or (parameter.name, "")
    )
    name, _, value = name.partition(" <")
    text, _, note = text.replace("[required]", "[default: required]").partition(
        "[default: "
    )
    values = (
        ", ".join(f"`{word}`" for word in value.rstrip(">").split("|")) if value else ""
    )
    shown = name if name.startswith("-") else parameter.name.upper()
    default = note.rstrip("]").removeprefix("(").removesuffix(")")
    return (
        f"| `{shown}` | {values} | {default} | {text.strip().replace('|', chr(92) + '|')} |"
    )


if __name__ == "__main__":
    PAGE.write_text(page(commands()))
