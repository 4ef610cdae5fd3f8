"""Drawings of what the doctor found, as SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from longform.data.doctor.headings import Headings
from longform.data.doctor.lengths import Histogram
from longform.evaluation.charts import percent
from longform.evaluation.markup import display_width, element, svg

_WIDTH, _HEIGHT = 520, 190
_LEFT, _TOP = 8, 40
_LABEL_UNIT = 6.6
"""Pixels of half a Chinese character at the size of ticks."""
_BAR_LEFT, _BAR_ROW = 196, 34


def draw_histogram(histogram: Histogram, marks: Sequence[tuple[float, str]], unit: str) -> Element:
    """Draw documents by length on a logarithmic axis.

    Args:
        histogram: Bins that grow by a constant factor.
        marks: Lengths to be drawn as lines, with their names.
        unit: What lengths are counted in.
    """
    low, high = math.log(histogram.edges[0]), math.log(histogram.edges[-1])
    base, reach = _TOP + _HEIGHT, _WIDTH - 2 * _LEFT

    def across(length: float) -> float:
        return _LEFT + reach * (math.log(length) - low) / (high - low)

    most = max(histogram.counts)
    parts: list[Element] = [
        element("rect", class_="field", x=_LEFT, y=_TOP, width=reach, height=_HEIGHT)
    ]
    for tick in _ticks(histogram.edges[0], histogram.edges[-1]):
        place = across(tick)
        parts.append(element("line", class_="grid", x1=place, x2=place, y1=_TOP, y2=base + 4))
        parts.append(_text(f"{tick:,}", place, base + 18, "tick middle"))
    for count, left, right in zip(
        histogram.counts, histogram.edges, histogram.edges[1:], strict=False
    ):
        if not count:
            continue
        height = max(1.5, (_HEIGHT - 6) * count / most)
        told = f"{count:,} with {math.ceil(left):,} to {math.floor(right):,} {unit}"
        x, end = across(left), across(right)
        box = {"x": x + 0.7, "y": base - height, "width": max(end - x - 1.4, 1.0), "height": height}
        parts.append(element("rect", element("title", told), class_="count", rx=1.5, **box))
    parts += _draw_marks(
        [(across(value), name) for value, name in marks if _inside(value, histogram)], base
    )
    parts.append(_text(unit, _WIDTH / 2, base + 38, "axis middle"))
    return svg(_WIDTH, base + 46, f"Documents by length in {unit}", *parts)


def draw_headings(headings: Headings) -> Element:
    """Draw the accuracy that a model reaches on the beginnings and on the rest."""
    rows = (
        ("always the commonest class", headings.majority, "support"),
        ("first line alone", headings.first_line, "wrong"),
        ("first 200 characters", headings.head, "wrong"),
        ("2,000 characters after them", headings.rest, "right"),
    )
    width, length = _WIDTH, _WIDTH - _BAR_LEFT - 56
    parts: list[Element] = []
    for number, (name, share, kind) in enumerate(rows):
        y = _BAR_ROW * number + 8
        parts += [
            _text(name, _BAR_LEFT - 10, y + 14, "tick end"),
            element("rect", class_="field", x=_BAR_LEFT, y=y, width=length, height=20, rx=3),
            element(
                "rect", class_=kind, x=_BAR_LEFT, y=y, width=max(length * share, 1), height=20, rx=3
            ),
            _text(percent(share), width, y + 15, "value end"),
        ]
    height = _BAR_ROW * len(rows) + 8
    return svg(width, height, "Accuracy from the beginning and from the rest", *parts)


def _draw_marks(marks: Sequence[tuple[float, str]], base: float) -> list[Element]:
    """Draw lines with their names above, on two levels where they would touch."""
    parts: list[Element] = []
    ends = [0.0, 0.0]
    for place, name in sorted(marks):
        half = display_width(name) * _LABEL_UNIT / 2
        middle = min(max(place, half), _WIDTH - half)
        level = 0 if middle - half >= ends[0] else 1
        ends[level] = middle + half + 6
        y = _TOP - 8 - 15 * level
        parts += [
            element("line", class_="mark", x1=place, x2=place, y1=y + 4, y2=base),
            _text(name, middle, y, "tick middle"),
        ]
    return parts


def _ticks(low: float, high: float) -> list[int]:
    """Return 1, 2 and 5 times the powers of ten within the range, thinned to eight."""
    powers = range(int(math.log10(max(low, 1))), int(math.log10(high)) + 1)
    ticks = [step * 10**power for power in powers for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    if len(inside) > 8:
        inside = [tick for tick in inside if str(tick)[0] == "1"]
    return inside


def _inside(value: float, histogram: Histogram) -> bool:
    return histogram.edges[0] <= value <= histogram.edges[-1]


def _text(text: str, x: float, y: float, class_: str) -> Element:
    return element("text", text, class_=class_, x=x, y=y)
