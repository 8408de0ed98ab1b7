"""Markdown as one HTML file that holds its pictures: it opens from disk, and asks no network for anything."""

from __future__ import annotations

import base64
import re
from html import unescape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from markdown import Markdown

from flashmd_rs.writers.atomic_write import atomic_write

if TYPE_CHECKING:
    from flashmd_rs.pages.view import View

# A paragraph that says where the view goes.
VIEW = "[view]"

_TEMPLATE = Path(__file__).with_name("page.html")


def write_html(text: str, path: Path, pictures: Path, view: View | None = None, prefix: str = "") -> None:
    """Write a page.

    HTML in the text is shown, not used, and links lead nowhere but to the web and to neighbours of the page: names and
    labels come from files of others.

    Args:
        text: Markdown, with tables; its first line is the title.
        path: HTML file, replaced if it exists.
        pictures: folder of the PNG files that the text names.
        prefix: what the names of these files begin with, and those in the text do not.
        view: a 3-D view in the place of the paragraph :data:`VIEW`, or None.

    Raises:
        OSError: a picture cannot be read, or the page not written.
    """
    body = _converter().convert(text)
    body = re.sub(r'src="([\w.+-]+\.png)"', lambda found: f'src="{_inlined(pictures / f"{prefix}{found[1]}")}"', body)
    body = re.sub(r' href="([^"]*)"', lambda found: found[0] if _leads_to_pages(unescape(found[1])) else "", body)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    title = re.sub(r"<[^>]*>", "", body.partition("</h1>")[0])
    if view is not None:
        body = body.replace(f"<p>{VIEW}</p>", view.html(), 1)
    page = Template(_TEMPLATE.read_text()).substitute(title=title, body=body)
    with atomic_write(path) as temporary:
        temporary.write_text(page)


def cell(text: object) -> str:
    """Text of a file or a user as it is, for a cell of a table: nothing in it is Markdown."""
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|-])", r"\\\1", " ".join(str(text).split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _converter() -> Markdown:
    """Markdown with tables and without HTML of its own."""
    converter = Markdown(extensions=["tables"])
    converter.preprocessors.deregister("html_block")
    converter.inlinePatterns.deregister("html")
    return converter


def _leads_to_pages(address: str) -> bool:
    """True for addresses of the web and relative ones."""
    return address.startswith(("https://", "http://")) or not re.search(r"[:\x00-\x20]", address)


def _inlined(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
