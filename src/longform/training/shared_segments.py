"""Documents that several processes segment together: each cuts its share, all read all.

A step takes documents from anywhere, so that each process needs any of them sooner or later. Kept
as objects they would be there once in every process. Here the numbers lie in files of the run's
folder and are mapped: the processes of a node share one copy, which the system may drop and read
again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from longform.training.nodes import folder_owner
from longform.training.processes import everyone, rank_here, send_file
from longform.types import (
    POSITION_FEATURES,
    Coverage,
    Segment,
    SegmentedDocument,
)

_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "tokens": (np.int32, 1),
    "positions": (np.float32, POSITION_FEATURES),
    # Tokens before its end, in the shard; start, end and new tokens as in `Segment`.
    "segments": (np.int64, 4),
    # Segments before its end, in the shard; the numbers of its coverage; the number of its reason.
    "documents": (np.int64, 8),
}
"""Files of a shard: the kind of number in it, and how many make a row."""
_REASONS = "reasons.json"


class SharedDocuments(Sequence[SegmentedDocument]):
    """Documents in files, made into objects when they are asked for.

    Args:
        shards: Folders that `write_shard` wrote: of `n`, the `k`-th has every `n`-th document
            from `k`.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = [_Shard(folder) for folder in shards]
        self._count = sum(len(shard.documents) for shard in self._shards)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> SegmentedDocument: ...

    @overload
    def __getitem__(self, index: slice) -> list[SegmentedDocument]: ...

    def __getitem__(self, index: int | slice) -> SegmentedDocument | list[SegmentedDocument]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(self._count))]
        row, shard = divmod(range(self._count)[index], len(self._shards))
        return self._shards[shard].document(row)


class _Shard:
    """The files of one shard, mapped."""

    def __init__(self, folder: Path) -> None:
        self.tokens, self.positions, self.segments, self.documents = (
            _mapped(folder / name, *_COLUMNS[name]) for name in _COLUMNS
        )
        self._reasons = json.loads((folder / _REASONS).read_text(encoding="utf-8"))

    def document(self, row: int) -> SegmentedDocument:
        begin = int(self.documents[row - 1, 0]) if row else 0
        end, total, used, all_segments, used_segments, cut, unknown, reason = self.documents[
            row
        ].tolist()
        rows = self.segments[begin:end].tolist()
        before = int(self.segments[begin - 1, 0]) if begin else 0
        bounds = pairwise([before, *(last for last, *_ in rows)])
        segments = tuple(
            Segment(start, stop, self.tokens[first:last, 0], new)
            for (first, last), (_, start, stop, new) in zip(bounds, rows, strict=True)
        )
        coverage = Coverage(
            total, used, all_segments, used_segments, bool(cut), self._reasons[reason], unknown
        )
        return SegmentedDocument(segments, np.array(self.positions[begin:end]), coverage)


def write_shard(documents: Iterable[SegmentedDocument], folder: Path) -> None:
    """Write documents, one at a time, to files that `SharedDocuments` reads.

    Args:
        documents: Of one process.
        folder: Is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    reasons: dict[str | None, int] = {}
    tokens = segments = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("wb")) for name in _COLUMNS}

        def write(name: str, rows: Any) -> None:
            files[name].write(np.asarray(rows, dtype=_COLUMNS[name][0]).tobytes())

        for document in documents:
            for segment in document.segments:
                tokens += len(segment.token_ids)
                write("tokens", segment.token_ids)
                write("segments", (tokens, segment.start, segment.end, segment.new_tokens))
            segments += len(document.segments)
            write("positions", document.positions)
            told = document.coverage
            write(
                "documents",
                (
                    *(segments, told.tokens_total, told.tokens_used, told.segments_total),
                    *(told.segments_used, told.truncated, told.tokens_unknown),
                    reasons.setdefault(told.reason, len(reasons)),
                ),
            )
    (folder / _REASONS).write_text(json.dumps(list(reasons)), encoding="utf-8")


def share_shards(folder: Path) -> SharedDocuments:
    """Bring the shards of all processes to every node, and open them.

    Every process must call it.

    Args:
        folder: In which each process has written its shard under its number.

    Raises:
        TrainingError: A process is gone.
    """
    rank, owner = rank_here(), folder_owner(folder)
    owners = everyone(owner)
    sizes = everyone({name: (folder / str(rank) / name).stat().st_size for name in _files()})
    for sender in range(len(owners)) if len(set(owners)) > 1 else ():
        place = folder / str(sender)
        wants = rank == owner and owners[sender] != owner
        if wants:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        for name, size in sizes[sender].items():
            send_file(place / name, place / name if wants else None, sender, size)
    # Nobody looks for a shard before it has arrived.
    everyone(None)
    return SharedDocuments([folder / str(number) for number in range(len(owners))])


def _files() -> tuple[str, ...]:
    return (*_COLUMNS, _REASONS)


def _mapped(path: Path, kind: type[np.generic], width: int) -> NDArray[Any]:
    # An empty file cannot be mapped.
    if not path.stat().st_size:
        return np.empty((0, width), dtype=kind)
    # Slices of the plain array cost a fraction of those of the class that numpy maps to.
    flat: NDArray[Any] = np.asarray(np.memmap(path, dtype=kind, mode="r"))
    return flat.reshape(-1, width)
