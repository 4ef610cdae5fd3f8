"""A picture of throughput against machines, both in powers of ten, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 930, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 335, 46, 60
_COLOURS = ("#1b6ca8", "#c2571a", "#2e7d4f", "#7b4fa3")


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of the picture.

    Attributes:
        points: Machines, documents a second, and what bounds them.
    """

    name: str
    points: Sequence[tuple[int, float, str]]


def write_plot(path: Path, curves: Sequence[Curve]) -> None:
    """Draw the curves, with the name of the bottleneck where it changes."""
    across = [point[0] for curve in curves for point in curve.points]
    up = [point[1] for curve in curves for point in curve.points]
    low, high = math.floor(math.log10(min(up))), math.ceil(math.log10(max(up)))
    right = math.log10(max(across))

    def place(machines: float, rate: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log10(machines) / right
        share = (math.log10(rate) - low) / (high - low)
        return round(x, 1), round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share, 1)

    lines = _frame()
    for power in range(low, high + 1):
        x, y = place(1, 10**power)
        lines.append(f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{10**power:,}</text>')
    for machines in sorted(set(across)):
        if str(machines)[0] == "1" or machines == max(across):
            x, y = place(machines, 10**low)
            lines.append(f'<path d="M{x} {_TOP}V{y}" stroke="#eee"/>')
            lines.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{machines:,}</text>')
    above = _TOP
    for curve, colour in zip(curves, _COLOURS, strict=True):
        places = [place(machines, rate) for machines, rate, _ in curve.points]
        above = _draw(lines, curve, places, colour, above)
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")


def _frame() -> list[str]:
    bottom = _HEIGHT - 20
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333" role="img" '
        'aria-label="Documents a second against machines, simulated">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24">Documents a second (simulated, 5,000 characters each); '
        "an open ring: no longer bound by workers</text>",
        f'<text x="{middle}" y="{bottom}" text-anchor="middle">machines</text>',
    ]


def _draw(
    lines: list[str],
    curve: Curve,
    places: Sequence[tuple[float, float]],
    colour: str,
    above: float,
) -> float:
    """Draw one curve and its name at the right; return where the name stands."""
    course = " ".join(f"{x},{y}" for x, y in places)
    lines.append(f'<polyline points="{course}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for (x, y), (_, _, bottleneck) in zip(places, curve.points, strict=True):
        fill = colour if bottleneck == "workers" else "white"
        lines.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{fill}" stroke="{colour}"/>')
    last = curve.points[-1]
    changed = next((item for item in curve.points if item[2] == last[2]), last)
    told = (
        "bound by workers throughout"
        if last[2] == "workers"
        else f"bound by the {last[2]} from {changed[0]:,} machines"
    )
    at = max(places[-1][1], above + 34) if above > _TOP else places[-1][1]
    x = _WIDTH - _RIGHT + 10
    lines.append(f'<text x="{x}" y="{at}" fill="{colour}">{escape(curve.name)}</text>')
    lines.append(f'<text x="{x}" y="{at + 14}" font-size="11">{told}</text>')
    return at
