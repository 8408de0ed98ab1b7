"""The command line says what it can do."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from typer.testing import CliRunner

from flashmd_train.cli import app


def test_help_lists_every_step() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("generate", "check", "structure", "direct", "energy", "export"):
        assert command in result.output


def test_the_page_names_every_command() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text().split("## flashmd-train")[1]
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| `")]
    named = {name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(typer.main.get_command(app).commands) == named - {"CONFIG"}
