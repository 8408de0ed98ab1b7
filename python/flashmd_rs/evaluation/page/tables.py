"""Pieces of a Markdown page: tables, paragraphs, and how long runs were stable."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any


def paragraph(*parts: str) -> str:
    """Sentences as one wrapped paragraph."""
    return textwrap.fill(" ".join(parts), 118)


def row(*cells: object) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), row(*["---"] * len(cells))]


def completed(run: dict[str, Any]) -> bool:
    """True if a run was stable until its planned end."""
    return not run["exploded"] and not run.get("stopped")


def stable_until(run: dict[str, Any]) -> str:
    """How long a run was stable, ps."""
    return f"{run['time_ps']:.1f}, end" if completed(run) else f"{run['stable_ps']:.1f}"


def stable_until_each(runs: list[dict[str, Any]]) -> str:
    """How long several runs were stable; equal times are counted."""
    return "; ".join(text if n == 1 else f"{n} × {text}" for text, n in Counter(map(stable_until, runs)).items())
