"""The Pareto picture: quality against the cost of an answer, as SVG in the page's colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.markup import element, svg
from longform.search.bakeoff.contenders import MAJORITY
from longform.search.bakeoff.result import Row
from longform.search.bakeoff.statistics import Metric
from longform.search.charts import limits_of, log_ticks, text_at

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 1_000, 380, 52, 150, 16
_FIELD = _WIDTH - _LEFT - _RIGHT
_NAME_HEIGHT = 14


def draw_front(rows: Sequence[Row], metric: Metric, reference: str) -> Element:
    """Draw each contender at its cost and figure, with the interval of its gap to the reference.

    The whisker of a contender is its figure with the 95 % interval of the paired difference: where
    it crosses the line of the reference, the two are not told apart.

    Args:
        rows: The contenders; those without cost or figure, and the majority, are left out.
        metric: What goes up.
        reference: Name of the one that gaps are to.
    """
    shown = [row for row in rows if row.splits and row.document_ms and row.name != MAJORITY]
    if not shown:
        return element("p", "Nothing was measured.", class_="note")
    ends = {row.name: _ends(row, metric) for row in shown}
    low, high = limits_of([end for pair in ends.values() for end in pair])
    costs = [row.document_ms or 1.0 for row in shown]
    left, right = math.log(min(costs) / 1.5), math.log(max(costs) * 1.5)

    def across(cost: float) -> float:
        return _LEFT + _FIELD * (math.log(cost) - left) / (right - left)

    def up(value: float) -> float:
        return _TOP + _HEIGHT * (high - value) / (high - low)

    parts = _scales(low, high, (math.exp(left), math.exp(right)), across, up)
    for row in shown:
        if row.name == reference:
            y = up(row.figure(metric))
            parts.append(
                element("line", class_="reference", x1=_LEFT, x2=_LEFT + _FIELD, y1=y, y2=y)
            )
    front = sorted((row for row in shown if row.is_front), key=lambda row: row.document_ms or 0.0)
    if len(front) > 1:
        places = [f"{across(r.document_ms or 1.0):.1f} {up(r.figure(metric)):.1f}" for r in front]
        parts.append(element("path", d=f"M{'L'.join(places)}", class_="course"))
    names: list[tuple[float, float]] = []
    for row in sorted(shown, key=lambda row: (row.name != reference, -row.figure(metric))):
        x, y = across(row.document_ms or 1.0), up(row.figure(metric))
        bottom, top = ends[row.name]
        whisker = {"x1": x, "x2": x, "y1": up(bottom), "y2": up(top)}
        parts.append(element("line", class_="whisker", **whisker))
        parts.append(_mark(row, metric, reference, (x, y)))
        place = _free_place(x, y, names)
        parts.append(text_at(row.name, place[0] + 10, place[1] + 4, "tick"))
    parts.append(
        text_at(
            "milliseconds a document, logarithmic",
            _LEFT + _FIELD / 2,
            _TOP + _HEIGHT + 38,
            "axis middle",
        )
    )
    title = "Quality against the cost of an answer"
    return svg(_WIDTH, _TOP + _HEIGHT + 46, title, *parts, least_width=640)


def _ends(row: Row, metric: Metric) -> tuple[float, float]:
    value, gap = row.figure(metric), row.gaps.get(metric)
    if gap is None:
        return value, value
    return max(0.0, value - gap.value + gap.low), min(1.0, value - gap.value + gap.high)


def _scales(
    low: float, high: float, costs: tuple[float, float], across: object, up: object
) -> list[Element]:
    assert callable(across)
    assert callable(up)
    parts = [element("rect", class_="field", x=_LEFT, y=_TOP, width=_FIELD, height=_HEIGHT)]
    for step in range(5):
        value = low + (high - low) * step / 4
        line = {"x1": _LEFT, "x2": _LEFT + _FIELD, "y1": up(value), "y2": up(value)}
        parts.append(element("line", class_="grid", **line))
        parts.append(text_at(f"{100 * value:.0f}%", _LEFT - 8, up(value) + 4, "tick end"))
    for tick in log_ticks(*costs):
        x = across(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=_TOP, y2=_TOP + _HEIGHT + 4))
        parts.append(text_at(f"{tick:g}", x, _TOP + _HEIGHT + 18, "tick middle"))
    return parts


def _mark(row: Row, metric: Metric, reference: str, place: tuple[float, float]) -> Element:
    x, y = place
    told = f"{row.name}: {percent(row.figure(metric))}, {row.document_ms:,.3g} ms a document"
    title = element("title", told)
    if row.name == reference:
        return element("rect", title, class_="start", x=x - 6, y=y - 6, width=12, height=12)
    kind = "dot" if row.is_front else "hollow"
    return element("circle", title, class_=kind, cx=x, cy=y, r=6 if row.is_front else 4)


def _free_place(x: float, y: float, taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Return a height near `y` at which a name hides no other one."""
    for step in range(40):
        offset = _NAME_HEIGHT * ((step + 1) // 2) * (-1 if step % 2 else 1)
        free = all(
            abs(y + offset - other_y) >= _NAME_HEIGHT or abs(x - other_x) > _RIGHT - 20
            for other_x, other_y in taken
        )
        if free and _TOP <= y + offset <= _TOP + _HEIGHT:
            taken.append((x, y + offset))
            return x, y + offset
    return x, y
