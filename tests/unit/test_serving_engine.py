from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import pytest
from serving_stub import StubPredictor, expected_score

from longform.errors import InputError
from longform.serving.failures import BackendFailureError, NotReadyError, OverloadedError
from longform.serving.jobs import JobOptions, Weight
from longform.serving.limits import EngineLimits
from longform.serving.service import PredictionService, ServiceState, ServiceWatcher
from longform.types import Document


class Watcher(ServiceWatcher):
    def __init__(self):
        self.reports, self.dropped = [], 0

    def batch_done(self, service, report):
        self.reports.append(report)

    def request_dropped(self, service):
        self.dropped += 1


@pytest.fixture
def serve():
    services = []

    def start(segment_length=1_000, **limits):
        stub = StubPredictor()
        stub.segment_length = segment_length
        stub.bundle.description.knobs.segments.segment_length = segment_length
        watcher = Watcher()
        service = PredictionService(lambda: stub, limits=EngineLimits(**limits), watcher=watcher)
        service.start()
        assert service.wait_until_opened(5) is ServiceState.READY
        services.append((service, stub))
        return service, stub, watcher

    yield start
    for service, stub in services:
        stub.release.set()
        service.close()


def submit(service, *texts, **options):
    documents = [Document(str(index), text) for index, text in enumerate(texts)]
    return service.submit(documents, JobOptions(**options))


def test_requests_that_wait_share_a_batch(serve):
    service, stub, watcher = serve()
    held = submit(service, "hold")
    assert stub.started.wait(5)
    waiting = [submit(service, "x" * n) for n in range(1, 40)]
    time.sleep(0.1)
    stub.release.set()
    wait([held, *waiting], 5)
    for length, future in enumerate(waiting, 1):
        assert future.result().predictions[0].score == pytest.approx(expected_score("x" * length))
    assert len(stub.batches) == 2
    assert watcher.reports[1].requests == 39
    assert watcher.reports[1].tokens == sum(range(1, 40))


def test_a_batch_holds_no_more_tokens_than_it_may(serve):
    service, stub, _ = serve(segment_length=10, max_batch_tokens=35)
    submit(service, "x" * 100).result(5)
    assert [len(batch) for batch in stub.batches] == [3, 3, 3, 1]


def test_a_short_request_does_not_wait_for_a_long_one(serve):
    service, stub, _ = serve(segment_length=10, max_batch_tokens=10)
    stub.seconds_per_batch = 0.005
    long_one = submit(service, "x" * 2_000)
    time.sleep(0.05)
    began = time.monotonic()
    submit(service, "y" * 10).result(5)
    assert time.monotonic() - began < 0.2
    assert not long_one.done()
    assert long_one.result(10).predictions[0].coverage.segments_used == 200


def test_low_priority_gives_way(serve):
    service, stub, _ = serve(segment_length=10, max_batch_tokens=10)
    stub.seconds_per_batch = 0.002
    low = submit(service, "x" * 1_000, weight=Weight.LOW)
    normal = submit(service, "y" * 1_000)
    normal.result(10)
    assert not low.done()
    done = sum("x" in batch[0] for batch in stub.batches)
    assert 10 <= done <= 45
    low.cancel()


def test_a_deadline_gives_the_answer_of_what_was_read(serve):
    service, stub, _ = serve(segment_length=10, max_batch_tokens=10)
    stub.seconds_per_batch = 0.01
    submit(service, "x" * 10).result(5)
    began = time.monotonic()
    answer = submit(service, "x" * 5_000, deadline_seconds=0.3).result(10)
    assert 0.1 < time.monotonic() - began < 0.45
    coverage = answer.predictions[0].coverage
    assert (coverage.truncated, coverage.reason) == (True, "deadline")
    assert 5 <= coverage.segments_used < 60
    assert coverage.tokens_used == 10 * coverage.segments_used
    assert coverage.tokens_total == 5_000


def test_a_deadline_in_the_past_still_reads_one_segment_of_each_document(serve):
    service, _, _ = serve(segment_length=10, max_batch_tokens=10)
    answer = submit(service, "x" * 100, "y" * 5, deadline_seconds=0.0).result(5)
    used = [item.coverage.segments_used for item in answer.predictions]
    assert used == [1, 1]
    assert [item.coverage.truncated for item in answer.predictions] == [True, False]


def test_progress_comes_in_order_and_ends_with_the_answer(serve):
    service, _, _ = serve(segment_length=10, max_batch_tokens=20)
    seen = []
    future = submit(service, "x" * 95, "y" * 30, on_progress=seen.append)
    answer = future.result(5)
    first = [item.prediction.coverage for item in seen if item.index == 0]
    used = [coverage.segments_used for coverage in first]
    assert used == sorted(set(used))
    assert used[-1] == 10
    assert all(coverage.reason == "streaming" for coverage in first[:-1])
    assert not first[-1].truncated
    last = [item.prediction for item in seen if item.index == 1][-1]
    assert last == answer.predictions[1]


def test_r73_a_request_that_is_left_frees_the_encoder_for_others(serve):
    service, stub, watcher = serve(segment_length=10, max_batch_tokens=10)
    stub.seconds_per_batch = 0.005
    left = submit(service, "x" * 10_000)
    time.sleep(0.05)
    assert left.cancel()
    submit(service, "y").result(5)
    assert service.queued_tokens == 0
    assert watcher.dropped == 1
    assert len(stub.batches) < 100


def test_r74_tokens_that_wait_are_bounded_but_one_request_always_may(serve):
    service, stub, _ = serve(max_queued_tokens=50)
    held = submit(service, "hold")
    assert stub.started.wait(5)
    with pytest.raises(OverloadedError, match="50 tokens") as refused:
        submit(service, "x" * 60)
    assert refused.value.retry_after >= 1
    waiting = submit(service, "x" * 20)
    stub.release.set()
    wait([held, waiting], 5)
    assert submit(service, "x" * 900).result(5).predictions
    assert service.queued_tokens == 0


def test_one_text_that_breaks_a_batch_fails_alone(serve):
    service, stub, _ = serve()
    held = submit(service, "hold")
    assert stub.started.wait(5)
    futures = [submit(service, text) for text in ("a", "crash", "bb")]
    time.sleep(0.05)
    stub.release.set()
    held.result(5)
    assert futures[0].result(5).predictions[0].score == pytest.approx(expected_score("a"))
    assert futures[2].result(5).predictions[0].score == pytest.approx(expected_score("bb"))
    with pytest.raises(BackendFailureError):
        futures[1].result(5)
    assert service.state is ServiceState.READY


def test_an_unreadable_document_of_a_request_leaves_the_others_their_answers(serve):
    service, _, _ = serve()
    answer = submit(service, "aa", "refuse", "bbb").result(5)
    assert isinstance(answer.outcomes[1], InputError)
    assert answer.outcomes[2].score == pytest.approx(expected_score("bbb"))
    with pytest.raises(InputError, match="readable"):
        assert answer.predictions
    assert submit(service, "refuse").result(5).outcomes


def test_a_device_that_is_away_answers_not_ready_and_keeps_the_service(serve):
    service, _, _ = serve()
    with pytest.raises(NotReadyError, match="away"):
        submit(service, "away").result(5)
    assert service.state is ServiceState.READY
    assert submit(service, "a").result(5).predictions


def test_r70_many_threads_get_their_own_answers(serve):
    service, stub, _ = serve(segment_length=7, max_batch_tokens=64)
    stub.seconds_per_batch = 0.0005
    wrong = []

    def ask(number):
        for step in range(30):
            text = "x" * (1 + (number * 31 + step * 17) % 90)
            found = submit(service, text).result(10).predictions[0]
            if found.score != pytest.approx(expected_score(text)):
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert service.queued_tokens == 0


def test_waiting_a_little_fills_batches(serve):
    service, stub, _ = serve(max_wait_seconds=0.2)
    first = submit(service, "a")
    time.sleep(0.02)
    second = submit(service, "b")
    wait([first, second], 5)
    assert stub.batches == [["a", "b"]]
