"""Whether the documents that come are still like those that the model was validated on."""

from __future__ import annotations

import threading
from typing import Any

from longform.decision.sketch import QUANTITIES, Sketch
from longform.serving.jobs import Answer
from longform.serving.service import PredictionService
from longform.types import Prediction

_WINDOW = 2_000
"""Documents after which what came before counts half."""
_LEAST_DOCUMENTS = 100
"""Fewer tell nothing: their shares differ by chance."""


class DriftMonitor:
    """Sketches what each version answers of late and compares it with its bundle's sketch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sketches: dict[tuple[str, str], Sketch] = {}
        self._since_fading: dict[tuple[str, str], int] = {}

    def observe(self, service: PredictionService, answer: Answer) -> None:
        """Count the answers of a request."""
        key = (service.name, service.version)
        with self._lock:
            sketch = self._sketches.setdefault(key, Sketch())
            for outcome in answer.outcomes:
                if isinstance(outcome, Prediction) and 0 <= outcome.score <= 1:
                    sketch.add(outcome.coverage.tokens_total, outcome.label, outcome.score)
                    self._since_fading[key] = self._since_fading.get(key, 0) + 1
            if self._since_fading.get(key, 0) >= _WINDOW:
                sketch.fade(0.5)
                self._since_fading[key] = 0

    def forget(self, service: PredictionService) -> None:
        """Drop the counts of a version that answers no more."""
        with self._lock:
            self._sketches.pop((service.name, service.version), None)
            self._since_fading.pop((service.name, service.version), None)

    def compare(self, service: PredictionService) -> dict[str, float]:
        """Return the index of each quantity; empty where there is nothing to compare yet."""
        reference, recent = self._pair(service)
        if reference is None or recent is None:
            return {}
        return {quantity: recent.difference(reference, quantity) for quantity in QUANTITIES}

    def describe(self, service: PredictionService) -> dict[str, Any]:
        """Return both sketches as shares, with their differences."""
        with self._lock:
            recent = self._sketches.get((service.name, service.version), Sketch())
            documents = recent.documents
        reference, _ = self._pair(service)
        return {
            "name": service.name,
            "version": service.version,
            "documents": round(documents),
            "documents_needed": _LEAST_DOCUMENTS,
            "has_reference": reference is not None,
            "quantities": {
                quantity: {
                    "index": self.compare(service).get(quantity),
                    "recent": recent.shares(quantity),
                    "reference": {} if reference is None else reference.shares(quantity),
                }
                for quantity in QUANTITIES
            },
        }

    def _pair(self, service: PredictionService) -> tuple[Sketch | None, Sketch | None]:
        predictor = service.predictor
        content = None if predictor is None else predictor.bundle.description.training.get("sketch")
        reference = None if content is None else Sketch.from_json(content)
        with self._lock:
            recent = self._sketches.get((service.name, service.version))
            if recent is None or recent.documents < _LEAST_DOCUMENTS:
                return reference, None
            return reference, Sketch.from_json(recent.as_json())
