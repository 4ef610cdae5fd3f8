"""A file of documents to a file of answers: streamed, in order, resumable."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from longform.data.readers import DocumentReader
from longform.errors import InputError
from longform.inference.predictor import Predictor
from longform.reporting import Reporter
from longform.types import Prediction

CSV_COLUMNS = ("id", "label", "score", "tokens_total", "tokens_used", "truncated", "error")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def predict_file(
    predictor: Predictor,
    source: Path,
    target: Path,
    *,
    text_column: str = "text",
    top_k: int | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Classify every document of a file.

    Answers are written to `<target>.partial` as they come, and renamed when all are there; the
    same call continues a partial file. Rows without a text are answered too, with the reason, at
    the end of the file.

    Args:
        predictor: The model.
        source: Documents; labels are not read.
        target: `.jsonl` or `.csv`.
        text_column: Where the texts are.
        top_k: Scores in each answer; None writes all. A csv has the best label only.
        reporter: Told how far it is.

    Returns:
        Counts: documents, rows without a text, truncated documents, seconds.

    Raises:
        InputError: A file cannot be read or written, or the partial file is of another job.
    """
    reporter = reporter or Reporter()
    started = time.perf_counter()
    form = _form(target)
    partial = target.with_name(target.name + ".partial")
    reader = DocumentReader(source, text_column=text_column, labelled=False)
    done = _lines_done(partial, form) if partial.exists() else 0
    if done:
        reporter.say(f"Continuing after {done:,} answers in {partial}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    truncated = count = 0
    with (
        partial.open("a", encoding="utf-8", newline="") as file,
        reporter.track("Predicting", sum(1 for _ in reader)) as advance,
    ):
        if form == "csv" and partial.stat().st_size == 0:
            file.write(_csv_row(CSV_COLUMNS))
        advance(done)
        for documents, scores in predictor.iterate_scores(islice(iter(reader), done, None)):
            for prediction in predictor.decide(documents, scores):
                file.write(_Line.of(prediction, top_k).write(form))
                truncated += prediction.coverage.truncated
                count += 1
            file.flush()
            advance(len(documents))
        report = reader.report
        for row in report.skipped:
            file.write(_Line(str(row.row), error=row.reason).write(form))
    partial.replace(target)
    seconds = time.perf_counter() - started
    reporter.say(
        f"{done + count:,} documents classified, {len(report.skipped):,} rows without a text, "
        f"{truncated:,} not read whole; {count / max(seconds, 1e-9):.1f} documents/s. "
        f"Answers: {target}"
    )
    return {
        "documents": done + count,
        "skipped_rows": len(report.skipped),
        "truncated": truncated,
        "seconds": round(seconds, 2),
        "output": str(target),
        "backend": str(predictor.backend_info),
    }


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of the output."""

    id: str
    prediction: Prediction | None = None
    top_k: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, prediction: Prediction, top_k: int | None) -> _Line:
        return cls(prediction.id, prediction, top_k)

    def write(self, form: str) -> str:
        if form == "csv":
            return _csv_row(tuple(map(_escape, self._cells())))
        if self.prediction is None:
            return json.dumps({"id": self.id, "error": self.error}, ensure_ascii=False) + "\n"
        content = asdict(self.prediction)
        content["scores"] = content["scores"][: self.top_k]
        del content["evidence"]
        return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"

    def _cells(self) -> Iterator[str]:
        yield self.id
        if self.prediction is None:
            yield from ("", "", "", "", "", self.error or "")
            return
        coverage = self.prediction.coverage
        yield self.prediction.label
        yield f"{self.prediction.score:.6f}"
        yield str(coverage.tokens_total)
        yield str(coverage.tokens_used)
        yield "true" if coverage.truncated else "false"
        yield ""


def _form(target: Path) -> str:
    form = target.suffix.lower().removeprefix(".")
    if form not in {"jsonl", "csv"}:
        raise InputError(
            "The answers go into a .jsonl or .csv file.",
            found=f"{target.name}",
            fix="Name the output with one of these suffixes.",
        )
    return form


def _lines_done(partial: Path, form: str) -> int:
    """Count whole lines, and cut off one that a killed process left unfinished."""
    content = partial.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with partial.open("r+b") as file:
            file.truncate(end)
    lines = content[:end].decode("utf-8").splitlines(keepends=False)
    if form == "csv":
        return max(0, len(list(csv.reader(lines))) - 1)
    return len(content[:end].split(b"\n")) - 1


def _csv_row(cells: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _escape(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
