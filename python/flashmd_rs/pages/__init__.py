"""Pages as one HTML file each, which opens from disk without a network: text, pictures and a 3-D view."""

from flashmd_rs.pages.html import write_html
from flashmd_rs.pages.view import View, view_of

__all__ = ["View", "view_of", "write_html"]
