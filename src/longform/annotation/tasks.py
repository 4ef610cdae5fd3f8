"""Tasks as files: JSON lines, and what doccano and Label Studio take in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from longform.annotation.selection import Task
from longform.errors import InputError

TaskFormat = Literal["jsonl", "doccano", "label-studio"]
FORMATS: tuple[TaskFormat, ...] = ("jsonl", "doccano", "label-studio")
_CHOICE_CONTROL = "label"
_SPAN_CONTROL = "passages"
_OBJECT = "text"


def check_format(name: str, *, pairs: bool) -> TaskFormat:
    """Return a format by its name.

    Args:
        name: As the user wrote it.
        pairs: Whether a document has two texts.

    Raises:
        InputError: There is none of this name, or it takes one text only.
    """
    if pairs and name in ("doccano", "label-studio"):
        raise InputError(
            f"The format '{name}' holds one text a task.",
            found="a model that judges two texts together",
            fix="Take --format jsonl.",
        )
    for known in FORMATS:
        if known == name:
            return known
    raise InputError(
        "Tasks are written in a format that longform knows.",
        found=f"--format {name}",
        fix=f"Choose of {', '.join(FORMATS)}.",
    )


def write_tasks(
    path: Path, tasks: Sequence[Task], form: TaskFormat, labels: Sequence[str], model: str
) -> list[Path]:
    """Write tasks, and for Label Studio the labelling interface beside them.

    Args:
        path: The file; it is whole, or as it was.
        tasks: What to label first first.
        form: See `as_row`, `as_doccano` and `as_label_studio`.
        labels: All labels that may be given.
        model: Name of the model that the predictions are of.

    Returns:
        The files written.

    Raises:
        InputError: They cannot be written.
    """
    if form == "label-studio":
        content = json.dumps(
            [as_label_studio(task, model) for task in tasks], ensure_ascii=False, indent=1
        )
        several = any(len(task.predicted) != 1 for task in tasks)
        interface = path.with_name(f"{path.name}.interface.xml")
        _write(path, content + "\n")
        _write(interface, labelling_interface(labels, several=several))
        return [path, interface]
    convert: Callable[[Task], dict[str, Any]] = as_row if form == "jsonl" else as_doccano
    _write(path, "".join(_lines(tasks, convert)))
    return [path]


def as_row(task: Task) -> dict[str, Any]:
    """Return a task as a row of a data file whose `label` is still to be filled in."""
    document = task.document
    texts = {"text": document.text}
    if document.text_pair is not None:
        texts["text_pair"] = document.text_pair
    return {
        "id": document.id,
        "label": None,
        "predicted": list(task.predicted),
        "scores": {name: round(score, 6) for name, score in task.scores.items()},
        "uncertainty": round(task.uncertainty, 6),
        "tokens": task.tokens,
        "passage_tokens": task.passage_tokens,
        "passages": _passages(task),
        **texts,
    }


def as_doccano(task: Task) -> dict[str, Any]:
    """Return a task as a line of doccano's JSONL for text classification.

    Doccano knows no predictions, only labels, and what nobody looked at would come back as
    labelled: `label` is empty, and all else is metadata, which doccano shows beside the text.
    """
    row = as_row(task)
    return {
        "text": task.document.text,
        "label": [],
        "document_id": task.document.id,
        **{name: row[name] for name in ("predicted", "scores", "uncertainty", "passages")},
    }


def as_label_studio(task: Task, model: str) -> dict[str, Any]:
    """Return a task for Label Studio, with the prediction to be reviewed.

    The format: https://labelstud.io/guide/predictions. Offsets are code points there, as here.

    Args:
        task: The task.
        model: Name of the model.
    """
    result: list[dict[str, Any]] = []
    if task.predicted:
        result.append(_region("prediction", _CHOICE_CONTROL, "choices", task.predicted, {}))
    for number, passage in enumerate(task.passages, start=1):
        span = {"start": passage.start, "end": passage.end, "text": passage.text}
        result.append(_region(f"passage-{number}", _SPAN_CONTROL, "labels", [passage.label], span))
    return {
        "data": {
            "text": task.document.text,
            "id": task.document.id,
            "uncertainty": round(task.uncertainty, 6),
        },
        "predictions": [
            {
                "model_version": model,
                "score": round(max(task.scores.values()), 6),
                "result": result,
            }
        ],
    }


def labelling_interface(labels: Sequence[str], *, several: bool) -> str:
    """Return the labelling interface of Label Studio that the tasks fit.

    Args:
        labels: All labels that may be given.
        several: Whether a document may have several.
    """
    choice = "multiple" if several else "single"
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in labels)
    marks = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in labels)
    return (
        "<View>\n"
        f'  <Choices name="{_CHOICE_CONTROL}" toName="{_OBJECT}" choice="{choice}">\n'
        f"{choices}\n  </Choices>\n"
        f'  <Labels name="{_SPAN_CONTROL}" toName="{_OBJECT}">\n{marks}\n  </Labels>\n'
        f'  <Text name="{_OBJECT}" value="$text"/>\n'
        "</View>\n"
    )


def _region(
    identity: str, control: str, kind: str, names: Sequence[str], span: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": identity,
        "from_name": control,
        "to_name": _OBJECT,
        "type": kind,
        "value": {**span, kind: list(names)},
    }


def _passages(task: Task) -> list[dict[str, Any]]:
    return [
        {
            "start": passage.start,
            "end": passage.end,
            "label": passage.label,
            "score": round(passage.score, 6),
            "text": passage.text,
            **({"part": passage.part} if task.document.text_pair is not None else {}),
        }
        for passage in task.passages
    ]


def _lines(tasks: Sequence[Task], convert: Callable[[Task], dict[str, Any]]) -> Iterator[str]:
    for task in tasks:
        yield json.dumps(convert(task), ensure_ascii=False) + "\n"


def _write(path: Path, content: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            "The tasks must be written to a file.",
            found=f"{path}: {error.strerror or error}",
            fix="Choose an --output in a folder in which this user may write.",
        ) from error
