"""Documents that a model reads in steps: what the engine does when more is asked for."""

from __future__ import annotations

import time
from concurrent.futures import wait
from dataclasses import replace

import numpy as np
import pytest
from serving_stub import StubPredictor, codes

from longform.inference.scorer import Further
from longform.serving.jobs import JobOptions
from longform.serving.limits import EngineLimits
from longform.serving.service import PredictionService, ServiceState
from longform.types import Coverage, Document, Exit, Segment, SegmentedDocument


class SteppedPredictor(StubPredictor):
    """Reads one segment first; of texts with a `?` it then wants all of them, the first kept."""

    segment_length = 4

    def __init__(self):
        super().__init__()
        self.audits: list[Document] = []
        self.concluded: list[tuple[str, int, str | None]] = []

    def pending_audits(self):
        audits, self.audits = self.audits, []
        return audits

    def _cut(self, document):
        return _first_of(super()._cut(document))

    def encode_segments(self, segments):
        encoded = super().encode_segments(segments)
        sums = [[float(segment.token_ids.sum())] for segment in segments]
        return replace(encoded, vectors=np.array(sums, dtype=np.float32))

    def conclude(self, documents, readings, *, evidence=False, raw_scores=False):
        outcomes = []
        for document, reading in zip(documents, readings, strict=True):
            read = reading.document
            # Each vector must be the one of its segment, those of earlier steps included.
            sums = [float(segment.token_ids.sum()) for segment in read.segments]
            assert reading.vectors[:, 0].tolist() == sums
            self.concluded.append((document.text, len(read.segments), read.stop))
            whole = StubPredictor._cut(self, document)
            if read.stop is None and "?" in document.text and len(read.segments) == 1:
                outcomes.append(Further(whole, kept=1))
                continue
            answer = replace(self._answer(document, evidence), coverage=read.coverage)
            reason = read.stop or ("last_stage" if len(read.segments) > 1 else "confident")
            outcomes.append(replace(answer, exit=Exit(0, len(read.segments), reason)))
        return outcomes


def _first_of(whole: SegmentedDocument) -> SegmentedDocument:
    first = whole.segments[:1]
    coverage = Coverage(
        whole.coverage.tokens_total, len(first[0].token_ids), whole.coverage.segments_total, 1
    )
    return SegmentedDocument(first, whole.positions[:1], coverage)


@pytest.fixture
def serve():
    services = []

    def start(**limits):
        stub = SteppedPredictor()
        stub.bundle.description.knobs.segments.segment_length = 4
        service = PredictionService(lambda: stub, limits=EngineLimits(**limits))
        service.start()
        assert service.wait_until_opened(5) is ServiceState.READY
        services.append((service, stub))
        return service, stub

    yield start
    for service, stub in services:
        stub.release.set()
        service.close()


def submit(service, *texts, **options):
    documents = [Document(str(index), text) for index, text in enumerate(texts)]
    return service.submit(documents, JobOptions(**options))


def _outcome(future):
    (prediction,) = future.result(5).predictions
    return prediction


def test_a_document_is_read_on_where_the_model_asks_and_only_there(serve):
    service, stub = serve()
    answer = submit(service, "abcdefgh", "ab?defghij", "xy").result(5)
    exits = [prediction.exit for prediction in answer.predictions]
    assert exits == [
        Exit(0, 1, "confident"),
        Exit(0, 3, "last_stage"),
        Exit(0, 1, "confident"),
    ]
    # The first segment of the second document was not encoded again.
    assert sorted(stub.seen) == sorted(["abcd", "ab?d", "xy", "efgh", "ij"])
    assert service.queued_tokens == 0


def test_documents_at_different_steps_share_a_batch(serve):
    service, stub = serve()
    stub.seconds_per_batch = 0.1
    deep = submit(service, "ab?defghijkl")
    until = time.monotonic() + 5
    while not stub.batches:
        assert time.monotonic() < until
        time.sleep(0.001)
    # While its first step is being encoded, others come in: they meet at its second step.
    others = [submit(service, f"wxy{n}") for n in range(3)]
    wait([deep, *others], 5)
    assert _outcome(deep).exit == Exit(0, 3, "last_stage")
    assert [set(batch) for batch in stub.batches] == [
        {"ab?d"},
        {"efgh", "ijkl", "wxy0", "wxy1", "wxy2"},
    ]


def test_progress_is_told_of_each_step_and_never_asks_for_more(serve):
    service, stub = serve(max_batch_tokens=4)
    news = []
    prediction = _outcome(submit(service, "ab?defghijkl", on_progress=news.append))
    assert prediction.exit == Exit(0, 3, "last_stage")
    assert [item.prediction.coverage.segments_used for item in news] == [2, 3]
    assert [stop for _, _, stop in stub.concluded] == [None, "streaming", None]


def test_at_its_deadline_a_document_is_answered_by_the_step_before(serve):
    service, stub = serve()
    hold = submit(service, "hold")
    assert stub.started.wait(5)
    late = submit(service, "ab?defghijkl", deadline_seconds=0.0)
    time.sleep(0.05)
    stub.release.set()
    prediction = _outcome(late)
    assert prediction.exit == Exit(0, 1, "deadline")
    assert prediction.coverage.segments_used == 1
    assert service.queued_tokens == 0
    assert "efgh" not in stub.seen
    hold.result(5)


def test_audits_are_read_behind_requests_and_answer_nobody(serve):
    service, stub = serve()
    stub.audits = [Document("audit", "aaaabbbb?")]
    submit(service, "xy").result(5)
    until = time.monotonic() + 5
    while not any(text == "aaaabbbb?" and count == 3 for text, count, _ in stub.concluded):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert service.queued_tokens == 0


def test_a_fault_in_a_later_step_fails_its_document_alone(serve):
    service, stub = serve()

    def cut(document):
        whole = StubPredictor._cut(stub, document)
        crash = Segment(0, 1, codes("crash"))
        return replace(whole, segments=(*whole.segments[:-1], crash))

    stub_conclude = stub.conclude

    def conclude(documents, readings, **options):
        outcomes = stub_conclude(documents, readings, **options)
        return [
            Further(cut(document), kept=1) if isinstance(outcome, Further) else outcome
            for document, outcome in zip(documents, outcomes, strict=True)
        ]

    stub.conclude = conclude
    failing, fine = submit(service, "ab?defgh"), submit(service, "abcd")
    assert _outcome(fine).exit == Exit(0, 1, "confident")
    assert failing.exception(5) is not None
