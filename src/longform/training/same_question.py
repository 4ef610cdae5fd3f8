"""Whether a teacher and a student answer the same question: the same labels of the same texts."""

from __future__ import annotations

from collections.abc import Sequence

from longform.bundle.layout import BundleDescription
from longform.config import RunConfig
from longform.data.labels import LabelMap
from longform.errors import InputError

_NAMED = 10


def require_same_question(
    name: str, described: BundleDescription, labels: LabelMap, config: RunConfig
) -> None:
    """Make sure that teacher and student answer the same question.

    Args:
        name: Of the teacher, for people.
        described: What the teacher's bundle says of itself.
        labels: Of the student.
        config: Of the student's run.

    Raises:
        InputError: The labels, the kind of labels or the number of texts differ.
    """
    fix = "Take a teacher that was trained on the same labels, or correct the data."
    if described.problem_type != labels.problem_type:
        raise InputError(
            "Teacher and student must give the same kind of labels.",
            found=f"{_kind(described.problem_type)} from the teacher {name}, "
            f"{_kind(labels.problem_type)} in the data",
            fix=fix,
        )
    missing = sorted(set(labels.names) - set(described.labels))
    foreign = sorted(set(described.labels) - set(labels.names))
    if missing or foreign:
        parts = [f"only in the data: {_list(missing)}"] if missing else []
        parts += [f"only in the teacher {name}: {_list(foreign)}"] if foreign else []
        raise InputError(
            "Teacher and student must have the same labels.", found="; ".join(parts), fix=fix
        )
    if described.text_pair != (config.text_pair_column is not None):
        found = ("a pair", "one text") if described.text_pair else ("one text", "a pair")
        raise InputError(
            "Teacher and student must read the same texts.",
            found=f"{found[0]} for the teacher {name}, {found[1]} for the student",
            fix="Give or leave out --text-pair-column, or take another teacher.",
        )


def _kind(problem_type: str) -> str:
    several = problem_type == "multi_label_classification"
    return "any number of labels a document" if several else "one label a document"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
