"""A file of documents to a file of answers: streamed, in order, resumable."""

from __future__ import annotations

import csv
import errno
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from longform.bundle import file_digest
from longform.config import DataSettings
from longform.data.readers import DocumentReader
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.predictor import Predictor
from longform.reporting import Reporter
from longform.types import Prediction

CSV_COLUMNS = ("id", "label", "score", "tokens_total", "tokens_used", "truncated", "error")
"""Where a document may have several labels, `labels` follows, those given joined by `|`; where the
bundle was calibrated, `abstained`, and `prediction_set` where it has sets, joined alike."""
_READ_BY = {"text_column", "text_pair_column", "encoding", "encoding_errors"}
_AS_WRITTEN = DataSettings()
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def predict_file(
    predictor: Predictor,
    source: Path,
    target: Path,
    settings: DataSettings = _AS_WRITTEN,
    *,
    top_k: int | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Classify every document of a file.

    Answers are written to `<target>.partial` as they come, and renamed when all are there; the
    same call continues a partial file, which `<target>.partial.json` tells from one of another
    job. Rows without a text are answered too, with the reason, at the end of the file.

    Args:
        predictor: The model.
        source: Documents; labels are not read.
        target: `.jsonl` or `.csv`.
        settings: Where the texts are, and how the file is encoded.
        top_k: Scores in each answer; None writes all. A csv has the best label only.
        reporter: Told how far it is.

    Returns:
        Counts: documents, rows without a text, truncated documents, seconds.

    Raises:
        InputError: A file cannot be read or written, or the partial file is of another job.
    """
    reporter = reporter or Reporter()
    started = time.perf_counter()
    job = _Job(source, target, _form(target), settings, top_k)
    with _explaining(target):
        job.target.parent.mkdir(parents=True, exist_ok=True)
        job.claim(predictor.bundle.digest)
    counts = job.run(predictor, reporter)
    job.partial.replace(target)
    job.record.unlink()
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
    settings: DataSettings
    top_k: int | None

    @property
    def partial(self) -> Path:
        return self.target.with_name(self.target.name + ".partial")

    @property
    def record(self) -> Path:
        return self.target.with_name(self.target.name + ".partial.json")

    def claim(self, bundle_digest: str) -> None:
        """Make sure that a partial file is of this job, and start one where there is none."""
        settings = {
            "the documents": file_digest(self.source) if self.source.is_file() else "",
            "the bundle": bundle_digest,
            **self.settings.model_dump(include=_READ_BY),
            "top_k": self.top_k,
        }
        if self.partial.exists():
            found = json.loads(self.record.read_text("utf-8")) if self.record.exists() else {}
            differing = [key for key, value in settings.items() if found.get(key, self) != value]
            if differing:
                raise InputError(
                    "Answers that are there in part are continued only by the same job.",
                    found=f"{self.partial} differs in {', '.join(differing)}",
                    fix="Remove that file, or choose another --output.",
                )
            return
        self.record.write_text(json.dumps(settings), encoding="utf-8")
        self.partial.touch()

    def run(self, predictor: Predictor, reporter: Reporter) -> dict[str, int]:
        """Answer what is not answered yet; return what was counted."""
        reader = DocumentReader(self.source, self.settings, labelled=False)
        total = sum(1 for _ in reader)
        done, truncated = _keep_answers(self.partial, self.form)
        if done:
            reporter.say(f"Continuing after {done:,} answers in {self.partial}.")
        count = done
        with (
            self.partial.open("a", encoding="utf-8", newline="") as file,
            reporter.track("Predicting", total) as advance,
        ):
            if self.form == "csv" and self.partial.stat().st_size == 0:
                file.write(_csv_row((*CSV_COLUMNS, *_further_columns(predictor.rule))))
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
        for name in ("labels", "exit", "prediction_set"):
            if content[name] is None:
                del content[name]
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
        if self.prediction.labels is not None:
            yield "|".join(entry.label for entry in self.prediction.labels)
        if self.prediction.calibrated:
            yield "true" if self.prediction.abstained else "false"
        if self.prediction.prediction_set is not None:
            yield "|".join(self.prediction.prediction_set)


def _further_columns(rule: DecisionRule) -> Iterator[str]:
    """Name the columns of a csv that not every bundle has."""
    if rule.is_multi_label:
        yield "labels"
    if rule.calibrated:
        yield "abstained"
    if rule.label_sets is not None:
        yield "prediction_set"


def _form(target: Path) -> str:
    form = target.suffix.lower().removeprefix(".")
    if form not in {"jsonl", "csv"}:
        raise InputError(
            "The answers go into a .jsonl or .csv file.",
            found=f"{target.name}",
            fix="Name the output with one of these suffixes.",
        )
    return form


@contextmanager
def _explaining(target: Path) -> Iterator[None]:
    """Refuse a place for the answers before the work, not after it."""
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(target))
        yield
    except OSError as error:
        raise InputError(
            f"The answers must be written to {target}, and the file system refused.",
            found=f"{error.filename or target}: {error.strerror or error}",
            fix="Choose an --output in a folder in which this user may write.",
        ) from error


def _keep_answers(partial: Path, form: str) -> tuple[int, int]:
    """Cut a partial file off after its last whole answer.

    What a killed process may have left behind that are half a line, or rows without a text, which
    are written again when all others are there.

    Returns:
        The number of answers, and of those that rest on a part of their document.
    """
    lines = [line + b"\n" for line in partial.read_bytes().split(b"\n")[:-1]]
    kept, count, truncated = int(form == "csv" and bool(lines)), 0, 0
    for end, is_truncated in _answers([line.decode("utf-8") for line in lines], form):
        kept, count, truncated = end, count + 1, truncated + is_truncated
    with partial.open("r+b") as file:
        file.truncate(sum(map(len, lines[:kept])))
    return count, truncated


def _answers(lines: list[str], form: str) -> Iterator[tuple[int, bool]]:
    """Yield the number of lines up to the end of each answer, and whether it was truncated."""
    if form == "csv":
        rows = csv.DictReader(lines)
        for row in rows:
            # Some text for a row without one, None for a row that ends too early.
            if row["error"] != "":
                return
            yield rows.line_num, row["truncated"] == "true"
        return
    for number, line in enumerate(lines, start=1):
        content = json.loads(line)
        if "error" in content:
            return
        yield number, content["coverage"]["truncated"]


def _csv_row(cells: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def _escape(cell: str) -> str:
    """Keep a spreadsheet from running a cell as a formula (OWASP, "CSV Injection")."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
