"""A cascade as one HTML file: what stops where, what it costs, and what was certified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from longform.decision.certificate import Certificate
from longform.evaluation.certifying import CertifiedCascade, CurvePoint
from longform.evaluation.charts import percent
from longform.evaluation.markup import Child, element, svg
from longform.evaluation.page import card, page_footer, page_header, significant, write_page

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 520, 250, 58, 22, 12
_LOSSES = {
    "disagreement": "answered early, unlike the last stage",
    "harm": "wrong early, where the last stage is right",
}


def write_cascade_report(path: Path, made: CertifiedCascade, data: str) -> None:
    """Write a cascade as a page for people. It quotes no document.

    Args:
        path: File to write; one that exists is replaced.
        made: What to show.
        data: What the documents are called, for example the name of their file.

    Raises:
        InputError: The file cannot be written.
    """
    certificate = made.certificate
    title = f"Cascade on {data}: {percent(certificate.exited)} stop early"
    facts = [
        " → ".join(stage.name for stage in certificate.stages),
        f"{certificate.documents:,} certifying documents",
        f"risk {100 * certificate.risk:g} %, confidence {100 * (1 - certificate.delta):g} %",
    ]
    write_page(
        path,
        title,
        page_header("longform cascade", data, facts),
        element(
            "main",
            element(
                "section",
                element("h2", headline(made)),
                element("p", f"Certified: {certificate.describe()}.", class_="note"),
                _steps_table(certificate),
                _stages_table(certificate),
                class_="card",
            ),
            _risk_card(made),
            _speed_card(made),
        ),
        page_footer(False),
    )


def headline(made: CertifiedCascade) -> str:
    """Say in a sentence what the cascade gains."""
    if not made.certificate.is_certified:
        return "Nothing is certified: every document is answered by the last stage."
    return (
        f"{percent(made.certificate.exited)} of the documents stop early; a document takes "
        f"{_milliseconds(made.seconds)} instead of {_milliseconds(made.seconds_alone)} on average, "
        f"{made.speed_up:,.1f} times as fast."
    )


def _steps_table(certificate: Certificate) -> Element:
    rows = []
    for number, step in enumerate(certificate.steps):
        last = number == len(certificate.steps) - 1
        threshold = "never" if step.threshold is None else f"{step.threshold:.3g}"
        rows.append(
            _row(
                f"{number}",
                certificate.stages[step.stage].name,
                f"{100 * step.depth:.0f} %",
                "answers the rest" if last else threshold,
                percent(step.exited),
            )
        )
    head = ("Step", "Stage", "Segments read", "Stops at a margin of", "Documents that stop")
    return _table(head, rows)


def _stages_table(certificate: Certificate) -> Element:
    rows = [
        _row(
            stage.name,
            stage.kind,
            stage.runtime,
            _milliseconds(stage.seconds_per_document),
            stage.digest[:16],
        )
        for stage in certificate.stages
    ]
    return _table(("Stage", "Kind", "Runs on", "Time of a document, measured", "Digest"), rows)


def _risk_card(made: CertifiedCascade) -> Element:
    told = (
        "Each point is one set of thresholds, from safe on the left to aggressive on the right. "
        "Filled: certified. Hollow: refused, or not tested any more. The dashed line is the risk "
        "that was asked for; certified points stay below it by the margin that chance demands."
    )
    most = max(2 * made.certificate.risk, *(point.loss for point in made.curve))
    drawing = _draw(
        made.curve,
        lambda point: point.loss,
        most,
        lambda share: f"{100 * share:.2g}%",
        _LOSSES[made.certificate.loss],
        made.certificate.risk,
    )
    return card("What stopping early costs", told, drawing, class_="half")


def _speed_card(made: CertifiedCascade) -> Element:
    told = (
        "Expected from the measured times of the stages on the certifying documents: the time of "
        "the last stage alone by that of the cascade. A document that goes all the way takes "
        "the sum of its stages."
    )
    most = 1.05 * max(point.speed_up for point in made.curve)
    drawing = _draw(
        made.curve,
        lambda point: point.speed_up,
        most,
        lambda times: f"{times:.3g}x",
        "times as fast as the last stage",
    )
    return card("What it gains", told, drawing, class_="half")


def _draw(
    curve: Sequence[CurvePoint],
    value: Callable[[CurvePoint], float],
    most: float,
    name: Callable[[float], str],
    axis: str,
    line: float | None = None,
) -> Element:
    def across(share: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def up(height: float) -> float:
        return _TOP + _HEIGHT * (1 - height / most)

    width = _WIDTH - _LEFT - _RIGHT
    parts = [element("rect", class_="field", x=_LEFT, y=_TOP, width=width, height=_HEIGHT)]
    for tick in range(5):
        y, x = up(most * tick / 4), across(tick / 4)
        parts += [
            element("line", class_="grid", x1=_LEFT, x2=_LEFT + width, y1=y, y2=y),
            _text(name(most * tick / 4), _LEFT - 8, y + 4, "tick end"),
            _text(f"{25 * tick}%", x, _TOP + _HEIGHT + 18, "tick middle"),
        ]
    if line is not None:
        y = up(line)
        parts.append(element("line", class_="reference", x1=_LEFT, x2=_LEFT + width, y1=y, y2=y))
    places = [f"{across(p.exited):.1f} {up(value(p)):.1f}" for p in curve]
    parts.append(element("path", d=f"M{'L'.join(places)}", class_="course"))
    for point in curve:
        told = (
            f"{percent(point.exited)} stop early, {100 * point.loss:.2f} % with a loss, "
            f"{point.speed_up:.1f} times as fast"
            + ("" if point.p_value is None else f", p = {point.p_value:.2g}")
        )
        place = {"cx": across(point.exited), "cy": up(value(point))}
        kind = "dot" if point.accepted else "hollow"
        parts.append(element("circle", element("title", told), class_=kind, r=4, **place))
    parts.append(_text("documents that stop early", _WIDTH / 2, _TOP + _HEIGHT + 38, "axis middle"))
    turned = f"translate(12 {_TOP + _HEIGHT / 2}) rotate(-90)"
    parts.append(element("text", axis, class_="axis middle", transform=turned))
    return svg(_WIDTH, _TOP + _HEIGHT + 46, axis, *parts)


def _milliseconds(seconds: float) -> str:
    return f"{significant(1000 * seconds)} ms"


def _row(first: str, *cells: str) -> Element:
    head = element("th", first, scope="row")
    return element("tr", head, *(element("td", cell) for cell in cells))


def _table(head: tuple[str, ...], rows: list[Element]) -> Element:
    titles: list[Child] = [element("th", name, scope="col") for name in head]
    return element(
        "table",
        element("thead", element("tr", *titles)),
        element("tbody", *rows),
        class_="figures",
    )


def _text(text: str, x: float, y: float, class_: str) -> Element:
    return element("text", text, class_=class_, x=x, y=y)
