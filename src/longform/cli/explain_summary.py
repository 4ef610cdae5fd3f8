"""What `longform explain` prints: the passages, tokens and segments that matter most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from longform.inference.explanation import ATTENTION_NOTE, ExplainedDocument, describe_tokens

_SHOWN_PASSAGES = 5
_SHOWN_CHARACTERS = 400
_SHOWN_TOKENS = 8
_STYLES = {1: "on dark_green", 2: "black on green3", -1: "on dark_orange3", -2: "black on orange1"}


def print_explained(explained: Sequence[ExplainedDocument]) -> None:
    """Print documents one below the other."""
    console = Console()
    for item in explained:
        score = next(entry.score for entry in item.prediction.scores if entry.label == item.label)
        console.print(
            f"{item.document.id}: {item.label}  {score:.4f}", markup=False, highlight=False
        )
        for line in (*_passages(item), *_tokens(item), *_attention(item)):
            console.print(line, highlight=False)


def _passages(item: ExplainedDocument) -> Iterator[Text]:
    """Yield the strongest passages in reading order, in the colours of their effects."""
    explanation = item.prediction.explanation
    if explanation is None:
        yield Text("  one passage, without which nothing would be left")
        return
    told = f"  {explanation.method}: logit {explanation.logit:.3f}"
    if explanation.base is not None:
        told += f", of which {explanation.base:+.3f} is of no passage"
    yield Text(told)
    evidence = item.prediction.evidence or ()
    ranked = sorted(evidence, key=lambda part: -abs(part.log_odds))[:_SHOWN_PASSAGES]
    strongest = max(abs(part.log_odds) for part in ranked)
    for part in sorted(ranked, key=lambda part: (part.part, part.start)):
        level = 2 if abs(part.log_odds) > strongest / 2 else 1
        words = _shown(item.text(part.part)[part.start : part.end])
        line = Text(
            f"  {part.start:,} to {part.end:,}{_of_second(part.part)}  "
            f"{100 * part.score:+.1f} points, "
            f"log-odds {part.log_odds:+.3f}, contribution {part.contribution:+.3f}\n    "
        )
        line.append(words, style=_STYLES[level if part.log_odds > 0 else -level])
        yield line


def _tokens(item: ExplainedDocument) -> Iterator[Text]:
    """Yield the strongest tokens, the same words at several places taken together."""
    if item.split is None:
        return
    yield Text(f"  tokens by {describe_tokens(item.split)}")
    sums: dict[str, float] = {}
    for token in item.split.tokens:
        word = _shown(item.text(token.part)[token.start : token.end])
        sums[word] = sums.get(word, 0.0) + token.contribution
    ranked = sorted(sums.items(), key=lambda each: -each[1])
    for name, chosen, style in (
        ("for", ranked[:_SHOWN_TOKENS], _STYLES[1]),
        ("against", ranked[: -_SHOWN_TOKENS - 1 : -1], _STYLES[-1]),
    ):
        line = Text(f"    {name}: ")
        for word, total in chosen:
            if word and (total > 0) == (name == "for"):
                line.append(word, style=style)
                line.append(f" {total:+.3f}  ")
        yield line


def _attention(item: ExplainedDocument) -> Iterator[Text]:
    if item.attention is None:
        return
    yield Text(f"  {ATTENTION_NOTE}, of the strongest segments (mean, and each head):")
    ranked = sorted(item.attention, key=lambda segment: -segment.mean)[:_SHOWN_PASSAGES]
    for segment in sorted(ranked, key=lambda segment: segment.start):
        heads = " ".join(f"{weight:.3f}" for weight in segment.weights)
        yield Text(f"    {segment.start:,} to {segment.end:,}  {segment.mean:.3f}  ({heads})")


def _of_second(part: int) -> str:
    return " of the second text" if part else ""


def _shown(text: str) -> str:
    words = " ".join(text.split())
    shown = "".join(sign if sign.isprintable() else " " for sign in words[:_SHOWN_CHARACTERS])
    return shown + ("…" if len(words) > len(shown) else "")
