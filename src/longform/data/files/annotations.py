"""Finished annotations of Label Studio as plain rows: what was chosen becomes a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from longform.data.files.tables import Row

_LABEL = "label"
_ANNOTATIONS = ("annotations", "completions")
"""The key that a task keeps its annotations under; the second is that of old versions."""
_FOREIGN = ("predictions", "drafts", "total_annotations")


class AnnotatedTasks:
    """Turns tasks of Label Studio into rows, and counts what it makes of them.

    A task is an object with `data` and `annotations` (https://labelstud.io/guide/task_format). Its
    row has the keys of `data`, and for each `Choices` control, under the control's name, what was
    chosen: a label name, or a list where several were. A single control is also read as `label`.
    Marked spans are not labels of a document, and are passed over. Rows of the short export
    (JSON-MIN) keep their keys; where several choices stand in an object, they become a list.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def flatten(self, row: Row) -> Row:
        """Return the row of a task; other rows come back as they are."""
        values = row.values
        if row.fault is not None or not values:
            return row
        if not _is_task(values):
            return _flatten_choices(row)
        self._counts["tasks of Label Studio"] += 1
        chosen, fault = self._read(values)
        if len(chosen) == 1:
            chosen.setdefault(_LABEL, next(iter(chosen.values())))
        identity = {"id": values["id"]} if "id" in values else {}
        # What the task was made from has the last word on its id, the annotators on its label.
        merged = {**identity, **values["data"], **chosen}
        return Row(row.number, merged, fault, row.name)

    def notes(self) -> list[str]:
        """Return what was read and passed over so far, with counts."""
        return [f"{count:,} {what}" for what, count in self._counts.items()]

    def _read(self, task: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """Return control -> what was chosen, and why the task cannot be used."""
        answers: dict[str, dict[tuple[str, ...], None]] = {}
        for annotation in _finished(task):
            for control, labels in self._choices(annotation).items():
                answers.setdefault(control, {})[labels] = None
        chosen: dict[str, Any] = {}
        for control, different in answers.items():
            if len(different) > 1:
                told = " against ".join("+".join(labels) for labels in different)
                return {}, f"annotators disagree: {told}"
            (labels,) = different
            chosen[control] = labels[0] if len(labels) == 1 else list(labels)
        if not chosen:
            self._counts["of them without a finished annotation"] += 1
        return chosen, None

    def _choices(self, annotation: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for item in _objects(annotation.get("result")):
            value = item.get("value")
            if item.get("type") != "choices" or not isinstance(value, dict):
                self._counts["marked spans passed over"] += item.get("type") == "labels"
                continue
            names = value.get("choices")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                control = str(item.get("from_name", _LABEL))
                before = found.get(control, ())
                found[control] = tuple(sorted({*before, *names}))
        return {control: names for control, names in found.items() if names}


def _is_task(values: Mapping[str, Any]) -> bool:
    if not isinstance(values.get("data"), dict):
        return False
    return any(isinstance(values.get(key), list) for key in _ANNOTATIONS) or any(
        key in values for key in _FOREIGN
    )


def _finished(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the annotations that count: the ground truth where one is marked, else all."""
    for key in _ANNOTATIONS:
        given = [item for item in _objects(task.get(key)) if not item.get("was_cancelled")]
        if given:
            return [item for item in given if item.get("ground_truth")] or given
    return []


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def _flatten_choices(row: Row) -> Row:
    changed = {
        key: value["choices"]
        for key, value in row.values.items()
        if isinstance(value, dict) and value.keys() == {"choices"}
    }
    if not changed:
        return row
    return Row(row.number, {**row.values, **changed}, row.fault, row.name)
