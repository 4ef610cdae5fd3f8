"""Every character of the texts: which writing it is, and whether a writer can have meant it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longform.data.doctor.damage import make_damage_detector
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.doctor.scripts import KINDS, Writing, count_kinds, describe_writing
from longform.reporting import Reporter, counted
from longform.types import Document, Integers

_SHORT = 20
"""Characters below which a text hardly says what it is about."""
_MOSTLY = 0.95


def examine_texts(
    documents: Sequence[Document], texts: Sequence[str], reporter: Reporter
) -> tuple[Writing, list[Finding]]:
    """Look at every character: its script, and whether a writer can have meant it.

    Args:
        documents: For their ids.
        texts: Of each document, a pair joined.
        reporter: Shown the progress.

    Raises:
        MissingExtraError: ftfy is not installed.
    """
    is_damaged = make_damage_detector()
    counts = np.zeros((len(texts), len(KINDS)), dtype=np.int64)
    damaged = []
    with reporter.track("Reading characters", len(texts)) as advance:
        for row, text in enumerate(texts):
            counts[row] = count_kinds(text)
            if is_damaged(text):
                damaged.append(row)
            advance(1)
    writing = describe_writing(counts)
    findings = [
        *_describe_damage(documents, damaged),
        *_describe_foreign(documents, counts),
        *_describe_short(documents, texts),
        *_describe_mixture(documents, writing),
    ]
    return writing, findings


def _describe_damage(documents: Sequence[Document], damaged: list[int]) -> list[Finding]:
    if not damaged:
        return []
    return [
        Finding(
            kind="mojibake",
            severity="warning",
            what=f"{counted(len(damaged), 'document')} "
            f"{'holds' if len(damaged) == 1 else 'hold'} text that was decoded wrongly "
            "before it was saved (mojibake)",
            count=len(damaged),
            examples=tuple(documents[row].id for row in damaged[:EXAMPLES]),
            training="reads it as it is",
            advice="Export these documents again in the right encoding; --fix repairs the lines "
            "where there is no doubt.",
        )
    ]


def _describe_foreign(documents: Sequence[Document], counts: Integers) -> list[Finding]:
    cases = (
        (
            "replacement character",
            "replacement_characters",
            "warning",
            "U+FFFD, which stands for characters that an earlier program lost",
            "reads them as they are",
            "Export these documents again; what is lost cannot be repaired here.",
        ),
        (
            "control",
            "control_characters",
            "note",
            "control characters",
            "reads them as blanks (cleaning step control_characters)",
            "Nothing, unless they separate fields that should be columns.",
        ),
        (
            "private use",
            "private_use_characters",
            "note",
            "private-use characters, which look different in every font",
            "reads them; most encoders do not know them",
            "Replace them if they carry meaning (often bullets and symbols of Word).",
        ),
    )
    findings = []
    for kind, name, severity, told, training, advice in cases:
        column = counts[:, KINDS.index(kind)]
        rows = np.flatnonzero(column)
        if len(rows):
            findings.append(
                Finding(
                    kind=name,
                    severity=severity,  # type: ignore[arg-type]  # a literal of the table above
                    what=f"{counted(len(rows), 'document')} with {int(column.sum()):,} {told}",
                    count=len(rows),
                    examples=tuple(documents[row].id for row in rows[:EXAMPLES].tolist()),
                    training=training,
                    advice=advice,
                )
            )
    return findings


def _describe_short(documents: Sequence[Document], texts: Sequence[str]) -> list[Finding]:
    short = [row for row, text in enumerate(texts) if len(text.strip()) < _SHORT]
    if not short:
        return []
    return [
        Finding(
            kind="short_texts",
            severity="note",
            what=f"{counted(len(short), 'text')} of fewer than {_SHORT} characters",
            count=len(short),
            examples=tuple(documents[row].id for row in short[:EXAMPLES]),
            training="learns them like any other",
            advice="Check that they are documents and not remains of a broken export.",
        )
    ]


def _describe_mixture(documents: Sequence[Document], writing: Writing) -> list[Finding]:
    findings = []
    main, size = next(iter(writing.documents.items()))
    if size < _MOSTLY * len(documents):
        told = ", ".join(f"{name} {count:,}" for name, count in writing.documents.items())
        both = {"Chinese, traditional", "Chinese, simplified"} <= set(writing.documents)
        findings.append(
            Finding(
                kind="languages",
                severity="note",
                what=f"documents in several writings: {told}",
                count=len(documents) - size,
                examples=_first_of_others(documents, writing, main),
                training="learns all of them with one model",
                advice="Take an encoder that knows them all"
                + ("; the cleaning step traditional_to_simplified joins the two." if both else "."),
            )
        )
    if len(writing.mixed) >= 0.05 * len(documents):
        findings.append(
            Finding(
                kind="mixed_writing",
                severity="note",
                what=f"{counted(len(writing.mixed), 'document')} with a second script of a fifth "
                "of the letters or more",
                count=len(writing.mixed),
                examples=tuple(documents[row].id for row in writing.mixed[:EXAMPLES]),
                training="reads them whole",
                advice="Nothing, if it is meant; an encoder of one language reads the other badly.",
            )
        )
    return findings


def _first_of_others(documents: Sequence[Document], writing: Writing, main: str) -> tuple[str, ...]:
    others = [d.id for d, name in zip(documents, writing.main, strict=True) if name != main]
    return tuple(others[:EXAMPLES])
