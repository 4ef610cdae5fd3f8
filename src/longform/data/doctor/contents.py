"""The files and the texts in them: what could not be read, what is damaged, which writing it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from longform.config import CleaningStep, RunConfig, SegmentSettings
from longform.data.doctor.damage import make_damage_detector
from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.doctor.scripts import KINDS, Writing, count_kinds, describe_writing
from longform.data.files.reading import ReadReport
from longform.extras import is_available
from longform.reporting import Reporter, counted
from longform.text.cleaning import Cleaner
from longform.types import Document, Integers

_SURE_ENCODING = 0.9
_SHORT = 20
"""Characters below which a text hardly says what it is about."""
_CLEANED_DOCUMENTS, _CLEANED_CHARACTERS = 400, 20_000
_CLEANING_SHARE = 0.05
"""Share of the documents from which a cleaning step is worth proposing."""
_SAFE_STEPS = ("html", "control_characters", "boilerplate")
"""Steps that take away no meaning, in the order of `CleaningStep`; others are the user's choice."""
_MOSTLY = 0.95


@dataclass(frozen=True, slots=True)
class FileAccount:
    """How one file was read.

    Attributes:
        role: `training` or `validation`.
        report: The reader's own account.
        documents: Number of documents.
    """

    role: str
    report: ReadReport
    documents: int

    def skipped_by_reason(self) -> dict[str, list[str]]:
        """Return reason -> rows that did not become documents, as the file counts or names them."""
        rows: dict[str, list[str]] = {}
        for skipped in self.report.skipped:
            rows.setdefault(skipped.reason, []).append(skipped.name or str(skipped.row))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types; of skipped rows the first of each reason."""
        report = self.report
        return {
            "role": self.role,
            "file": report.path.name,
            "format": report.format,
            "encoding": report.encoding,
            "encoding_certainty": report.encoding_certainty,
            "compression": report.compression,
            "problem_type": report.problem_type,
            "rows": report.rows,
            "documents": self.documents,
            "skipped": [
                {"reason": reason, "count": len(rows), "rows": rows[:EXAMPLES]}
                for reason, rows in self.skipped_by_reason().items()
            ],
            "notes": list(report.notes),
        }


def examine_files(files: Sequence[FileAccount]) -> list[Finding]:
    """Tell of rows that became no document and of encodings that are only likely."""
    findings = []
    for file in files:
        report = file.report
        for reason, rows in file.skipped_by_reason().items():
            findings.append(
                Finding(
                    kind="skipped_rows",
                    severity="warning",
                    what=f"{counted(len(rows), 'row')} of {report.rows:,} of {report.path.name} "
                    f"cannot be used: {reason}",
                    count=len(rows),
                    unit="rows",
                    examples=tuple(rows[:EXAMPLES]),
                    training="leaves them out and says so",
                    advice="Fill in or remove these rows; --fix leaves them out.",
                )
            )
        certainty = report.encoding_certainty
        if certainty is not None and certainty < _SURE_ENCODING:
            findings.append(
                Finding(
                    kind="uncertain_encoding",
                    severity="warning",
                    what=f"{report.path.name} is read as {report.encoding}, which only "
                    f"{100 * certainty:.0f} % of its characters beyond ASCII speak for",
                    count=1,
                    unit="files",
                    examples=(report.path.name,),
                    training="reads it so",
                    advice="Look at a text; if it is garbled, name the encoding "
                    "(--set encoding=big5).",
                )
            )
    return findings


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


def examine_cleaning(
    texts: Sequence[str], config: RunConfig
) -> tuple[dict[str, float], list[Finding]]:
    """Try each cleaning step on some documents.

    Args:
        texts: Of all documents.
        config: Whose `cleaning` and `keep_symbols` hold.

    Returns:
        Step -> share of the documents that it changes, and the proposal of those worth having.
    """
    sample = texts[:: max(1, len(texts) // _CLEANED_DOCUMENTS)][:_CLEANED_DOCUMENTS]
    shares: dict[str, float] = {}
    for step in get_args(CleaningStep):
        if step == "traditional_to_simplified" and not is_available("opencc"):
            continue
        cleaner = Cleaner(SegmentSettings(cleaning=(step,), keep_symbols=config.keep_symbols))
        changed = sum(bool(cleaner.clean(text[:_CLEANED_CHARACTERS]).changes) for text in sample)
        shares[step] = changed / max(len(sample), 1)
    wanted = [
        step
        for step in _SAFE_STEPS
        if step not in config.cleaning and shares[step] >= _CLEANING_SHARE
    ]
    if not wanted:
        return shares, []
    told = ", ".join(f"{step} ({100 * shares[step]:.0f} %)" for step in wanted)
    finding = Finding(
        kind="cleaning",
        severity="note",
        what=f"cleaning steps that are off would change many documents: {told}",
        count=round(max(shares[step] for step in wanted) * len(texts)),
        training="reads the texts with " + (", ".join(config.cleaning) or "no step") + " only",
        advice="Turn them on: they take away markup and layout, and run in serving as well.",
        proposes={
            "cleaning": [s for s in get_args(CleaningStep) if s in {*config.cleaning, *wanted}]
        },
    )
    return shares, [finding]


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
