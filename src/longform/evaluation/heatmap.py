"""The confusion matrix as a picture, or as a list of its worst cells when it has too many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from longform.evaluation.markup import display_width, element, shorten, svg
from longform.types import Integers

MAX_CLASSES = 30
"""Most classes of which a matrix can still be read."""

_PLOT_WIDTH = 720
_SMALLEST_CELL, _LARGEST_CELL = 24, 72
_LABEL_COLUMNS = 22
_COLUMN_WIDTH = 7.2
"""Pixels that half a Chinese character takes in the labels' type size."""
_STRONG = 0.55
"""Opacity from which a number on the colour must be light."""


def draw_confusion(matrix: Integers, names: Sequence[str]) -> Element:
    """Draw a heat map: a row for each true class, a column for each predicted one.

    Args:
        matrix: int64 `[true class, predicted class]`, number of documents.
        names: Names of the classes, at most `MAX_CLASSES`.
    """
    classes = len(names)
    cell = min(_LARGEST_CELL, max(_SMALLEST_CELL, _PLOT_WIDTH // classes))
    short = [shorten(name, _LABEL_COLUMNS) for name in names]
    reach = max(display_width(name) for name in short) * _COLUMN_WIDTH
    left = reach + 42
    # Names of columns lean to the right, over the edge of the last one.
    lean = reach * math.cos(math.pi / 4)
    top = lean + 40
    parts: list[Element] = []
    for number, (name, full) in enumerate(zip(short, names, strict=True)):
        middle = cell * (number + 0.5)
        down = element("text", element("title", full), class_="name end")
        across = element("text", element("title", full), class_="name start")
        down.set("x", f"{left - 8:.1f}")
        down.set("y", f"{top + middle + 4:.1f}")
        across.set("transform", f"translate({left + middle + 2:.1f} {top - 8:.1f}) rotate(-45)")
        down[0].tail = across[0].tail = name
        parts += [down, across]
        parts += _draw_row(matrix[number].tolist(), number, names, (left, top, cell))
    side = cell * classes
    parts += [
        element("text", "predicted", class_="axis middle", x=left + side / 2, y=16),
        element(
            "text",
            "true",
            class_="axis middle",
            transform=f"translate(14 {top + side / 2:.1f}) rotate(-90)",
        ),
    ]
    width = left + side + lean + 6
    return svg(width, top + side + 4, "Confusion matrix", *parts, least_width=0.75 * width)


def _draw_row(
    counts: list[int], row: int, names: Sequence[str], place: tuple[float, float, int]
) -> list[Element]:
    left, top, cell = place
    total = sum(counts)
    y = top + cell * row
    parts: list[Element] = []
    for column, count in enumerate(counts):
        x = left + cell * column
        is_right = column == row
        box = {"x": x + 0.5, "y": y + 0.5, "width": cell - 1, "height": cell - 1, "rx": 2}
        if not count:
            parts.append(element("rect", class_="empty own" if is_right else "empty", **box))
            continue
        # A root lifts the few mistakes of a large class out of the background.
        depth = 0.12 + 0.88 * math.sqrt(count / total)
        told = f"{names[row]} → {names[column]}: {count:,} of {total:,}"
        kind = "right" if is_right else "wrong"
        shade = element("rect", element("title", told), class_=kind, **box)
        shade.set("fill-opacity", f"{depth:.2f}")
        weight = "cell strong middle" if depth > _STRONG else "cell middle"
        size = min(13.0, 1.45 * cell / len(str(count)))
        label = element("text", str(count), class_=weight, x=x + cell / 2, y=y + cell / 2 + 4)
        label.set("style", f"font-size:{size:.1f}px")
        parts += [shade, label]
    return parts
