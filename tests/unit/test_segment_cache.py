from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_backends import fake_scorer
from hypothesis import given
from hypothesis import strategies as st

from longform.cli.arguments import cache_settings
from longform.errors import InputError
from longform.inference.cache import SegmentCache
from longform.inference.neural import NeuralScorer
from longform.reporting import Reporter
from longform.types import Document, Segment

SENTENCE = "本院认为，被告应当赔偿损失！"
WIDTH_BYTES = 2 * 4


def segment(*ids: int) -> Segment:
    return Segment(0, 1, np.array(ids, dtype=np.int32))


def cached_scorer(cache: SegmentCache) -> NeuralScorer:
    plain = fake_scorer()
    return NeuralScorer(plain.segmenter, plain.backend, cache=cache)


def rows_encoded(scorer: NeuralScorer) -> int:
    return sum(rows for rows, _ in scorer.backend.batches)


TEXTS = st.lists(
    st.lists(st.sampled_from("甲乙丙丁。！"), min_size=1, max_size=60).map("".join),
    min_size=1,
    max_size=6,
)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([0, 600, 10_000]))
def test_answers_are_those_without_a_cache_and_memory_is_bounded(calls, most_bytes):
    cache = SegmentCache(["weights"], most_bytes)
    scorer, plain = cached_scorer(cache), fake_scorer()
    for texts in calls:
        documents = [Document(str(row), text) for row, text in enumerate(texts)]
        assert np.array_equal(scorer.score(documents).logits, plain.score(documents).logits)
        assert cache.statistics.bytes <= most_bytes


def test_a_document_that_grew_costs_its_new_segments():
    scorer = cached_scorer(SegmentCache(["weights"]))
    text = "".join(f"第{number}条规定如下内容。" for number in range(40))
    (first,) = scorer.segment([Document("1", text)])
    scorer.score([Document("1", text)])
    before = rows_encoded(scorer)
    assert before == len({segment.token_ids.tobytes() for segment in first.segments})
    scorer.score([Document("1", text + SENTENCE)])
    assert 1 <= rows_encoded(scorer) - before <= 3


def test_a_passage_that_is_repeated_in_one_call_is_encoded_once():
    scorer = cached_scorer(SegmentCache(["weights"]))
    scorer.score([Document("1", SENTENCE)])
    one = rows_encoded(scorer)
    scorer = cached_scorer(SegmentCache(["weights"]))
    scorer.score([Document(str(row), SENTENCE) for row in range(9)])
    assert rows_encoded(scorer) == one
    # What is repeated within one call was not found: it was encoded once for all.
    assert scorer.cache.statistics.misses == one


def test_what_was_not_used_for_longest_goes_first():
    cache = SegmentCache(["weights"], 2 * (WIDTH_BYTES + 240))
    first, second, third = (cache.digest(segment(number)) for number in (1, 2, 3))
    row = np.ones((1, 2), dtype=np.float32)
    cache.store([first], row)
    cache.store([second], row)
    cache.find([first])
    cache.store([third], row)
    assert set(cache.find([first, second, third])) == {first, third}
    assert cache.statistics.evictions == 1


@pytest.mark.parametrize("other", [["other weights", "bf16", ""], ["weights", "bf16", "tenant"]])
def test_another_encoder_precision_or_tenant_finds_nothing(other, tmp_path):
    row = np.ones((1, 2), dtype=np.float32)
    mine = SegmentCache(["weights", "bf16", ""], folder=tmp_path)
    mine.store([mine.digest(segment(1))], row)
    theirs = SegmentCache(other, folder=tmp_path)
    assert theirs.find([theirs.digest(segment(1))]) == {}
    assert theirs.digest(segment(1)) != mine.digest(segment(1))


def test_the_disk_keeps_vectors_for_the_next_process(tmp_path):
    first = cached_scorer(SegmentCache(["weights"], folder=tmp_path))
    documents = [Document("1", SENTENCE * 20)]
    expected = first.score(documents).logits
    first.cache.close()
    second = cached_scorer(SegmentCache(["weights"], folder=tmp_path))
    assert np.array_equal(second.score(documents).logits, expected)
    assert rows_encoded(second) == 0


def test_a_damaged_vector_on_the_disk_counts_as_absent(tmp_path):
    cache = SegmentCache(["weights"], folder=tmp_path)
    digest = cache.digest(segment(1))
    cache.store([digest], np.ones((1, 2), dtype=np.float32))
    cache.close()
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE vectors SET vector = ?", (b"\0" * 8,))
    connection.close()
    assert SegmentCache(["weights"], folder=tmp_path).find([digest]) == {}


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_file_that_is_no_cache_is_said_once_and_answers_go_on(tmp_path):
    cache = SegmentCache(["weights"], folder=tmp_path)
    cache.close()
    (path,) = tmp_path.glob("*.sqlite")
    path.write_bytes(b"no database at all" * 300)
    listener = Listener()
    scorer = cached_scorer(SegmentCache(["weights"], folder=tmp_path, reporter=listener))
    for _ in range(2):
        scorer.score([Document("1", SENTENCE)])
    assert len(listener.said) == 1
    assert "off from here on" in listener.said[0]
    assert str(path) in listener.said[0]


def test_the_file_stays_within_its_bound(tmp_path):
    cache = SegmentCache(["weights"], folder=tmp_path, most_disk_bytes=200_000)
    generator = np.random.default_rng(0)
    for start in range(0, 2_000, 100):
        digests = [cache.digest(segment(start + row)) for row in range(100)]
        cache.store(digests, generator.random((100, 64), dtype=np.float32))
    (path,) = tmp_path.glob("*.sqlite")
    assert path.stat().st_size <= 200_000 + 8_192
    newest = SegmentCache(["weights"], folder=tmp_path).find(digests)
    assert len(newest) == 100


def test_several_threads_share_one_cache(tmp_path):
    cache = SegmentCache(["weights"], 5_000, folder=tmp_path)
    row = np.ones((1, 2), dtype=np.float32)

    def work(number: int) -> int:
        digest = cache.digest(segment(number % 30))
        found = cache.find([digest])
        cache.store([digest], number % 30 * row)
        return digest not in found or found[digest][0] == number % 30

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))
    assert cache.statistics.bytes <= 5_000


def test_sizes_are_read_with_and_without_units(tmp_path):
    assert cache_settings("256MB", None).most_bytes == 256_000_000
    assert cache_settings("1GiB", tmp_path).most_bytes == 2**30
    assert cache_settings("0", None).most_bytes == 0
    with pytest.raises(InputError, match="--cache-memory must be a number of bytes"):
        cache_settings("a lot", None)
