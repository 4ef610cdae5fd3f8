"""Drawings of a search, as SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.markup import element, shorten, svg
from longform.search.trials import TrialRecord, pareto

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP = 52, 14, 12
_BAR_LEFT, _BAR_RIGHT, _BAR_ROW, _NAME_COLUMNS = 250, 60, 30, 36

Cost = Literal["seconds", "document_ms"]


def draw_history(trials: Sequence[TrialRecord], metric: str) -> Element:
    """Draw the value of every trial in order, and the best so far as a line.

    A pruned trial stands, hollow, at the best that it had reached.
    """
    shown = [(trial, value) for trial in trials if (value := _reached(trial)) is not None]
    low, high = limits_of([value for _, value in shown])
    last = max((trial.number for trial, _ in shown), default=1)

    def across(number: float) -> float:
        return LEFT + 10 + (WIDTH - LEFT - RIGHT - 20) * number / max(last, 1)

    def up(value: float) -> float:
        return TOP + HEIGHT * (high - value) / (high - low)

    parts = draw_frame(low, high)
    steps = max(1, math.ceil(last / 8))
    for number in range(0, last + 1, steps):
        parts.append(text_at(f"{number}", across(number), TOP + HEIGHT + 18, "tick middle"))
    path, best = "", float("-inf")
    for trial, value in shown:
        if trial.value is None or value <= best:
            continue
        x, y = across(trial.number), up(value)
        path += f"M{x:.1f} {y:.1f}" if not path else f"H{x:.1f}V{y:.1f}"
        best = value
    if path:
        parts.append(element("path", d=f"{path}H{across(last):.1f}", class_="course"))
    parts += [_dot(trial, across(trial.number), up(value), set()) for trial, value in shown]
    parts.append(text_at("trial", WIDTH / 2, TOP + HEIGHT + 38, "axis middle"))
    parts.append(upright(f"validation {metric}"))
    return svg(WIDTH, TOP + HEIGHT + 46, "Value of each trial", *parts)


def draw_cost(trials: Sequence[TrialRecord], cost: Cost, unit: str, metric: str) -> Element:
    """Draw the value of the complete trials against a cost; those that none beats are joined."""
    known = [t for t in trials if t.value is not None and (getattr(t, cost) or 0) > 0]
    if not known:
        return element("p", "Nothing was measured.", class_="note")
    low, high = limits_of([trial.value or 0.0 for trial in known])
    costs = [float(getattr(trial, cost)) for trial in known]
    left, right = math.log(min(costs) / 1.2), math.log(max(costs) * 1.2)

    def across(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log(value) - left) / (right - left)

    def up(value: float) -> float:
        return TOP + HEIGHT * (high - value) / (high - low)

    parts = draw_frame(low, high)
    for tick in log_ticks(math.exp(left), math.exp(right)):
        x = across(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=TOP, y2=TOP + HEIGHT + 4))
        parts.append(text_at(f"{tick:g}", x, TOP + HEIGHT + 18, "tick middle"))
    front = pareto(trials, cost)
    ends = sorted((float(getattr(t, cost)), t.value or 0.0) for t in known if t.number in front)
    places = [f"{across(x):.1f} {up(y):.1f}" for x, y in ends]
    parts.append(element("path", d=f"M{'L'.join(places)}", class_="course"))
    parts += [
        _dot(trial, across(float(getattr(trial, cost))), up(trial.value or 0.0), front)
        for trial in known
    ]
    parts.append(text_at(unit, WIDTH / 2, TOP + HEIGHT + 38, "axis middle"))
    parts.append(upright(f"validation {metric}"))
    return svg(WIDTH, TOP + HEIGHT + 46, f"Value against {unit}", *parts)


def draw_importances(importances: Mapping[str, float]) -> Element:
    """Draw how much each parameter decides, the most important first."""
    length = WIDTH - _BAR_LEFT - _BAR_RIGHT
    most = max(importances.values(), default=1.0)
    parts: list[Element] = []
    for row, (name, share) in enumerate(importances.items()):
        y = _BAR_ROW * row + 6
        box = {"x": _BAR_LEFT, "y": y, "height": 18, "rx": 3}
        parts += [
            text_at(shorten(name, _NAME_COLUMNS), _BAR_LEFT - 10, y + 13, "tick end"),
            element("rect", class_="field", width=length, **box),
            element("rect", class_="right", width=max(1.0, length * share / most), **box),
            text_at(percent(share), WIDTH, y + 14, "value end"),
        ]
    height = _BAR_ROW * len(importances) + 6
    return svg(WIDTH, height, "Importance of the parameters", *parts)


def _dot(trial: TrialRecord, x: float, y: float, front: set[int]) -> Element:
    value = _reached(trial) or 0.0
    state = "pruned at" if trial.value is None else "reached"
    told = f"Trial {trial.number}{f', {trial.start}' if trial.start else ''}: {state} "
    told += f"{percent(value)}, {trial.seconds:,.1f} s"
    if trial.document_ms is not None:
        told += f", {trial.document_ms:,.1f} ms a document"
    title = element("title", told)
    if trial.start:
        # A square is told from a circle in print, too.
        return element("rect", title, class_="start", x=x - 5.5, y=y - 5.5, width=11, height=11)
    if trial.value is None:
        return element("circle", title, class_="hollow", cx=x, cy=y, r=4)
    return element("circle", title, class_="dot", cx=x, cy=y, r=6 if trial.number in front else 5)


def draw_frame(low: float, high: float) -> list[Element]:
    """Draw the field and the lines of a vertical scale of shares."""
    width = WIDTH - LEFT - RIGHT
    parts = [element("rect", class_="field", x=LEFT, y=TOP, width=width, height=HEIGHT)]
    for step in range(5):
        value = low + (high - low) * step / 4
        y = TOP + HEIGHT * (high - value) / (high - low)
        parts.append(element("line", class_="grid", x1=LEFT, x2=LEFT + width, y1=y, y2=y))
        parts.append(text_at(f"{100 * value:.0f}%", LEFT - 8, y + 4, "tick end"))
    return parts


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """Return ends four whole steps apart that hold all values, as hundredths."""
    low = math.floor(100 * min(values, default=0.0))
    high = math.ceil(100 * max(values, default=1.0))
    step = max(1, math.ceil((high - low) / 4))
    low = max(0, min(low, high - 4 * step))
    return low / 100, (low + 4 * step) / 100


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values for a logarithmic scale."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 8 else inside[::2]


def _reached(trial: TrialRecord) -> float | None:
    if trial.value is not None:
        return trial.value
    return max(trial.curve.values()) if trial.curve else None


def upright(text: str) -> Element:
    """Write the name of the vertical scale beside it."""
    turned = f"translate(12 {TOP + HEIGHT / 2}) rotate(-90)"
    return element("text", text, class_="axis middle", transform=turned)


def text_at(text: str, x: float, y: float, class_: str) -> Element:
    """Write a text at a place."""
    return element("text", text, class_=class_, x=x, y=y)
