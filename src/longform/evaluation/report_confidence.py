"""What calibration is worth, as a section of an evaluation's page."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from longform.decision.binomial import RateInterval
from longform.evaluation.charts import percent
from longform.evaluation.confidence import ConfidenceFigures
from longform.evaluation.markup import element
from longform.evaluation.page import card
from longform.evaluation.reliability import CalibrationError


def show_confidence(figures: ConfidenceFigures | None) -> Element | None:
    """Build the section; None for a bundle that was not calibrated."""
    if figures is None:
        return None
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value), element("td", note))
        for name, value, note in _rows(figures)
    ]
    table = element("table", element("tbody", *rows))
    told = (
        "The bundle was calibrated on documents that it was not trained on. Whatever is measured "
        "here is of the documents of this page, with 95% intervals."
    )
    return card("What calibration is worth", told, table)


def _rows(figures: ConfidenceFigures) -> Iterator[tuple[str, str, str]]:
    yield "Calibration error before", _error(figures.before), "of the model's own scores"
    yield "Calibration error now", _error(figures.after), "what chance adds is taken off"
    if figures.sets is not None:
        sets = figures.sets
        asked = f"{percent(sets.requested)} were asked for; {sets.mean_size:.2f} labels on average"
        yield "Label sets that hold the truth", _rate(sets.coverage), asked
    if figures.abstention is not None:
        found = figures.abstention
        yield "Documents answered", _rate(found.answered), "the others are left to people"
        yield "Wrong answers among them", _rate(found.error), "of the answers given"
        yield "Were all answered", _rate(found.error_of_all), "wrong answers of all documents"
    if figures.costs is not None:
        dear = f"the likeliest label every time would cost {figures.costs.likeliest:.4f}"
        yield "Cost of a document", f"{figures.costs.cheapest:.4f}", dear


def _rate(interval: RateInterval) -> str:
    lower, upper = percent(interval.lower), percent(interval.upper)
    return f"{percent(interval.rate)} ({lower} to {upper})"


def _error(error: CalibrationError) -> str:
    return f"{percent(error.debiased)} ({percent(error.lower)} to {percent(error.upper)})"
