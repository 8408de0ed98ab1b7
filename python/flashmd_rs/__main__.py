"""``python -m flashmd_rs`` is the command ``flashmd-rs``."""

from flashmd_rs.cli import app

app()
