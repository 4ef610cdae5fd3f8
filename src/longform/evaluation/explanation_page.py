"""Explained documents on a page: their texts, with what speaks for and against the label marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from longform.evaluation.charts import percent
from longform.evaluation.markup import Child, element
from longform.evaluation.page import card, page_footer, page_header, write_page
from longform.inference.explanation import ATTENTION_NOTE, ExplainedDocument, describe_tokens
from longform.reporting import counted
from longform.types import Evidence, Prediction, TokenContribution

SHADES = 4
"""Strengths that are told apart by colour."""
_LEAST_LOG_ODDS = 0.05
_SHOWN_TOKENS = 0.1
"""The share of tokens that are underlined: where all are, none stands out."""
_METHODS = {
    "exact": "The model adds up: contributions and {base:+.3f}, which is of no passage, sum to "
    "the logit {logit:.3f}.",
    "leave_one_out": "Contributions are what the logit {logit:.3f} loses without each passage. "
    "They do not sum to it: passages may say the same.",
}


def write_explanations(path: Path, model: str, explained: Sequence[ExplainedDocument]) -> None:
    """Write a page that quotes the documents with their passages marked.

    Args:
        path: File to write; one that exists is replaced.
        model: Name of the model.
        explained: The documents.

    Raises:
        InputError: The file cannot be written.
    """
    write_page(
        path,
        f"{model}: what its answers rest on",
        page_header(
            "longform explain", model, [counted(len(explained), "document"), _legend_words()]
        ),
        element("main", *(_show(item) for item in explained)),
        page_footer(quotes=True),
    )


def shade(value: float, strongest: float) -> int:
    """Return how strongly something is marked, -`SHADES` to `SHADES`; 0 is not at all."""
    share = value / max(strongest, 1e-12)
    level = min(SHADES, int(abs(share) * SHADES + 0.5))
    return level if value > 0 else -level


def _legend_words() -> str:
    return "green speaks for the label, orange against it"


def _show(item: ExplainedDocument) -> Element:
    prediction = item.prediction
    named = f"{item.label}, {percent(_score(prediction, item.label))}"
    coverage = prediction.coverage
    facts = f"{coverage.tokens_used:,} of {coverage.tokens_total:,} tokens were read. "
    texts = [0] if item.document.text_pair is None else [0, 1]
    return card(
        named,
        facts + _method(prediction),
        element("p", element("bdi", item.document.id), class_="note"),
        _strongest(item),
        None
        if item.split is None
        else element(
            "p",
            "Underlined: the tenth of the tokens that counts most, by "
            f"{describe_tokens(item.split)}.",
            class_="note",
        ),
        _attention(item),
        *(element("div", *_marked(item, part), class_="explained", dir="auto") for part in texts),
    )


def _score(prediction: Prediction, label: str) -> float:
    return next(entry.score for entry in prediction.scores if entry.label == label)


def _method(prediction: Prediction) -> str:
    explanation = prediction.explanation
    if explanation is None:
        return "It is one passage, without which nothing would be left."
    return _METHODS[explanation.method].format(logit=explanation.logit, base=explanation.base)


def _strongest(item: ExplainedDocument) -> Element | None:
    ranked = sorted(item.prediction.evidence or (), key=lambda part: -abs(part.log_odds))[:5]
    if not ranked:
        return None
    heading = element(
        "tr",
        *(element("th", name) for name in ("characters", "points", "log-odds", "contribution")),
    )
    rows = [
        element(
            "tr",
            element("td", f"{part.start:,} to {part.end:,}" + " of the second text" * part.part),
            element("td", f"{100 * part.score:+.1f}", class_="number"),
            element("td", f"{part.log_odds:+.3f}", class_="number"),
            element("td", f"{part.contribution:+.3f}", class_="number"),
        )
        for part in ranked
    ]
    return element("table", element("thead", heading), element("tbody", *rows), class_="figures")


def _attention(item: ExplainedDocument) -> Element | None:
    """Show what the head attends to, folded away: it is easily taken for what it is not."""
    if item.attention is None:
        return None
    names = (
        "characters",
        "mean",
        *(f"head {one + 1}" for one in range(len(item.attention[0].weights))),
    )
    rows = [
        element(
            "tr",
            element("td", f"{segment.start:,} to {segment.end:,}"),
            *(
                element("td", f"{weight:.3f}", class_="number")
                for weight in (segment.mean, *segment.weights)
            ),
        )
        for segment in item.attention
    ]
    return element(
        "details",
        element("summary", ATTENTION_NOTE.capitalize()),
        element(
            "table",
            element("thead", element("tr", *(element("th", name) for name in names))),
            element("tbody", *rows),
            class_="figures",
        ),
    )


def _marked(item: ExplainedDocument, part: int) -> Iterator[Child]:
    """Yield the text in pieces: passages in the colour of their log-odds, tokens in bold."""
    text = item.text(part)
    evidence = [each for each in item.prediction.evidence or () if each.part == part]
    strongest = max((abs(each.log_odds) for each in item.prediction.evidence or ()), default=0.0)
    tokens = [token for token in _tokens(item) if token.part == part]
    last = 0
    for passage in sorted(evidence, key=lambda each: each.start):
        start, end = max(passage.start, last), max(passage.end, last)
        yield text[last:start]
        yield _passage(text, start, end, passage, max(strongest, _LEAST_LOG_ODDS), tokens)
        last = end
    yield text[last:]


def _tokens(item: ExplainedDocument) -> tuple[TokenContribution, ...]:
    return () if item.split is None else item.split.tokens


def _passage(
    text: str,
    start: int,
    end: int,
    passage: Evidence,
    strongest: float,
    tokens: Sequence[TokenContribution],
) -> Child:
    level = shade(passage.log_odds, strongest)
    inside = [token for token in tokens if start <= token.start and token.end <= end]
    pieces = list(_strong_tokens(text, start, end, inside, tokens))
    if not level:
        return element("span", *pieces)
    side = "for" if level > 0 else "against"
    told = f"{100 * passage.score:+.1f} points, log-odds {passage.log_odds:+.3f}"
    return element("mark", *pieces, class_=f"{side} shade-{abs(level)}", title=told)


def _strong_tokens(
    text: str,
    start: int,
    end: int,
    inside: Sequence[TokenContribution],
    tokens: Sequence[TokenContribution],
) -> Iterator[Child]:
    ranked = sorted((abs(token.contribution) for token in tokens), reverse=True)
    least = ranked[int(_SHOWN_TOKENS * len(ranked))] if ranked else 0.0
    last = start
    for token in inside:
        if abs(token.contribution) < max(least, 1e-12) or token.start < last:
            continue
        yield text[last : token.start]
        side = "for" if token.contribution > 0 else "against"
        yield element(
            "b",
            text[token.start : token.end],
            class_=f"token {side}",
            title=f"{token.contribution:+.4f}",
        )
        last = token.end
    yield text[last:end]
