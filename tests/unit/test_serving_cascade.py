"""A cascade behind the server's engine: answers, metrics, audits, and the end of a cascade."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cascade_stages import LABELS, LetterScorer, make_cascade, make_certificate

from longform.decision.rule import DecisionRule
from longform.inference.predictor import Predictor
from longform.serving.models import ModelRegistry
from longform.serving.reply_schemas import build_prediction
from longform.serving.service import ServiceState
from longform.serving.telemetry import Telemetry
from longform.types import Document

STEPS = ((0, 1.0, 3.0), (1, 0.5, 6.0), (1, 1.0, None))


class CascadePredictor(Predictor):
    """The predictor of every model, over stages that count letters."""

    def __init__(self, audit_rate: float) -> None:
        certificate = make_certificate(STEPS)
        small = LetterScorer(100, swapped=True)
        self.full = LetterScorer(2)
        self.scorer = make_cascade(certificate, small, self.full, audit_rate=audit_rate)
        knobs = SimpleNamespace(segments=SimpleNamespace(segment_length=10))
        described = SimpleNamespace(text_pair=False, knobs=knobs, training={})
        self.bundle = SimpleNamespace(digest="d" * 64, description=described)
        self.labels = LABELS
        self.rule = DecisionRule(LABELS)


@pytest.fixture
def serve():
    registries = []

    def start(audit_rate: float = 0.0):
        predictor = CascadePredictor(audit_rate)
        registry = ModelRegistry(lambda _: predictor)
        service = registry.add("default", Path("bundle"))
        telemetry = Telemetry()
        telemetry.watch(registry)
        registry.start()
        assert service.wait_until_opened(5) is ServiceState.READY
        registries.append(registry)
        return service, predictor, telemetry

    yield start
    for registry in registries:
        registry.close()


def ask(service, *texts):
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    return service.submit(documents).result(5).predictions


def metric(telemetry, line: str) -> float:
    for row in telemetry.render().decode().splitlines():
        if row.startswith(line):
            return float(row.rsplit(" ", 1)[1])
    raise AssertionError(line)


def test_answers_say_where_they_stopped_and_metrics_count_it(serve):
    service, predictor, telemetry = serve()
    predictions = ask(service, "aaaaa", "ababababab", "abbbbbbbbbbbbbbbba")
    assert [(item.exit.stage, item.exit.reason) for item in predictions] == [
        (0, "confident"),
        (1, "last_stage"),
        (0, "confident"),
    ]
    assert predictions[1].coverage.segments_used == 5
    reply = build_prediction(predictions[0], None, text_pair=False)
    assert reply.exit is not None
    assert reply.exit.model_dump() == {"stage": 0, "segment": 1, "reason": "confident"}
    address = 'model="default"'
    assert metric(telemetry, f'longform_early_exit_total{{{address},stage="0"') == 2
    assert metric(telemetry, f'longform_early_exit_total{{{address},stage="1"') == 0
    assert metric(telemetry, f"longform_cascade_active{{{address}") == 1
    assert service.queued_tokens == 0
    # What the second step had read was not read again by the third.
    assert len(predictor.full.seen) == 5


def test_audits_run_behind_the_answers_and_end_a_cascade_that_broke_its_promise(serve):
    service, predictor, telemetry = serve(audit_rate=1.0)
    until = time.monotonic() + 10
    while predictor.scorer.is_active:
        assert time.monotonic() < until
        (early,) = ask(service, "bbbb")
        time.sleep(0.01)
    # The small stage takes each b for a c.
    assert early.exit.stage == 0 or not predictor.scorer.is_active
    (late,) = ask(service, "bbbb")
    assert (late.label, late.exit.reason) == ("b", "last_stage")
    address = 'model="default"'
    assert metric(telemetry, f"longform_cascade_active{{{address}") == 0
    audited = metric(telemetry, f"longform_cascade_audited_total{{{address}")
    assert audited == metric(telemetry, f"longform_cascade_disagreements_total{{{address}")
    assert audited >= 2
