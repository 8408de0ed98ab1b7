"""The command ``flashmd-rs``: one file per command, put together in :mod:`flashmd_rs.cli.app`."""

from flashmd_rs.cli.app import app

__all__ = ["app"]
