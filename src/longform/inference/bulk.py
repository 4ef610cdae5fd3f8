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
    job = _Job(source, target, _form(target), text_column, top_k)
    counts = job.run(predictor, reporter)
    job.partial.replace(target)
    seconds = time.perf_counter() - started
    reporter.say(
        f"{counts['documents']:,} documents classified, {counts['skipped_rows']:,} rows without a "
        f"text, {counts['truncated']:,} not read whole, in {seconds:,.1f} s. Answers: {target}"
    )
    return {
        **counts,
        "seconds": round(seconds, 2),
        "output": str(target),
        "backend": str(predictor.backend_info),
    }


@dataclass(frozen=True, slots=True)
class _Job:
    """One file of documents, one file of answers."""

    source: Path
    target: Path
    form: str
    text_column: str
    top_k: int | None

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")

    def run(self, predictor: Predictor, reporter: Reporter) -> dict[str, int]:
        """Answer what is not answered yet; return what was counted."""
        reader = DocumentReader(self.source, text_column=self.text_column, labelled=False)
        total = sum(1 for _ in reader)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        done = _lines_done(self.partial, self.form) if self.partial.exists() else 0
        if done:
            reporter.say(f"Continuing after {done:,} answers in {self.partial}.")
        truncated, count = 0, done
        with (
            self.partial.open("a", encoding="utf-8", newline="") as file,
            reporter.track("Predicting", total) as advance,
        ):
            if self.form == "csv" and self.partial.stat().st_size == 0:
                file.write(_csv_row(CSV_COLUMNS))
            advance(done)
            for documents, scores in predictor.iterate_scores(islice(iter(reader), done, None)):
                predictions = predictor.decide(documents, scores)
                file.writelines(_Line.of(item, self.top_k).write(self.form) for item in predictions)
                file.flush()
                truncated += sum(item.coverage.truncated for item in predictions)
                count += len(predictions)
                advance(len(predictions))
            skipped = reader.report.skipped
            file.writelines(
                _Line(str(row.row), error=row.reason).write(self.form) for row in skipped
            )
        return {"documents": count, "skipped_rows": len(skipped), "truncated": truncated}


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
    lines = content[:end].decode("utf-8").split("\n")[:-1]
    if form == "csv":
        return max(0, sum(1 for _ in csv.reader(line + "\n" for line in lines)) - 1)
    return len(lines)


def _csv_row(cells: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _escape(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
