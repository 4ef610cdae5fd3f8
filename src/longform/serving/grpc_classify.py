"""`longform.v1.Classifier`: classification that tells its answer as it forms."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from longform.errors import LongformError
from longform.serving.answering import AnswerDesk
from longform.serving.grpc_messages import CLASSIFIER, load
from longform.serving.parsing import RequestError, check_count, find_faults
from longform.serving.refusals import describe_error
from longform.serving.schemas import PredictRequest
from longform.serving.service import PredictionService
from longform.types import Prediction


class Classifier:
    """The calls of the service.

    Args:
        desk: Where requests are answered.
    """

    def __init__(self, desk: AnswerDesk) -> None:
        self._desk = desk
        self._messages = load(CLASSIFIER)

    async def Classify(self, request: Any) -> AsyncIterator[Any]:
        """Yield an event for each document that moved, and a final one for each document."""
        asked = self._read(request)
        async with self._desk.stream_asked(asked) as (service, stream):
            while (news := await stream.next_progress(math.inf)) is not None:
                for progress in news:
                    yield self._event(service, asked, progress.index, progress.prediction)
            answer = self._desk.judge(asked, await stream.answer())
            self._desk.telemetry.observe_answer(service, answer)
            for index, outcome in enumerate(answer.outcomes):
                yield self._event(service, asked, index, outcome, final=True)

    def _read(self, request: Any) -> PredictRequest:
        check_count(len(request.documents), self._desk.settings.max_client_batch_size)
        try:
            asked = PredictRequest.model_validate(
                {
                    "inputs": [
                        {"text": item.text, "text_pair": item.text_pair or None}
                        for item in request.documents
                    ],
                    "model": request.model or None,
                    "version": request.version or None,
                    "evidence": request.evidence,
                    "refine_evidence": request.refine_evidence,
                    "parameters": {
                        "top_k": request.top_k or None,
                        "raw_scores": request.raw_scores,
                        "strict": request.strict,
                        "deadline_ms": request.deadline_ms or None,
                        "priority": "low" if request.low_priority else "normal",
                    },
                }
            )
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise RequestError(
                422, "The request must fit the message.", found=f"{place}: {fault['msg']}"
            ) from error
        asked.faults.update(find_faults(asked.documents()))
        return asked

    def _event(
        self,
        service: PredictionService,
        asked: PredictRequest,
        index: int,
        outcome: Prediction | LongformError,
        *,
        final: bool = False,
    ) -> Any:
        event = self._messages["ClassifyEvent"](
            index=index, final=final, model=service.name, version=service.version
        )
        if isinstance(outcome, LongformError):
            event.error = describe_error(outcome)[2]
            return event
        top_k = asked.parameters.top_k or self._desk.settings.top_k
        event.label, event.score = outcome.label, outcome.score
        for entry in outcome.scores[:top_k]:
            event.scores.add(label=entry.label, score=entry.score)
        for entry in outcome.labels or ():
            event.labels.add(label=entry.label, score=entry.score)
        coverage = outcome.coverage.as_dict()
        event.coverage.CopyFrom(
            self._messages["Coverage"](**{**coverage, "reason": coverage["reason"] or ""})
        )
        for stretch in outcome.evidence or ():
            event.evidence.add(
                segment=stretch.segment,
                start=stretch.start,
                end=stretch.end,
                score=stretch.score,
                label=stretch.label,
                part=stretch.part,
                contribution=stretch.contribution,
                log_odds=stretch.log_odds,
            )
        if outcome.explanation is not None:
            # A base of 0 stands for none, as unset numbers do in this format.
            explained = {**asdict(outcome.explanation), "base": outcome.explanation.base or 0.0}
            event.explanation.CopyFrom(self._messages["Explanation"](**explained))
        event.calibrated, event.abstained = outcome.calibrated, outcome.abstained
        event.prediction_set.extend(outcome.prediction_set or ())
        event.warnings.extend(outcome.warnings)
        return event
