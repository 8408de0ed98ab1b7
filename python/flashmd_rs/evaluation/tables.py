"""Pieces of a Markdown page: tables, paragraphs, and how long runs were stable."""

from __future__ import annotations

import textwrap
from collections import Counter


def paragraph(*parts: str) -> str:
    """Sentences, wrapped."""
    return textwrap.fill(" ".join(parts), 118)


def row(*cells: object) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(*cells: str) -> list[str]:
    """The first two lines of a table."""
    return [row(*cells), row(*["---"] * len(cells))]


def completed(case: dict) -> bool:
    """Whether a run came to its end, sound."""
    return not case["exploded"] and not case.get("stopped")


def stable_until(case: dict) -> str:
    """How long a run was sound, ps."""
    return f"{case['time_ps']:.1f}, end" if completed(case) else f"{case['stable_ps']:.1f}"


def stable_until_each(cases: list[dict]) -> str:
    """The same of several, equal ones counted."""
    return "; ".join(text if n == 1 else f"{n} × {text}" for text, n in Counter(map(stable_until, cases)).items())
