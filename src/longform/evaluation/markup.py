"""HTML and SVG as trees, so that no text of a user can become markup: the serializer escapes all.

Knows nothing of evaluations.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

Child = Element | str | None
"""What stands in an element; None stands for nothing."""

Attribute = str | int | float


def element(tag: str, *children: Child, **attributes: Attribute) -> Element:
    """Build an element.

    Args:
        tag: Name of the element.
        children: Elements and texts, in order.
        attributes: Named as in HTML; an underscore at the end is dropped and others become
            hyphens (`class_`, `text_anchor`). Fractions are rounded to what a screen can show.
    """
    node = Element(tag)
    for name, value in attributes.items():
        text = f"{value:.2f}" if isinstance(value, float) else str(value)
        node.set(name.rstrip("_").replace("_", "-"), text)
    append(node, children)
    return node


def append(node: Element, children: Iterable[Child]) -> None:
    """Add children at the end of an element."""
    for child in children:
        if child is None:
            continue
        if not isinstance(child, str):
            node.append(child)
        elif len(node):
            node[-1].tail = (node[-1].tail or "") + child
        else:
            node.text = (node.text or "") + child


def svg(
    width: float, height: float, title: str, *children: Child, least_width: float = 0
) -> Element:
    """Build a drawing that shrinks with the page but never grows beyond its size in pixels.

    Args:
        width: In pixels.
        height: In pixels.
        title: What it shows, for those who do not see it.
        children: Its content.
        least_width: Pixels below which it is scrolled rather than shrunk.
    """
    # viewBox is written in camel case in HTML too.
    limits = f"max-width:{width:.0f}px;min-width:{least_width:.0f}px"
    drawing = element("svg", *children, role="img", style=limits)
    drawing.set("viewBox", f"0 0 {width:.0f} {height:.0f}")
    drawing.set("aria-label", title)
    return drawing


def render_page(root: Element) -> bytes:
    """Return an HTML document in UTF-8. Halves of characters become question marks."""
    body = tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{body}\n".encode("utf-8", "replace")


def display_width(text: str) -> int:
    """Return the columns that a text takes, counting Chinese characters as two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shorten(text: str, columns: int) -> str:
    """Cut the middle out of a text that is wider than `columns`; names often differ at the end."""
    if display_width(text) <= columns:
        return text
    end = _cut(text[::-1], (columns - 1) // 3)[::-1]
    return _cut(text, columns - 1 - display_width(end)) + "…" + end


def _cut(text: str, columns: int) -> str:
    width = 0
    for place, character in enumerate(text):
        width += display_width(character)
        if width > columns:
            return text[:place]
    return text
