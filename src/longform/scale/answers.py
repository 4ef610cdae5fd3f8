"""Answers and errors of a part as Arrow tables: one row for each row that was read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longform.decision.rule import DecisionRule
from longform.scale.parts import PartName, RowError
from longform.scale.storage import Storage
from longform.types import LabelScore, Prediction

ANSWERS, ERRORS = "answers", "errors"
_ACCOUNT = b"longform"


@dataclass(frozen=True, slots=True)
class PartAccount:
    """What became of a part; it travels in the metadata of the part's answers.

    Attributes:
        file: Number of its file.
        number: Its own.
        answers: Rows with an answer.
        errors: Rows without.
        truncated: Of the answers, those that do not rest on all tokens.
        tokens: Of all documents.
        is_last: Whether its file ends with it.
        failed: Whether the file could not be read to its end.
        seconds: That a worker took to segment, score and write it.
    """

    file: int
    number: int
    answers: int
    errors: int
    truncated: int
    tokens: int
    is_last: bool
    failed: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> PartName:
        """The place of the part."""
        return PartName(self.file, self.number)


def write_part(
    storage: Storage,
    account: PartAccount,
    answers: tuple[Sequence[int], Sequence[Prediction]],
    errors: Sequence[RowError],
    form: AnswerForm,
) -> None:
    """Write what became of a part: the errors first, so that its answers say that all is there.

    Raises:
        InputError: The storage refuses.
    """
    if errors:
        storage.write_table(_error_table(account.file, errors), account.name.path(ERRORS))
    table = form.table(account, *answers)
    storage.write_table(table, account.name.path(ANSWERS))


def read_account(storage: Storage, name: str) -> PartAccount:
    """Return what the answers of a finished part say of it."""
    metadata, _ = storage.metadata(name)
    return PartAccount(**json.loads(metadata[_ACCOUNT]))


class AnswerForm:
    """The columns of the answers, the same in all parts of a job.

    Args:
        rule: Of the bundle: some columns are of calibrated bundles or several labels alone.
        top_k: Scores of each answer; None keeps all.
        has_exits: Whether the bundle is a cascade.
    """

    def __init__(self, rule: DecisionRule, top_k: int | None, *, has_exits: bool) -> None:
        import pyarrow as pa

        score = pa.struct([("label", pa.string()), ("score", pa.float32())])
        fields = [
            ("file", pa.int32()),
            ("row", pa.int64()),
            ("id", pa.string()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("scores", pa.list_(score)),
            *((name, pa.int64()) for name in _COUNTS),
            ("truncated", pa.bool_()),
            ("reason", pa.string()),
        ]
        if rule.is_multi_label:
            fields.append(("labels", pa.list_(score)))
        if rule.calibrated:
            fields.append(("abstained", pa.bool_()))
        if rule.label_sets is not None:
            fields.append(("prediction_set", pa.list_(pa.string())))
        if has_exits:
            exits = [("stage", pa.int32()), ("segment", pa.int32()), ("reason", pa.string())]
            fields.append(("exit", pa.struct(exits)))
        self._schema = pa.schema(fields)
        self._top_k = top_k

    def table(
        self, account: PartAccount, rows: Sequence[int], predictions: Sequence[Prediction]
    ) -> Any:
        """Return the answers of a part as a table."""
        import pyarrow as pa

        columns = {
            name: [self._value(name, item) for item in predictions]
            for name in self._schema.names
            if name not in {"file", "row"}
        }
        columns |= {"file": [account.file] * len(rows), "row": list(rows)}
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        metadata = {_ACCOUNT: json.dumps(asdict(account)).encode()}
        return pa.Table.from_arrays(arrays, schema=self._schema.with_metadata(metadata))

    def _value(self, name: str, item: Prediction) -> Any:
        if name in _COVERAGE:
            return getattr(item.coverage, name)
        if name == "scores":
            return _score_rows(item.scores[: self._top_k])
        if name == "labels":
            return _score_rows(item.labels or ())
        if name == "exit":
            return None if item.exit is None else asdict(item.exit)
        return getattr(item, name)


_COUNTS = ("tokens_total", "tokens_used", "segments_total", "segments_used")
_COVERAGE = frozenset({*_COUNTS, "truncated", "reason"})


def _score_rows(scores: Sequence[LabelScore]) -> list[dict[str, Any]]:
    return [{"label": item.label, "score": item.score} for item in scores]


def _error_table(file: int, errors: Sequence[RowError]) -> Any:
    import pyarrow as pa

    schema = pa.schema(
        [("file", pa.int32()), ("row", pa.int64()), ("id", pa.string()), ("reason", pa.string())]
    )
    rows = [
        {"file": file, "row": item.row, "id": item.id, "reason": item.reason} for item in errors
    ]
    return pa.Table.from_pylist(rows, schema=schema)
