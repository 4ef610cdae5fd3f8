"""Asking a second version what the first one answered, for versions on trial."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from longform.errors import InputError, LongformError
from longform.serving.failures import NotReadyError, OverloadedError
from longform.serving.jobs import Answer, JobOptions, Weight
from longform.serving.models import ModelRegistry
from longform.serving.service import PredictionService
from longform.serving.trials import Trial
from longform.serving.versions import ServedModel
from longform.types import Document, Prediction


class Comparing:
    """Measures versions on trial by the requests that come.

    Each request of a canary is also put to the current version, each request that a shadow is due
    is also put to the shadow, both with low weight; labels are compared. Where the server is too
    busy the comparison is left out, never the request.

    Args:
        registry: The models.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def watch(
        self, service: PredictionService, documents: Sequence[Document], future: Future[Answer]
    ) -> None:
        """Follow a request that a version was asked."""
        model = self._registry.models.get(service.name)
        trial = None if model is None else model.trial
        if model is None or trial is None:
            return
        if service.version == trial.version:
            future.add_done_callback(lambda done: self._note_request(model, trial, done))
            other = model.current
        elif service.version == model.current and trial.shadows_next():
            other = trial.version
        else:
            return
        loaded = model.versions.get(other)
        if loaded is None:
            return
        try:
            second = loaded.service.submit(documents, JobOptions(weight=Weight.LOW))
        except (OverloadedError, NotReadyError):
            return
        # Chained, so that the labels are compared once, when both answers are there.
        second.add_done_callback(
            lambda _: future.add_done_callback(
                lambda _: self._compare(model, trial, future, second)
            )
        )

    def _note_request(self, model: ServedModel, trial: Trial, done: Future[Answer]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        is_fault = isinstance(error, LongformError) and not isinstance(error, InputError)
        trial.note_request(failed=is_fault)
        self._judge(model, trial)

    def _compare(
        self, model: ServedModel, trial: Trial, first: Future[Answer], second: Future[Answer]
    ) -> None:
        if any(each.cancelled() or each.exception() is not None for each in (first, second)):
            return
        pairs = [
            (_labels(one), _labels(other))
            for one, other in zip(first.result().outcomes, second.result().outcomes, strict=True)
            if isinstance(one, Prediction) and isinstance(other, Prediction)
        ]
        trial.note_labels([one for one, _ in pairs], [other for _, other in pairs])
        self._judge(model, trial)

    def _judge(self, model: ServedModel, trial: Trial) -> None:
        reason = trial.reason_to_end()
        if reason is not None and model.trial is trial:
            self._registry.roll_back(model.name, reason)


def _labels(prediction: Prediction) -> str:
    if prediction.labels is None:
        return prediction.label
    return "\n".join(sorted(entry.label for entry in prediction.labels))
