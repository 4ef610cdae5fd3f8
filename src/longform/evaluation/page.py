"""What the pages that longform writes have in common: one HTML file that needs nothing beside it.

No script, no font, no network: the policy in its head forbids them even to a text that became
markup. Knows nothing of evaluations.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element

import longform
from longform.errors import InputError
from longform.evaluation.markup import Child, element, render_page

_NOTHING_OUTSIDE = "default-src 'none'; style-src 'unsafe-inline'"


def write_page(path: Path, title: str, *content: Child) -> None:
    """Write a page in the common look.

    Args:
        path: File to write; one that exists is replaced.
        title: Of the window.
        content: What stands in the body.

    Raises:
        InputError: The file cannot be written.
    """
    page = render_page(_build_page(title, content))
    try:
        path.write_bytes(page)
    except OSError as error:
        raise InputError(
            "The report must be written to a file in an existing folder.",
            found=f"{path}: {error.strerror or error}",
            fix="Give the path of a file in a folder in which this user may write.",
        ) from error


def _build_page(title: str, content: tuple[Child, ...]) -> Element:
    style = files("longform.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    policy = element("meta", content=_NOTHING_OUTSIDE)
    policy.set("http-equiv", "Content-Security-Policy")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        policy,
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    return element("html", head, element("body", *content), lang="en")


def page_header(brand: str, title: str, facts: list[str]) -> Element:
    """Build the top of a page: what kind it is, what it is about, and facts in a row."""
    return element(
        "header",
        element("p", brand, class_="brand"),
        element("h1", title, dir="auto"),
        element("p", *(element("span", fact) for fact in facts if fact), class_="facts"),
    )


def page_footer(quotes: bool, *last: Child) -> Element:
    """Build the end of a page.

    Args:
        quotes: Whether the page shows parts of documents.
        last: A line of its own.
    """
    warning = " It quotes documents: treat it as you treat them." if quotes else ""
    return element(
        "footer",
        element("p", f"Written by longform {longform.__version__}.{warning}"),
        element("p", *last) if last else None,
    )


def card(title: str, told: str, *children: Child, class_: str = "") -> Element:
    """Build a section with a title and a line that says what is shown."""
    note = element("p", told, class_="note")
    return element(
        "section", element("h2", title), note, *children, class_=f"card {class_}".strip()
    )


def bar(share: float, kind: str) -> Element:
    """Build a bar that is filled by a share; `kind` is a class of the style sheet."""
    fill = element("span", class_=kind, style=f"width:{100 * share:.2f}%")
    return element("span", fill, class_="bar")


def bar_cell(share: float, text: str, kind: str) -> Element:
    """Build a cell of a table with a figure and its bar."""
    return element("td", element("div", element("span", text), bar(share, kind)), class_="number")


def significant(value: float) -> str:
    """Round to what was measured: three figures at most."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
