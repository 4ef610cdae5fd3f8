"""How figures went while a model was trained, as drawings over the optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.markup import element, svg

History = Sequence[Mapping[str, float]]
"""Entries of a training log, each with its `step`, as transformers keeps them."""

MAX_POINTS = 400
"""Points of a curve beyond which neighbours are averaged: a screen shows no more."""

_WIDTH, _HEIGHT = 500, 210
_LEFT, _RIGHT, _TOP = 58, 26, 34
_MOVING = 0.05
"""Share of the entries of a training loss that its moving average takes in."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure over the steps.

    Attributes:
        name: What it is, for the legend.
        points: Step and value, in order of the steps.
        colour: Of the style sheet.
        is_faint: Drawn in the background, without a place in the legend.
        best: Number of the point that was chosen; None where none was.
        has_knots: Whether single points are marked.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    colour: Literal["first", "second"]
    is_faint: bool = False
    best: int | None = None
    has_knots: bool = False


def read_points(history: History, key: str) -> tuple[tuple[float, float], ...]:
    """Return step and value of each entry that has a figure; the last entry of a step counts."""
    values = {
        float(entry["step"]): float(entry[key])
        for entry in history
        if key in entry and "step" in entry and math.isfinite(entry[key])
    }
    return tuple(sorted(values.items()))


def loss_curves(history: History) -> list[Curve]:
    """Return the training loss, its moving average and the validation loss."""
    entries = read_points(history, "loss")
    validation = read_points(history, "eval_loss")
    width = max(1, round(_MOVING * len(entries)))
    curves = [Curve("training", entries, "first", is_faint=width > 1)] if entries else []
    if width > 1:
        curves.append(Curve("training, moving average", _average_back(entries, width), "first"))
    if validation:
        curves.append(Curve("validation", validation, "second", has_knots=True))
    return curves


def quality_curves(history: History, chosen_by: str) -> list[Curve]:
    """Return accuracy and macro-F1 of the validation documents.

    Args:
        history: The log.
        chosen_by: Key of the figure whose best value chose the model, for example `eval_macro_f1`.
    """
    curves = []
    for key, name, colour in (
        ("eval_accuracy", "accuracy", "first"),
        ("eval_macro_f1", "macro-F1", "second"),
    ):
        points = read_points(history, key)
        if not points:
            continue
        values = [value for _, value in points]
        best = values.index(max(values)) if key == chosen_by else None
        curves.append(Curve(name, points, colour, best=best, has_knots=True))  # type: ignore[arg-type]
    return curves


def rate_curves(history: History) -> list[Curve]:
    """Return the learning rate; of several groups of parameters, the one that the log names."""
    points = read_points(history, "learning_rate")
    return [Curve("learning rate", points, "first")] if points else []


def draw_curves(title: str, curves: Sequence[Curve], *, as_share: bool = False) -> Element:
    """Draw figures over the optimiser steps.

    Args:
        title: What is drawn, for those who do not see it.
        curves: At least one, each with a point.
        as_share: Name values as percent.
    """
    places = [point for curve in curves for point in curve.points]
    last = max(step for step, _ in places)
    values = [value for _, value in places]
    ticks = _choose_ticks(min(values), max(values), ceiling=1.0 if as_share else math.inf)
    low, high = ticks[0], ticks[-1]
    bottom = _TOP + _HEIGHT

    def place(step: float, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last
        return across, bottom - _HEIGHT * (value - low) / (high - low)

    parts: list[Element] = []
    for tick in ticks:
        _, y = place(0, tick)
        name = percent(tick).replace(".0%", "%") if as_share else f"{tick:.4g}"
        parts += [
            element("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y),
            _text(name, _LEFT - 8, y + 4, "tick end"),
        ]
    for tick in _choose_ticks(0, last):
        if tick <= last:
            x, _ = place(tick, low)
            parts.append(_text(f"{tick:,.0f}", x, bottom + 18, "tick middle"))
    parts.append(
        _text("optimiser steps", (_LEFT + _WIDTH - _RIGHT) / 2, bottom + 36, "axis middle")
    )
    for curve in curves:
        parts += _draw_curve(curve, [place(*point) for point in thin(curve.points)])
        if curve.has_knots:
            parts += _draw_knots(curve, [place(*point) for point in curve.points], as_share)
    return svg(_WIDTH, bottom + 44, title, *_draw_legend(curves, as_share), *parts)


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Average neighbouring points where there are more than `MAX_POINTS`; the ends stay."""
    if len(points) <= MAX_POINTS:
        return list(points)
    inner, count = points[1:-1], MAX_POINTS - 2
    edges = [round(len(inner) * number / count) for number in range(count + 1)]
    groups = [inner[start:end] for start, end in pairwise(edges)]
    means = [
        (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for group in groups
    ]
    return [points[0], *means, points[-1]]


def _draw_curve(curve: Curve, places: Sequence[tuple[float, float]]) -> list[Element]:
    if len(places) == 1:
        (x, y), *_ = places
        return [element("circle", class_=f"knot {curve.colour}", cx=x, cy=y, r=3.0)]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    kind = "faint" if curve.is_faint else curve.colour
    return [element("polyline", class_=f"curve {kind}", points=drawn)]


def _draw_knots(
    curve: Curve, places: Sequence[tuple[float, float]], as_share: bool
) -> list[Element]:
    # Marks of very many validations would hide the curve: only the chosen one is left.
    rows = range(len(places)) if len(places) <= 40 else [] if curve.best is None else [curve.best]
    drawn = []
    for row in rows:
        (x, y), (step, value) = places[row], curve.points[row]
        told = f"step {step:,.0f}: {curve.name} {_describe_value(value, as_share)}"
        is_best = row == curve.best
        kind = f"knot {curve.colour}" + (" best" if is_best else "")
        hint = element("title", told + (", chosen" if is_best else ""))
        radius = 6.0 if is_best else 3.0
        drawn.append(element("circle", hint, class_=kind, cx=x, cy=y, r=radius))
    return drawn


def _draw_legend(curves: Sequence[Curve], as_share: bool) -> list[Element]:
    # A curve with an average before it is explained by the average.
    named = [curve for curve in curves if not curve.is_faint]
    drawn: list[Element] = []
    x = float(_LEFT)
    for curve in named:
        _, value = curve.points[-1 if curve.best is None else curve.best]
        told = f"{curve.name} {_describe_value(value, as_share)}"
        drawn += [
            element("line", class_=f"curve {curve.colour}", x1=x, x2=x + 16, y1=12, y2=12),
            _text(told, x + 22, 16, "name"),
        ]
        x += 22 + 7.2 * len(told) + 22
    return drawn


def _describe_value(value: float, as_share: bool) -> str:
    return percent(value) if as_share else f"{value:.3g}"


def _average_back(
    points: Sequence[tuple[float, float]], width: int
) -> tuple[tuple[float, float], ...]:
    averaged = []
    for row, (step, _) in enumerate(points):
        window = points[max(0, row - width + 1) : row + 1]
        averaged.append((step, sum(value for _, value in window) / len(window)))
    return tuple(averaged)


def _choose_ticks(low: float, high: float, ceiling: float = math.inf) -> list[float]:
    """Return round numbers around a range, about five."""
    if low >= 0 and low < 0.4 * high:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    count = max(1, math.ceil(high / step - 1e-9) - first)
    ticks = [(first + number) * step for number in range(count + 1)]
    return [tick for tick in ticks if tick <= ceiling + 1e-9]


def _text(text: str, x: float, y: float, class_: str) -> Element:
    return element("text", text, class_=class_, x=x, y=y)
