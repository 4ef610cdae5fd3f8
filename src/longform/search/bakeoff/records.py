"""What is known so far: a file for each contender and split, so that nothing done is lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from longform.search.bakeoff.contenders import Contender
from longform.search.bakeoff.statistics import Judged
from longform.search.folder import write_json
from longform.types import Integers, Targets

SPLITS_NAME = "splits"

State = Literal["done", "failed", "cut"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one contender on one split.

    Attributes:
        contender: Its name.
        split: Number of the split.
        state: `done`; `failed`, with the reason; or `cut` when the budget ended.
        seconds: That it took.
        reason: Why it failed.
        predicted: Answers to the judged documents, in their order.
        trained: Documents that it learnt from.
        document_ms: Milliseconds a document, as it was trained.
        kind: What was trained, for people.
        encoding_seconds: Of `seconds`, those in which segments were encoded whose vectors are kept.
    """

    contender: str
    split: int
    state: State
    seconds: float
    reason: str = ""
    predicted: Targets | None = None
    trained: int = 0
    document_ms: float | None = None
    kind: str = ""
    encoding_seconds: float = 0.0


@dataclass(slots=True)
class Standing:
    """A contender and all that is known of it.

    Attributes:
        contender: Who.
        attempts: In order.
        out: Why it gets no further split; empty while it does.
        judged: Split -> its answers.
    """

    contender: Contender
    attempts: list[Attempt] = field(default_factory=list)
    out: str = ""
    judged: dict[int, Judged] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the contender."""
        return self.contender.name

    @property
    def seconds(self) -> float:
        """Of all attempts."""
        return sum(attempt.seconds for attempt in self.attempts)

    @property
    def split_seconds(self) -> float | None:
        """That a further split will take: what the last one took; None when nothing is known.

        Encoding is left out: the splits are of the same documents, whose vectors are kept.
        """
        done = [attempt for attempt in self.attempts if attempt.state == "done"]
        return done[-1].seconds - done[-1].encoding_seconds if done else None

    @property
    def document_ms(self) -> float | None:
        """Milliseconds a document, the median over the splits."""
        known = [item.document_ms for item in self.attempts if item.document_ms is not None]
        return float(np.median(known)) if known else None

    def add(self, attempt: Attempt, places: Integers | None) -> None:
        """Take an attempt in; `places` are those of the documents that it was judged on."""
        self.attempts.append(attempt)
        if attempt.state == "done" and attempt.predicted is not None and places is not None:
            self.judged[attempt.split] = Judged(places, attempt.predicted, attempt.trained)


class Records:
    """The attempts in a folder.

    Args:
        folder: Of the bake-off.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / SPLITS_NAME
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, contender: Contender, attempt: Attempt) -> None:
        """Keep an attempt; a later one of the same split takes its place, but not its seconds."""
        path = self._path(contender, attempt.split)
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        content: dict[str, Any] = {
            "contender": contender.name,
            "settings": contender.settings,
            "split": attempt.split,
            "state": attempt.state,
            "seconds": round(attempt.seconds, 3),
            "lost_seconds": before.get("lost_seconds", 0.0) + before.get("seconds", 0.0),
            "reason": attempt.reason,
            "trained": attempt.trained,
            "document_ms": attempt.document_ms,
            "kind": attempt.kind,
            "encoding_seconds": round(attempt.encoding_seconds, 3),
            "predicted": _rows(attempt.predicted),
        }
        write_json(path, content)

    def read(self, contender: Contender, classes: int, *, several: bool) -> list[Attempt]:
        """Return the finished attempts of a contender, in the order of the splits.

        Args:
            contender: Who.
            classes: Number of classes.
            several: Whether a document may have several labels.
        """
        found = []
        for path in self._folder.glob(f"{contender.key}.*.json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["state"] != "done":
                continue
            rows = content["predicted"]
            if several:
                predicted: Targets = np.zeros((len(rows), classes), dtype=np.bool_)
                for row, members in enumerate(rows):
                    predicted[row, members] = True
            else:
                predicted = np.array(rows, dtype=np.int64)
            names = ("contender", "split", "state", "seconds", "trained", "document_ms", "kind")
            values = {name: content[name] for name in names}
            values["encoding_seconds"] = content.get("encoding_seconds", 0.0)
            found.append(Attempt(**values, predicted=predicted))
        return sorted(found, key=lambda attempt: attempt.split)

    def spent(self) -> float:
        """Return the seconds of all attempts, those that led to nothing included."""
        contents = (
            json.loads(path.read_text(encoding="utf-8")) for path in self._folder.glob("*.json")
        )
        return sum(float(item["seconds"]) + float(item["lost_seconds"]) for item in contents)

    def _path(self, contender: Contender, split: int) -> Path:
        return self._folder / f"{contender.key}.{split:03}.json"


def _rows(predicted: Targets | None) -> Sequence[Any]:
    if predicted is None:
        return []
    if predicted.ndim == 1:
        numbers: list[int] = predicted.tolist()
        return numbers
    return [np.flatnonzero(row).tolist() for row in predicted]
