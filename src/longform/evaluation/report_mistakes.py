"""The mistakes on an evaluation's page: what was said and meant, and which passages decided."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.evaluation import Evaluation
from longform.evaluation.markup import element
from longform.evaluation.mistakes import Mistake
from longform.evaluation.page import card
from longform.reporting import counted


def show_mistakes(evaluation: Evaluation) -> Element:
    """Build the list of the mistakes that were kept. It quotes the documents."""
    wrong = int((~evaluation.right).sum())
    if not wrong:
        return card("Mistakes", "There is none.")
    shown = len(evaluation.mistakes)
    told = f"The {shown} most certain of {wrong:,}" if shown < wrong else f"All {wrong:,}"
    note = ". Look here first: a sure mistake is often a wrong label in the data."
    if any(mistake.passages is not None for mistake in evaluation.mistakes):
        note += (
            " Marked passages decided: without one, the probability of the label that was given "
            "falls by so many points."
        )
    items = (_show_mistake(mistake) for mistake in evaluation.mistakes)
    return card("Mistakes", told + note, element("ol", *items, class_="mistakes"))


def _show_mistake(mistake: Mistake) -> Element:
    return element(
        "li",
        element(
            "p",
            element("b", mistake.predicted, class_="said", dir="auto"),
            element("span", percent(mistake.score), class_="said"),
            " instead of ",
            element("b", mistake.label, class_="meant", dir="auto"),
            element("span", percent(mistake.label_score), class_="meant"),
            element(
                "span",
                element("bdi", mistake.id),
                f", {counted(mistake.tokens, 'token')}",
                class_="origin",
            ),
        ),
        element("blockquote", mistake.excerpt, dir="auto"),
        *_show_passages(mistake),
    )


def _show_passages(mistake: Mistake) -> list[Element]:
    if mistake.passages is None:
        return []
    if not mistake.passages:
        return [element("p", "No single passage decided: it is the whole.", class_="passage")]
    return [
        element(
            "p",
            element("span", f"{100 * passage.score:+.1f}", class_="weight"),
            element("b", passage.label, dir="auto") if passage.label != mistake.predicted else None,
            element("small", "second text") if passage.part else None,
            element("mark", passage.text, dir="auto"),
            class_="passage",
        )
        for passage in mistake.passages
    ]
