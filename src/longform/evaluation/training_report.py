"""A training run as one HTML file: how it went, what was decided, and how good the result is.

Knows nothing of training: it is handed the log and the figures as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.curves import (
    Curve,
    History,
    draw_curves,
    loss_curves,
    quality_curves,
    rate_curves,
)
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.markup import Child, element
from longform.evaluation.page import bar_cell, card, page_header, significant, write_page
from longform.evaluation.report import list_facts, show_figures, show_footer
from longform.evaluation.report_headline import show_headline

_PHASES = 7
"""Colours of phases that the style sheet has."""


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a training run leaves beside its model.

    Attributes:
        history: The log: entries with `step` and `loss`, `learning_rate`, `eval_loss`,
            `eval_accuracy`, `eval_macro_f1`.
        chosen_by: Key of the figure of the history that chose the model.
        seconds: Wall time of each phase of the run, in order.
        figures: What was counted, each with its name: documents a second, memory, devices.
        settings: The resolved configuration.
        changed: Names of those settings that are not the default.
        told: What the run said while it ran, in order.
    """

    history: History
    chosen_by: str
    seconds: Mapping[str, float]
    figures: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    told: Sequence[str] = ()


def write_training_report(path: Path, evaluation: Evaluation, record: TrainingRecord) -> None:
    """Write a training run as a page for people. It quotes parts of misjudged documents.

    Args:
        path: File to write; one that exists is replaced.
        evaluation: The model on its validation documents.
        record: The run.

    Raises:
        InputError: The file cannot be written.
    """
    optimism = (
        "The validation documents also chose the best checkpoint, so these figures flatter a "
        "little: judge the model on documents that training never saw (longform evaluate)."
    )
    write_page(
        path,
        f"{evaluation.bundle_name}: training, {percent(evaluation.accuracy)} accuracy",
        page_header("longform training", evaluation.bundle_name, list_facts(evaluation)),
        element(
            "main",
            show_headline(evaluation, optimism),
            *_show_curves(record),
            _show_seconds(record),
            *show_figures(evaluation),
            _show_decisions(record),
        ),
        show_footer(evaluation),
    )


def _show_curves(record: TrainingRecord) -> list[Child]:
    history = record.history
    quality = quality_curves(history, record.chosen_by)
    chosen = next((curve.points[curve.best] for curve in quality if curve.best is not None), None)
    told = "On the validation documents."
    if chosen is not None:
        told += f" The large dot, step {chosen[0]:,.0f}, was kept."
    return [
        _show_chart(
            "Loss",
            "What training minimised. Where the validation loss rises again while the training "
            "loss falls, the model learns its documents by heart.",
            loss_curves(history),
        ),
        _show_chart("Accuracy and macro-F1", told, quality, as_share=True),
        _show_chart("Learning rate", "As the schedule set it.", rate_curves(history)),
    ]


def _show_chart(
    title: str, told: str, curves: Sequence[Curve], *, as_share: bool = False
) -> Element:
    if not curves:
        return card(title, "The run was too short for an entry in the log.", class_="half")
    return card(title, told, draw_curves(title, curves, as_share=as_share), class_="half")


def _show_seconds(record: TrainingRecord) -> Element:
    total = sum(record.seconds.values()) or 1.0
    phases = list(record.seconds.items())
    parts = [
        element(
            "span",
            class_=f"phase-{number % _PHASES + 1}",
            style=f"width:{100 * seconds / total:.2f}%",
            title=name,
        )
        for number, (name, seconds) in enumerate(phases)
    ]
    rows = [
        element(
            "tr",
            element(
                "th",
                element("span", class_=f"key phase-{number % _PHASES + 1}"),
                name,
                scope="row",
            ),
            element("td", f"{significant(seconds)} s", class_="number"),
            bar_cell(seconds / total, percent(seconds / total), "part"),
        )
        for number, (name, seconds) in enumerate(phases)
    ]
    rows += [
        element("tr", element("th", name, scope="row"), element("td", value, colspan=2))
        for name, value in record.figures
    ]
    return card(
        "Where the time went",
        f"{significant(total)} s, the export included.",
        element("div", *parts, class_="split"),
        element("table", element("tbody", *rows)),
        class_="half",
    )


def _show_decisions(record: TrainingRecord) -> Element:
    chosen = [name for name in record.settings if name in record.changed]
    others = [name for name in record.settings if name not in record.changed]
    told = "Settings that differ from their defaults; every other has its default."
    return card(
        "What was decided",
        told if chosen else "All settings have their defaults.",
        _list_settings(record, chosen) if chosen else None,
        _fold("What the run said", element("pre", "\n".join(record.told), class_="told")),
        _fold(f"The {len(others)} other settings", _list_settings(record, others)),
    )


def _list_settings(record: TrainingRecord, names: Sequence[str]) -> Element:
    rows = (
        element(
            "tr",
            element("th", element("code", name), scope="row"),
            element("td", _describe(record.settings[name]), dir="auto"),
        )
        for name in names
    )
    return element("table", element("tbody", *rows), class_="settings")


def _describe(value: object) -> str:
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def _fold(title: str, content: Element) -> Element:
    return element("details", element("summary", title), content)
