from __future__ import annotations

import errno
import fcntl
import os

import numpy as np
import pytest

from longform.training.vectors import VectorStore, default_cache_folder
from longform.types import Coverage, Floats, Segment, SegmentBatch, SegmentedDocument

WIDTH = 3


class Encoder:
    """Gives each segment a vector that tells its tokens, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls = 0
        self.segments: list[tuple[int, ...]] = []

    def __call__(self, batch: SegmentBatch) -> Floats:
        self.calls += 1
        rows = []
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
            tokens = ids[mask == 1].tolist()
            self.segments.append(tuple(tokens))
            rows.append(expected(tokens))
        return np.array(rows, dtype=np.float32)


def expected(tokens: list[int]) -> list[float]:
    return [float(sum(tokens)), float(len(tokens)), float(tokens[0])]


def document(*segments: list[int]) -> SegmentedDocument:
    return SegmentedDocument(
        tuple(Segment(0, len(ids), np.array(ids, dtype=np.int32)) for ids in segments),
        np.zeros((len(segments), 4), dtype=np.float32),
        Coverage(0, 0, 0, 0),
    )


def right(documents: list[SegmentedDocument], vectors: list[Floats]) -> bool:
    return [rows.tolist() for rows in vectors] == [
        [expected(segment.token_ids.tolist()) for segment in one.segments] for one in documents
    ]


FIRST = [document([5, 6, 7], [8]), document([9, 9])]
SECOND = [document([1, 2, 3, 4], [5, 6, 7]), document([9, 9], [10], [11])]


@pytest.fixture
def opened(tmp_path):
    """Open the same store as often as wanted."""
    return lambda: VectorStore(tmp_path / "vectors", ["encoder", "fp32"], WIDTH)


def file_of(tmp_path, name):
    (path,) = (tmp_path / "vectors").glob(f"*/{name}")
    return path


def test_vectors_come_back_for_each_document_in_its_order(opened):
    encoder = Encoder()
    with opened() as store:
        vectors = store.vectors(FIRST, encoder, pad_id=0)
        assert right(FIRST, vectors)
        assert all(rows.dtype == np.float32 for rows in vectors)
        assert len(store) == 3


def test_only_segments_that_are_missing_are_encoded(opened):
    encoder = Encoder()
    with opened() as store:
        store.vectors(FIRST, encoder, pad_id=0)
        assert sorted(encoder.segments) == [(5, 6, 7), (8,), (9, 9)]
        encoder.segments.clear()
        assert right(SECOND, store.vectors(SECOND, encoder, pad_id=0))
        assert sorted(encoder.segments) == [(1, 2, 3, 4), (10,), (11,)]
        calls = encoder.calls
        assert right(FIRST + SECOND, store.vectors(FIRST + SECOND, encoder, pad_id=0))
        assert encoder.calls == calls


def test_another_run_finds_them(opened):
    with opened() as store:
        store.vectors(FIRST, Encoder(), pad_id=0)
    encoder = Encoder()
    with opened() as store:
        assert len(store) == 3
        assert right(SECOND, store.vectors(SECOND, encoder, pad_id=1))
    assert sorted(encoder.segments) == [(1, 2, 3, 4), (10,), (11,)]


def test_a_segment_that_repeats_is_encoded_once(opened):
    encoder = Encoder()
    documents = [document([4, 4], [4, 4], [5]), document([4, 4])]
    with opened() as store:
        assert right(documents, store.vectors(documents, encoder, pad_id=0))
        assert len(store) == 2
    assert sorted(encoder.segments) == [(4, 4), (5,)]


def test_equal_bytes_of_other_lengths_are_other_segments(opened):
    documents = [document([0], [0, 0], [0, 0, 0])]
    with opened() as store:
        assert right(documents, store.vectors(documents, Encoder(), pad_id=0))
        assert len(store) == 3


def test_documents_without_segments_have_no_rows(opened):
    documents = [document(), FIRST[0], document()]
    with opened() as store:
        assert store.vectors([], Encoder(), pad_id=0) == []
        empty = store.vectors([document()], Encoder(), pad_id=0)
        assert [rows.shape for rows in empty] == [(0, WIDTH)]
        assert right(documents, store.vectors(documents, Encoder(), pad_id=0))


def test_many_segments_are_saved_in_groups_and_keep_their_places(opened, monkeypatch):
    monkeypatch.setattr("longform.training.vectors._SEGMENTS_BETWEEN_WRITES", 10)
    documents = [document(*([n, *range(m)] for m in range(n % 7))) for n in range(1, 40)]
    encoder = Encoder()
    with opened() as store:
        assert right(documents, store.vectors(documents, encoder, pad_id=0))
    encoder.segments.clear()
    shuffled = documents[::-1]
    with opened() as store:
        assert right(shuffled, store.vectors(shuffled, encoder, pad_id=0))
    assert encoder.segments == []


@pytest.mark.parametrize(
    ("key", "width"), [(["encoder", "bf16"], WIDTH), (["other"], WIDTH), (["encoder", "fp32"], 4)]
)
def test_what_changes_the_vectors_is_another_store(tmp_path, opened, key, width):
    with opened() as store:
        store.vectors(FIRST, Encoder(), pad_id=0)
    with VectorStore(tmp_path / "vectors", key, width) as other:
        assert len(other) == 0


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("vectors.f32", b"\x01" * 5),
        ("vectors.f32", b"\x01" * 4 * WIDTH),
        ("vectors.f32", b"\x01" * (4 * WIDTH * 2 + 3)),
        ("segments.hash", b"\x01" * 7),
        ("segments.hash", b"\x01" * 16),
    ],
    ids=["part of a vector", "a vector", "vectors and a part", "part of a hash", "a hash"],
)
def test_r33_what_a_killed_process_left_half_written_is_cut_off(tmp_path, opened, name, rest):
    with opened() as store:
        store.vectors(FIRST, Encoder(), pad_id=0)
    with file_of(tmp_path, name).open("ab") as file:
        file.write(rest)
    encoder = Encoder()
    with opened() as store:
        assert len(store) == 3
        assert right(FIRST + SECOND, store.vectors(FIRST + SECOND, encoder, pad_id=0))
    assert sorted(encoder.segments) == [(1, 2, 3, 4), (10,), (11,)]


@pytest.mark.parametrize(
    ("name", "keep"), [("vectors.f32", 4 * WIDTH * 2 + 1), ("segments.hash", 33)]
)
def test_r33_what_was_lost_is_encoded_again(tmp_path, opened, name, keep):
    with opened() as store:
        store.vectors(FIRST, Encoder(), pad_id=0)
    os.truncate(file_of(tmp_path, name), keep)
    encoder = Encoder()
    with opened() as store:
        assert len(store) == 2
        assert right(FIRST, store.vectors(FIRST, encoder, pad_id=0))
    assert encoder.segments == [(9, 9)]


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
@pytest.mark.parametrize("again", ["same store", "new store"])
def test_r34_a_full_disk_loses_only_what_was_not_written(opened, monkeypatch, failing, again):
    def fail_once(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    def fill() -> None:
        for documents in (FIRST, SECOND):
            store.vectors(documents, encoder, pad_id=0)

    count, fsync = 0, os.fsync
    encoder = Encoder()
    store = opened()
    monkeypatch.setattr("longform.training.rows.os.fsync", fail_once)
    with pytest.raises(OSError, match="No space left"):
        fill()
    if again == "new store":
        store.__exit__()
        store = opened()
    with store:
        both = FIRST + SECOND
        assert right(both, store.vectors(both, encoder, pad_id=0))
        assert len(store) == 6
    with opened() as store:
        calls = encoder.calls
        assert right(both, store.vectors(both, encoder, pad_id=0))
        assert encoder.calls == calls


def test_vectors_outlive_the_store_and_its_growth(opened):
    with opened() as store:
        vectors = store.vectors(FIRST, Encoder(), pad_id=0)
    with opened() as store:
        store.vectors(SECOND, Encoder(), pad_id=0)
    assert right(FIRST, vectors)


def test_documents_read_together_are_views_and_cannot_be_written(opened):
    with opened() as store:
        rows = store.vectors(FIRST, Encoder(), pad_id=0)[0]
    assert not rows.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_two_runs_take_turns(tmp_path, opened):
    with opened(), file_of(tmp_path, "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with file_of(tmp_path, "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("LONGFORM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert default_cache_folder() == tmp_path / "cache" / "longform" / "vectors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "longform" / "vectors"
    monkeypatch.setenv("LONGFORM_CACHE", str(tmp_path / "own"))
    assert default_cache_folder() == tmp_path / "own" / "vectors"
