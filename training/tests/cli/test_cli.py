"""The command line says what it can do."""

from __future__ import annotations

from typer.testing import CliRunner

from flashmd_train.cli import app


def test_help_lists_every_step() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("generate", "check", "structure", "direct", "energy", "export"):
        assert command in result.output
