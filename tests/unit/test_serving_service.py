from __future__ import annotations

import threading

import pytest
from serving_stub import StubPredictor, expected_score

from longform.errors import GateError, InputError
from longform.serving.failures import BackendFailureError, NotReadyError
from longform.serving.service import PredictionService, ServiceState
from longform.types import Document


def submit(service, text, text_pair=None):
    return service.submit([Document("0", text, text_pair=text_pair)])


@pytest.fixture
def stub():
    return StubPredictor()


@pytest.fixture
def service(stub):
    service = PredictionService(lambda: stub)
    service.start()
    assert service.wait_until_opened(5) is ServiceState.READY
    yield service
    stub.release.set()
    service.close()


def test_r88_ready_only_after_warm_up_and_golden_check():
    loaded = threading.Event()
    stub = StubPredictor()

    def load():
        assert loaded.wait(5)
        return stub

    service = PredictionService(load)
    service.start()
    assert service.state is ServiceState.STARTING
    with pytest.raises(NotReadyError, match="loading"):
        submit(service, "a")
    loaded.set()
    assert service.wait_until_opened(5) is ServiceState.READY
    assert stub.calls == ["warm_up", "check_golden"]
    service.close()
    assert stub.calls[-1] == "close"


def test_a_model_that_cannot_be_opened_fails_with_its_own_error():
    def load():
        raise GateError("The bundle must be whole.", found="a changed byte")

    service = PredictionService(load)
    service.start()
    assert service.wait_until_opened(5) is ServiceState.FAILED
    assert service.failed_to_start
    assert isinstance(service.failure, GateError)
    with pytest.raises(NotReadyError, match="changed byte"):
        service.require_ready()
    service.close()


def test_a_failed_golden_check_keeps_the_service_from_being_ready():
    stub = StubPredictor()
    stub.is_broken = True
    service = PredictionService(lambda: stub)
    service.start()
    assert service.wait_until_opened(5) is ServiceState.FAILED
    service.close()


def test_r70_every_caller_gets_the_answer_to_its_own_text(service):
    texts = ["x" * n for n in range(1, 60)]
    futures = [submit(service, text) for text in texts]
    for text, future in zip(texts, futures, strict=True):
        assert future.result(5).predictions[0].score == pytest.approx(expected_score(text))


def test_r73_cancelled_work_that_has_not_begun_is_never_run(service, stub):
    running = submit(service, "hold")
    assert stub.started.wait(5)
    waiting = submit(service, "left by its client")
    assert waiting.cancel()
    stub.release.set()
    running.result(5)
    assert submit(service, "after").result(5)
    assert stub.seen == ["hold", "after"]


def test_an_unreadable_text_is_its_senders_error_alone(service):
    with pytest.raises(InputError, match="readable"):
        assert submit(service, "refuse").result(5).predictions
    assert service.state is ServiceState.READY


def test_a_crash_on_one_text_leaves_a_healthy_backend_in_service(service):
    with pytest.raises(BackendFailureError, match="RuntimeError") as caught:
        submit(service, "crash").result(5)
    assert "secret" not in str(caught.value)
    assert submit(service, "next").result(5).predictions
    assert service.state is ServiceState.READY


def test_r81_a_broken_backend_is_found_out_and_said(service, stub):
    stub.is_broken = True
    held = submit(service, "hold")
    assert stub.started.wait(5)
    crashing, waiting = submit(service, "crash"), submit(service, "waiting")
    stub.release.set()
    held.result(5)
    with pytest.raises(BackendFailureError, match="could not answer"):
        crashing.result(5)
    with pytest.raises(NotReadyError, match="no longer gives the answers"):
        waiting.result(5)
    assert not service.is_alive
    assert not service.failed_to_start
    assert stub.seen.count("waiting") == 1, "it shared a batch with the culprit, once"


def test_b18_a_dead_thread_is_noticed(service):
    with pytest.raises(BackendFailureError, match="died"):
        submit(service, "die").result(5)
    assert not service.is_alive
    with pytest.raises(NotReadyError, match="died"):
        submit(service, "next")


def test_r86_nan_never_leaves(service):
    with pytest.raises(BackendFailureError, match="finite"):
        submit(service, "nan").result(5)


def test_r80_draining_finishes_what_was_taken_and_refuses_the_rest(service, stub):
    held = submit(service, "hold")
    assert stub.started.wait(5)
    service.drain()
    with pytest.raises(NotReadyError, match="shutting down"):
        submit(service, "late")
    stub.release.set()
    assert held.result(5).predictions


@pytest.mark.parametrize(
    ("text_pair", "given", "found"), [(True, None, "has one"), (False, "b", "has a second one")]
)
def test_a_wrong_number_of_texts_is_refused_before_it_waits(text_pair, given, found):
    stub = StubPredictor(text_pair=text_pair)
    service = PredictionService(lambda: stub)
    with pytest.raises(NotReadyError, match="loading"):
        service.loaded_predictor()
    service.start()
    service.wait_until_opened(5)
    assert service.loaded_predictor() is stub
    with pytest.raises(InputError, match=f"document '0' {found}"):
        assert submit(service, "a", given).result(5).predictions
    assert stub.seen == []
    assert submit(service, "a", None if given else "b").result(5).text_pair is text_pair
    service.close()
