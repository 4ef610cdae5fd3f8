"""The account of how a file was read: nothing that was left out stays unsaid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from longform.config import ProblemType
from longform.data.files.tables import Format
from longform.types import Document

_ROWS_NAMED = 5


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that did not become a document.

    Attributes:
        row: Its number, as in `Row`.
        reason: Why.
        name: As in `Row`.
        id: What it names itself, or its number.
    """

    row: int
    reason: str
    name: str | None = None
    id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What was found in a file.

    Attributes:
        path: The file, or a name for rows that came from Python.
        format: What its content is, whatever its name says.
        encoding: Codec name; None where the format has no choice.
        compression: `gzip`, `zstd` or None.
        rows: Rows read, the skipped ones included.
        skipped: The rows that did not become documents, in order.
        notes: Anything else the user should know.
        problem_type: One label a document or several; None where labels were not read.
        encoding_certainty: Share of the characters beyond ASCII that are common in a detected
            encoding; None where the bytes themselves decide, as for UTF-8.
        text_column: The column that the texts came from.
        label_column: The column that the labels came from; None where labels were not read.
    """

    path: Path
    format: Format
    encoding: str | None
    compression: str | None
    rows: int
    skipped: tuple[SkippedRow, ...] = ()
    notes: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    encoding_certainty: float | None = None
    text_column: str = "text"
    label_column: str | None = None

    def summary(self) -> str:
        """Return one line for the user."""
        kind = ", ".join(part for part in (self.format, self.encoding, self.compression) if part)
        parts = [f"{self.path.name} ({kind}): {self.rows - len(self.skipped):,} documents"]
        if self.problem_type == "multi_label_classification":
            parts.append("any number of labels a document")
        if self.skipped:
            reasons = describe_skipped(self.skipped)
            parts.append(f"{len(self.skipped):,} of {self.rows:,} rows skipped: {reasons}")
        return "; ".join([*parts, *self.notes])


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The documents of a file, in file order, and the account of how they were read."""

    documents: tuple[Document, ...]
    report: ReadReport


def describe_skipped(skipped: tuple[SkippedRow, ...]) -> str:
    """Return the reasons with their counts and the numbers of the first rows of each."""
    rows_of_reason: dict[str, list[SkippedRow]] = {}
    for entry in skipped:
        rows_of_reason.setdefault(entry.reason, []).append(entry)
    parts = []
    for reason, rows in rows_of_reason.items():
        named = ", ".join(row.name or str(row.row) for row in rows[:_ROWS_NAMED])
        named += ", ..." if rows[_ROWS_NAMED:] else ""
        parts.append(f"{len(rows):,} {reason} (row{'s' if len(rows) > 1 else ''} {named})")
    return ", ".join(parts)


def describe_repeats(documents: tuple[Document, ...]) -> list[str]:
    """Say what documents repeat of one another: texts, contradicting labels, ids."""
    labels_of_text: dict[tuple[str, str | None], frozenset[str]] = {}
    duplicates = 0
    contradicted: dict[tuple[str, str | None], str] = {}
    for document in documents:
        key = (document.text, document.text_pair)
        labels = frozenset(document.labels or () if document.label is None else (document.label,))
        if key not in labels_of_text:
            labels_of_text[key] = labels
            continue
        duplicates += 1
        if labels_of_text[key] != labels:
            contradicted.setdefault(key, document.id)
    notes = []
    if duplicates:
        notes.append(f"{duplicates:,} documents repeat the text of an earlier one")
    if contradicted:
        named = ", ".join(list(contradicted.values())[:_ROWS_NAMED])
        notes.append(f"{len(contradicted):,} texts have contradicting labels (ids {named})")
    repeated_ids = len(documents) - len({document.id for document in documents})
    if repeated_ids:
        notes.append(f"{repeated_ids:,} documents repeat the id of an earlier one")
    return notes
