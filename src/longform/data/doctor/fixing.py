"""A repaired copy of a data file, and the list of every change; the file itself stays as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longform.config import DataSettings
from longform.data.doctor.damage import make_damage_detector, make_damage_repairer
from longform.data.doctor.features import join_pair
from longform.data.doctor.rewriting import SourceRows, new_file, write_rows
from longform.data.duplicates import find_leaks
from longform.data.label_spelling import normalize_labels
from longform.data.readers import ReadReport, ReadResult, read_documents
from longform.data.repairs import Repair, drop_leaks, repair_training
from longform.data.stratification import labels_of
from longform.errors import InputError, LongformError
from longform.reporting import Reporter
from longform.types import Document

_SUFFIXES = (".jsonl", ".csv")
_SEPARATOR = "|"
"""Between several labels in a field of csv, where the settings name none."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What a repair did.

    Attributes:
        path: The repaired file.
        changes_path: The list of changes, one JSON object a line.
        documents: Documents in the repaired file.
        counts: What was done -> how often.
        notes: What the user should know to read the file.
    """

    path: Path
    changes_path: Path
    documents: int
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {
            "path": str(self.path),
            "changes": str(self.changes_path),
            "documents": self.documents,
            "counts": self.counts,
            "notes": list(self.notes),
        }


def check_fix_target(target: Path, inputs: Sequence[Path]) -> None:
    """Refuse, before anything long begins, a place that must not be written to.

    Raises:
        InputError: The suffix is unknown, the folder is missing, or something stands there.
    """
    if target.suffix.lower() not in _SUFFIXES:
        raise InputError(
            "The repaired file must end in .jsonl or .csv.",
            found=f"{target.name}",
            fix="Add one of the two endings to --fix.",
        )
    if not target.parent.is_dir():
        raise InputError(
            "The repaired file must be written to an existing folder.",
            found=f"no folder {target.parent}",
            fix="Make the folder, or choose another place.",
        )
    for path in (target, _changes_path(target)):
        if any(path.resolve() == source.resolve() for source in inputs):
            raise InputError(
                "A data file is never repaired in place.",
                found=f"{path} is one of the files to be read",
                fix="Choose another name for --fix.",
            )
        if path.exists():
            raise InputError(
                "The repaired file must be a new one.",
                found=f"{path} exists",
                fix="Remove it, or choose another name for --fix.",
            )


def fix_file(
    result: ReadResult,
    validation: Sequence[Document] | None,
    settings: DataSettings,
    target: Path,
    reporter: Reporter | None = None,
) -> Fix:
    """Write a repaired copy of a training file.

    Unusable rows, copies, and documents that stand in validation are left out; labels of one
    meaning get one spelling, contradicting ones the commonest; mojibake is undone where there is
    no doubt. Suspected labels are left as they are. Columns that longform does not read are kept.

    Args:
        result: The file, read with `settings`.
        validation: Documents of the validation file.
        settings: That the file was read with.
        target: The file to write; see `check_fix_target`.
        reporter: Shown the progress.

    Raises:
        InputError: Nothing would be left, or the file has changed since it was read.
        LongformError: The repaired file cannot be written.
    """
    report = result.report
    check_fix_target(target, [report.path])
    rows = SourceRows(result, settings)
    work = _Work(result.documents, rows.names)
    work.respell()
    work.undo_damage(reporter or Reporter())
    if validation:
        near = settings.near_duplicates == "together"
        leaks = find_leaks(work.documents, validation, reporter, near=near)
        work.apply(drop_leaks(work.documents, validation, leaks))
    policy = {"duplicates": "drop", "conflicting_labels": "majority"}
    work.apply(repair_training(work.documents, settings.model_copy(update=policy)))
    changes = [
        {"row": skipped.name or skipped.row, "id": None, "what": "dropped", "why": skipped.reason}
        for skipped in report.skipped
    ] + work.changes
    separator = settings.label_separator or _SEPARATOR
    _write(target, rows, dict(zip(work.places, work.documents, strict=True)), separator, changes)
    try:
        _check_copy(target, work.documents, settings, report, separator)
    except LongformError:
        # A copy that does not hold what was meant is worse than none.
        target.unlink()
        _changes_path(target).unlink()
        raise
    counts = Counter(str(change["what"]) for change in changes)
    joined = target.suffix.lower() == ".csv" and work.documents[0].labels is not None
    notes = (f"several labels are joined by '{separator}': --label-separator",) if joined else ()
    return Fix(target, _changes_path(target), len(work.documents), dict(counts), notes)


def _write(
    target: Path,
    rows: SourceRows,
    kept: Mapping[int, Document],
    separator: str,
    changes: Sequence[Mapping[str, Any]],
) -> None:
    try:
        write_rows(target, rows, kept, separator)
        with new_file(_changes_path(target)) as stream:
            stream.writelines(json.dumps(change, ensure_ascii=False) + "\n" for change in changes)
    except OSError as error:
        raise LongformError(
            "The repaired file must be written in full.",
            found=f"{target}: {error.strerror or error}",
            fix="Free some space, or choose a folder in which this user may write.",
        ) from error


class _Work:
    """Documents on their way to a repaired file, and what was done to them."""

    def __init__(self, documents: Sequence[Document], names: Sequence[str | int]) -> None:
        self.documents = tuple(documents)
        self.places = list(range(len(documents)))
        self.changes: list[dict[str, Any]] = []
        self._names = names

    def respell(self) -> None:
        """Give labels of one meaning their commonest spelling."""
        before = self.documents
        self.documents, _ = normalize_labels(before)
        for index, (old, new) in enumerate(zip(before, self.documents, strict=True)):
            if labels_of(old) != labels_of(new):
                why = f"{', '.join(labels_of(old))!r} is another spelling"
                self._record(index, old.id, "relabelled", why, labels_of(new))

    def undo_damage(self, reporter: Reporter) -> None:
        """Undo mojibake in the documents that have it."""
        is_damaged, repair = make_damage_detector(), make_damage_repairer()
        documents = list(self.documents)
        with reporter.track("Looking for mojibake", len(documents)) as advance:
            for index, document in enumerate(documents):
                advance(1)
                if not is_damaged(join_pair(document)):
                    continue
                text = repair(document.text)
                pair = None if document.text_pair is None else repair(document.text_pair)
                # Two odd signs may turn into one control: that is no repair.
                is_sound = _is_text(text) and (pair is None or _is_text(pair))
                if not is_sound or (text, pair) == (document.text, document.text_pair):
                    continue
                documents[index] = replace(document, text=text, text_pair=pair)
                why = "has lines of mojibake that could be undone without doubt"
                self._record(index, document.id, "text repaired", why)
        self.documents = tuple(documents)

    def apply(self, repair: Repair) -> None:
        """Take over what a repair did."""
        for change in repair.changes:
            self._record(change.index, change.id, change.what, change.why, change.labels)
        dropped = {change.index for change in repair.changes if change.what == "dropped"}
        self.places = [place for i, place in enumerate(self.places) if i not in dropped]
        self.documents = repair.documents

    def _record(
        self, index: int, id: str, what: str, why: str, labels: tuple[str, ...] | None = None
    ) -> None:
        change: dict[str, Any] = {"row": self._names[self.places[index]], "id": id}
        change |= {"what": what, "why": why}
        if labels is not None:
            change["labels"] = list(labels)
        self.changes.append(change)


def _is_text(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _changes_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.changes.jsonl")


def _check_copy(
    target: Path,
    documents: Sequence[Document],
    settings: DataSettings,
    report: ReadReport,
    separator: str,
) -> None:
    """Read the repaired file: it must give the documents that were meant."""
    several = documents[0].labels is not None
    update = {
        "encoding": None,
        "encoding_errors": "strict",
        "normalize_labels": False,
        "text_column": report.text_column,
        "label_column": report.label_column or settings.label_column,
        "label_separator": separator if several else None,
        "problem_type": report.problem_type,
    }
    copy = read_documents(target, settings.model_copy(update=update)).documents
    if [_content(document) for document in copy] != [_content(document) for document in documents]:
        raise LongformError(
            "The repaired file must read back as it was meant.",
            found=f"{len(copy):,} documents in {target}, {len(documents):,} meant, or other texts",
            fix="Write a .jsonl file instead, and report this.",
        )


def _content(document: Document) -> tuple[str, str | None, tuple[str, ...]]:
    return document.text, document.text_pair, labels_of(document)
