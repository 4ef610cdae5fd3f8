"""Drawings of figures, as SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from longform.evaluation.intervals import wilson_interval
from longform.evaluation.markup import element, svg
from longform.evaluation.metrics import CalibrationBin, LengthScores

_ROW = 78
_LENGTH_LEFT, _LENGTH_RIGHT, _LENGTH_WIDTH = 148, 92, 520
_SQUARE, _SQUARE_LEFT, _SQUARE_TOP, _HISTOGRAM = 300, 52, 12, 48


def percent(share: float) -> str:
    """Return a share as people read it. Only a whole is 100%, only nothing is 0%."""
    shown = 100 * share
    if 0 < share < 1:
        shown = min(max(shown, 0.1), 99.9)
    return f"{shown:.1f}%"


def describe_length(scores: LengthScores) -> str:
    """Name a bucket of document length, in tokens."""
    if scores.maximum is None:
        return f"{scores.minimum:,} and more"
    if scores.minimum == 0:
        return f"under {scores.maximum:,}"
    return f"{scores.minimum:,} - {scores.maximum - 1:,}".replace(" - ", "–")


def draw_lengths(buckets: Sequence[LengthScores], overall: float) -> Element:
    """Draw accuracy with its 95 % interval for each bucket of document length.

    Args:
        buckets: Those that have documents.
        overall: Accuracy over all documents, drawn as a line.
    """
    intervals = [wilson_interval(round(b.accuracy * b.documents), b.documents) for b in buckets]
    # Accuracies of good models differ in the last tenth: from 0 on, all would look alike.
    floor = min(0.9, math.floor(10 * min([overall, *(low for low, _ in intervals)])) / 10)
    width, bottom = _LENGTH_WIDTH, _ROW * len(buckets) + 14
    scale = (width - _LENGTH_LEFT - _LENGTH_RIGHT) / (1 - floor)

    def across(share: float) -> float:
        return _LENGTH_LEFT + (share - floor) * scale

    steps = round(10 * (1 - floor))
    # From the right, so that 100% is always named.
    ticks = range(steps, -1, -1 if steps <= 5 else -2)
    grid: list[Element] = []
    for tick in ticks:
        place = across(floor + tick / 10)
        grid.append(element("line", class_="grid", x1=place, x2=place, y1=4, y2=bottom))
        name = f"{100 * floor + 10 * tick:.0f}%"
        grid.append(_text(name, place, bottom + 17, "tick middle"))
    place = across(overall)
    grid.append(element("line", class_="reference", x1=place, x2=place, y1=4, y2=bottom))
    rows: list[Element] = []
    for number, (bucket, (low, high)) in enumerate(zip(buckets, intervals, strict=True)):
        y = _ROW * number + 36
        ends = f"{percent(low)} to {percent(high)}"
        rows += [
            _text(describe_length(bucket), 0, y, "name"),
            _text(_count(bucket.documents), 0, y + 15, "tick"),
            element("line", class_="whisker", x1=across(low), x2=across(high), y1=y, y2=y),
            element(
                "circle",
                element("title", f"{percent(bucket.accuracy)}, 95% interval {ends}"),
                class_="dot",
                cx=across(bucket.accuracy),
                cy=y,
                r=6,
            ),
            _text(percent(bucket.accuracy), width, y + 1, "value end"),
            _text(f"F1 {percent(bucket.macro_f1)}", width, y + 16, "tick end"),
        ]
    return svg(width, bottom + 24, "Accuracy by document length", *grid, *rows)


def draw_reliability(
    bins: Sequence[CalibrationBin], before: Sequence[CalibrationBin] = ()
) -> Element:
    """Draw the share of right answers against the score, above a histogram of the scores.

    A dot on the diagonal is a score that means what it says.

    Args:
        bins: Those that have documents.
        before: Of the scores as they were before calibration; drawn as rings.
    """
    left, top, size = _SQUARE_LEFT, _SQUARE_TOP, _SQUARE
    base, deepest = top + size, top + size + _HISTOGRAM + 14
    parts = [*_draw_square(deepest), *(_draw_ring(item) for item in before)]
    most = max((item.documents for item in bins), default=1)
    for item in bins:
        x, y = left + size * item.mean_score, base - size * item.accuracy
        low, high = wilson_interval(round(item.accuracy * item.documents), item.documents)
        height = max(1.5, _HISTOGRAM * item.documents / most)
        step = size * (item.maximum - item.minimum)
        told = (
            f"Score {percent(item.mean_score)} on average, right {percent(item.accuracy)} "
            f"(95% interval {percent(low)} to {percent(high)}), {_count(item.documents)}"
        )
        whisker = {"x1": x, "x2": x, "y1": base - size * low, "y2": base - size * high}
        # The area of a dot grows with its documents: a stray dot of three documents looks it.
        radius = 4 + 7 * math.sqrt(item.documents / most)
        parts += [
            element("line", class_="whisker", **whisker),
            element("circle", element("title", told), class_="dot", cx=x, cy=y, r=radius),
            element(
                "rect",
                element("title", told),
                class_="count",
                x=left + size * item.minimum + 1,
                y=deepest - height,
                width=step - 2,
                height=height,
            ),
        ]
    parts += [
        _text("score of the answer", left + size / 2, deepest + 38, "axis middle"),
        element(
            "text",
            "share that was right",
            class_="axis middle",
            transform=f"translate(12 {top + size / 2}) rotate(-90)",
        ),
        _text("documents", left + 6, base + 26, "tick"),
    ]
    return svg(left + size + 22, deepest + 46, "Reliability diagram", *parts)


def _draw_square(deepest: float) -> list[Element]:
    """Draw the field of the reliability diagram, with its scales and its diagonal."""
    left, top, size = _SQUARE_LEFT, _SQUARE_TOP, _SQUARE
    base = top + size
    parts = [element("rect", class_="field", x=left, y=top, width=size, height=size)]
    for tick in range(0, 101, 25):
        offset = size * tick / 100
        x, y = left + offset, base - offset
        parts += [
            element("line", class_="grid", x1=x, x2=x, y1=top, y2=base),
            element("line", class_="grid", x1=left, x2=left + size, y1=y, y2=y),
            _text(f"{tick}%", left - 8, y + 4, "tick end"),
            _text(f"{tick}%", x, deepest + 18, "tick middle"),
        ]
    diagonal = {"x1": left, "y1": base, "x2": left + size, "y2": top}
    return [*parts, element("line", class_="reference", **diagonal)]


def _draw_ring(item: CalibrationBin) -> Element:
    """Draw a bin of the scores as they were before calibration."""
    told = (
        f"Before calibration: score {percent(item.mean_score)} on average, right "
        f"{percent(item.accuracy)}, {_count(item.documents)}"
    )
    return element(
        "circle",
        element("title", told),
        class_="ring",
        cx=_SQUARE_LEFT + _SQUARE * item.mean_score,
        cy=_SQUARE_TOP + _SQUARE * (1 - item.accuracy),
        r=5,
    )


def draw_accuracy(accuracy: float, interval: tuple[float, float], majority: float) -> Element:
    """Draw the accuracy with its interval on a scale from nothing to all, beside the baseline."""
    width, left, y = 560, 8, 30
    length = width - 2 * left

    def across(share: float) -> float:
        return left + length * share

    low, high = interval
    # The baseline's name stands on the side that has room.
    side = "start" if majority < 0.5 else "end"
    named = f"always the commonest class {percent(majority)}"
    return svg(
        width,
        62,
        "Accuracy on a scale from 0 to 100%",
        element("rect", class_="rail", x=left, y=y - 4, width=length, height=8, rx=4),
        element("rect", class_="reach", x=left, y=y - 4, width=length * accuracy, height=8, rx=4),
        element(
            "rect",
            class_="interval",
            x=across(low),
            y=y - 10,
            width=max(2.0, across(high) - across(low)),
            height=20,
            rx=3,
        ),
        element("circle", class_="dot", cx=across(accuracy), cy=y, r=6),
        element(
            "line", class_="mark", x1=across(majority), x2=across(majority), y1=y - 9, y2=y + 14
        ),
        _text(named, across(majority) + (5 if side == "start" else -5), y + 26, f"tick {side}"),
    )


def _text(text: str, x: float, y: float, class_: str) -> Element:
    return element("text", text, class_=class_, x=x, y=y)


def _count(documents: int) -> str:
    return f"{documents:,} document{'' if documents == 1 else 's'}"
