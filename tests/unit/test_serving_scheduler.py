from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.serving.jobs import Job, JobOptions, Weight
from longform.serving.scheduler import SegmentScheduler
from longform.types import Coverage, Document, Segment, SegmentedDocument

QUANTUM = 100


def document_of(lengths):
    segments = tuple(
        Segment(i, i + 1, np.zeros(length, dtype=np.int32), length)
        for i, length in enumerate(lengths)
    )
    total = sum(lengths)
    coverage = Coverage(total, total, len(segments), len(segments))
    positions = np.zeros((len(segments), 4), dtype=np.float32)
    return SegmentedDocument(segments, positions, coverage)


def job_of(*documents, weight=Weight.NORMAL):
    texts = [Document(str(index), "x") for index in range(len(documents))]
    job = Job(texts, JobOptions(weight=weight), text_pair=False)
    job.place([document_of(lengths) for lengths in documents])
    return job


def scheduler_of(*jobs):
    scheduler = SegmentScheduler(QUANTUM)
    for job in jobs:
        scheduler.add(job)
    return scheduler


lengths = st.lists(st.integers(1, QUANTUM), min_size=1, max_size=30)


@settings(deadline=None)
@given(st.lists(st.lists(lengths, min_size=1, max_size=3), max_size=6), st.integers(1, 1_000))
def test_every_segment_is_taken_once_in_order_within_the_budget(jobs, budget):
    scheduler = scheduler_of(*(job_of(*documents) for documents in jobs))
    taken = {}
    while batch := scheduler.take(budget):
        cost = sum(len(item.segment.token_ids) for item in batch)
        assert cost <= budget or len(batch) == 1
        for item in batch:
            taken.setdefault((item.job, item.document), []).append(item.index)
    assert len(scheduler) == 0
    expected = sum(len(documents) for documents in jobs)
    assert len(taken) == expected
    for (job, document), indices in taken.items():
        assert indices == list(range(len(job.readings[document].segmented.segments)))


@given(st.integers(1, 8))
def test_a_new_short_request_waits_for_a_turn_of_each_other_one_at_most(others):
    scheduler = scheduler_of(*(job_of([QUANTUM] * 500) for _ in range(others)))
    waits = []
    for _ in range(6):
        scheduler.take(QUANTUM)
        short = job_of([QUANTUM // 2])
        scheduler.add(short)
        waited = 0
        while all(item.job is not short for item in scheduler.take(QUANTUM)):
            waited += 1
        waits.append(waited)
    # New ones go first, every second time.
    assert waits[1::2] == [0, 0, 0]
    assert max(waits) <= others


def test_short_requests_that_fill_every_batch_do_not_starve_a_long_one():
    long_job = job_of([QUANTUM] * 500)
    scheduler = scheduler_of(long_job)
    moved = 0
    for _ in range(40):
        scheduler.add(job_of([QUANTUM]))
        moved += any(item.job is long_job for item in scheduler.take(QUANTUM))
    assert moved >= 5


def test_requests_of_low_weight_get_a_quarter_of_the_tokens():
    normal, low = job_of([50] * 1_000), job_of([50] * 1_000, weight=Weight.LOW)
    scheduler = scheduler_of(normal, low)
    taken = {normal: 0, low: 0}
    for _ in range(100):
        for item in scheduler.take(250):
            taken[item.job] += 1
    assert 3.5 <= taken[normal] / taken[low] <= 4.5


def test_a_removed_request_gives_no_more_segments():
    kept, removed = job_of([10] * 3), job_of([10] * 3)
    scheduler = scheduler_of(kept, removed)
    assert scheduler.remove(removed)
    assert not scheduler.remove(removed)
    assert {item.job for item in scheduler.take(1_000)} == {kept}


def test_what_nearly_fits_in_a_batch_is_finished_in_it():
    long_job, short = job_of([QUANTUM] * 50), job_of([60, 60])
    scheduler = scheduler_of(short, long_job)
    assert [item.job for item in scheduler.take(100, 200)] == [short, short]
    assert [item.job for item in scheduler.take(100, 200)] == [long_job]
    scheduler = scheduler_of(job_of([60, 60, 90]))
    assert len(scheduler.take(100, 200)) == 1, "it would not be finished"


def test_a_segment_beyond_the_budget_goes_alone():
    scheduler = scheduler_of(job_of([90, 20]))
    assert [len(item.segment.token_ids) for item in scheduler.take(50)] == [90]
    assert [len(item.segment.token_ids) for item in scheduler.take(50)] == [20]


def test_a_stopped_job_keeps_what_was_taken_and_one_segment_of_each_document_at_least():
    job = job_of([10, 20, 30], [40, 50])
    scheduler = scheduler_of(job)
    assert len(scheduler.take(30)) == 2
    job.stop()
    assert [item.document for item in scheduler.take(1_000)] == [1]
    first, second = (reading.segmented.coverage for reading in job.readings)
    assert (first.tokens_used, first.segments_used, first.truncated) == (30, 2, True)
    assert (second.tokens_used, second.segments_used, second.reason) == (40, 1, "deadline")
    assert job.tokens == 30 + 40
