"""The files: what they are, what could not be read of them, and how sure their encoding is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from longform.data.doctor.findings import EXAMPLES, Finding
from longform.data.files.reading import ReadReport
from longform.reporting import counted

_SURE_ENCODING = 0.9


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
