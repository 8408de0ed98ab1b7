"""Pieces of what a notebook shows: tables and pictures as HTML."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(rows: list[tuple[str, str]]) -> str:
    """Names and texts in two columns."""
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table>{cells}</table>"


def figure(drawn: Figure, alt: str) -> str:
    """A picture in the text itself."""
    picture = BytesIO()
    drawn.savefig(picture, dpi=80, format="png")
    inlined = base64.b64encode(picture.getvalue()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{inlined}">'
