"""Reports as a single HTML file without other files."""

from export.page.page import Card, Page, Picture, available, render
from export.page.svg import svg

__all__ = ["Card", "Page", "Picture", "available", "render", "svg"]
