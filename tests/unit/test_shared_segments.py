"""Documents in files: what comes out is what went in, from any shard."""

from __future__ import annotations

import json

import numpy as np
import pytest

from longform.training.shared_segments import SharedDocuments, share_shards, write_shard
from longform.types import Coverage, Segment, SegmentedDocument


def make_document(number: int) -> SegmentedDocument:
    generator = np.random.default_rng(number)
    count = 1 + number % 4
    segments = tuple(
        Segment(
            10 * place,
            10 * place + 9,
            generator.integers(0, 99, 3 + place).astype(np.int32),
            2 + place,
        )
        for place in range(count)
    )
    reason = (None, "selection", "max_segments")[number % 3]
    coverage = Coverage(50 + number, 40, 9, count, reason is not None, reason, number % 5)
    return SegmentedDocument(segments, generator.random((count, 4)).astype(np.float32), coverage)


def same(ours: SegmentedDocument, theirs: SegmentedDocument) -> bool:
    return (
        ours.coverage == theirs.coverage
        and np.array_equal(ours.positions, theirs.positions)
        and len(ours.segments) == len(theirs.segments)
        and all(
            (one.start, one.end, one.new_tokens) == (other.start, other.end, other.new_tokens)
            and one.token_ids.dtype == other.token_ids.dtype
            and np.array_equal(one.token_ids, other.token_ids)
            for one, other in zip(ours.segments, theirs.segments, strict=True)
        )
    )


@pytest.mark.parametrize("count", [2, 7, 20])
def test_documents_of_three_shards_come_back_in_order(tmp_path, count):
    documents = [make_document(number) for number in range(count)]
    folders = [tmp_path / str(shard) for shard in range(3)]
    for shard, folder in enumerate(folders):
        write_shard(documents[shard::3], folder)
    shared = SharedDocuments(folders)
    assert len(shared) == count
    assert all(same(ours, theirs) for ours, theirs in zip(shared, documents, strict=True))
    assert same(shared[-1], documents[-1])
    assert [same(*both) for both in zip(shared[1::2], documents[1::2], strict=True)]
    with pytest.raises(IndexError):
        shared[count]


def test_shard_is_replaced_and_found_by_the_only_process(tmp_path):
    write_shard([make_document(number) for number in range(9)], tmp_path / "0")
    write_shard([make_document(4)], tmp_path / "0")
    shared = share_shards(tmp_path)
    assert len(shared) == 1
    assert same(shared[0], make_document(4))
    assert json.loads((tmp_path / "0" / "reasons.json").read_text()) == ["selection"]
