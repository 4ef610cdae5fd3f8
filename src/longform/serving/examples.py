"""Requests and replies as they stand in the OpenAPI document, under the names shown there."""

from __future__ import annotations

from typing import Any

_MODEL = {
    "name": "default",
    "version": "1",
    "digest": "9f2c41d07b65e8a39f2c41d07b65e8a39f2c41d07b65e8a39f2c41d07b65e8a3",
}
_TIMING = {"tokenize": 2.1, "queue": 0.1, "infer": 82.1, "total": 84.3}
_COVERAGE = {
    "tokens_total": 3412,
    "tokens_used": 3412,
    "segments_total": 14,
    "segments_used": 14,
    "truncated": False,
    "reason": None,
}


def _reply(**prediction: Any) -> dict[str, Any]:
    answer = {"coverage": _COVERAGE, "calibrated": False, "abstained": False, **prediction}
    return {"value": {"model": _MODEL, "predictions": [answer], "timing_ms": _TIMING}}


REQUESTS: dict[str, dict[str, Any]] = {
    "a document": {"value": {"inputs": "The court finds that ..."}},
    "several documents": {"value": {"inputs": ["The court finds that ...", "This contract ..."]}},
    "with evidence": {"value": {"text": "The court finds that ...", "evidence": True}},
    "a pair of texts": {
        "value": {"inputs": {"text": "The contract says ...", "text_pair": "The claim is ..."}}
    },
    "several pairs": {
        "value": {
            "inputs": [
                {"text": "The contract says ...", "text_pair": "The claim is ..."},
                {"text": "The statute says ...", "text_pair": "The appeal is ..."},
            ],
            "parameters": {"top_k": 1},
        }
    },
}

REPLIES: dict[str, dict[str, Any]] = {
    "one label": _reply(
        label="contract",
        score=0.97,
        scores=[{"label": "contract", "score": 0.97}, {"label": "news", "score": 0.03}],
    ),
    "calibrated, and too unsure": _reply(
        label="contract",
        score=0.54,
        scores=[{"label": "contract", "score": 0.54}, {"label": "news", "score": 0.44}],
        calibrated=True,
        abstained=True,
        prediction_set=["contract", "news"],
    ),
    "several labels": _reply(
        label="injury",
        score=0.91,
        labels=[{"label": "injury", "score": 0.91}, {"label": "insurance", "score": 0.44}],
        scores=[
            {"label": "injury", "score": 0.91},
            {"label": "insurance", "score": 0.44},
            {"label": "theft", "score": 0.02},
        ],
    ),
    "no label reaches its threshold": _reply(
        label="theft",
        score=0.2,
        labels=[],
        scores=[{"label": "theft", "score": 0.2}, {"label": "injury", "score": 0.1}],
    ),
    "a pair with evidence": _reply(
        label="agrees",
        score=0.88,
        scores=[{"label": "agrees", "score": 0.88}, {"label": "differs", "score": 0.12}],
        coverage={**_COVERAGE, "segments_total": 2, "segments_used": 2},
        evidence=[
            {
                "segment": 0,
                "start": 0,
                "end": 498,
                "score": 0.21,
                "label": "agrees",
                "contribution": 0.9,
                "log_odds": 1.28,
                "part": 0,
            },
            {
                "segment": 1,
                "start": 0,
                "end": 305,
                "score": 0.34,
                "label": "agrees",
                "contribution": 1.4,
                "log_odds": 1.84,
                "part": 1,
            },
        ],
        explanation={"method": "leave_one_out", "label": "agrees", "logit": 2.1, "base": None},
    ),
}
