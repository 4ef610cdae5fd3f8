"""A predictor whose texts say what it shall answer, and documents that make it err."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from longform.inference.neural import NeuralScorer
from longform.inference.predictor import Predictor
from longform.types import Coverage, Document, Segment, SegmentedDocument

LABELS = ("C3-Art", "C34-Economy", "民事判决书")


class ObedientScorer(NeuralScorer):
    """Reads `class per-mille words...`: the class it shall name, with which probability.

    Every word is a token, of which it reads at most `limit`.
    """

    def __init__(self, classes: int, limit: int) -> None:
        self.classes = classes
        self.limit = limit
        self.backend = SimpleNamespace(info="fake (fp32 on cpu)")

    def segment(self, documents):
        return [self._segment(document.text.split()) for document in documents]

    def _segment(self, words):
        order = np.array([int(words[0]), int(words[1])], dtype=np.int32)
        used = min(len(words), self.limit)
        is_cut = used < len(words)
        coverage = Coverage(len(words), used, 1, 1, is_cut, "max_segments" if is_cut else None)
        return SegmentedDocument((Segment(0, 1, order),), np.zeros((1, 4), np.float32), coverage)

    def encode(self, documents):
        return [item.segments[0].token_ids[np.newaxis].astype(np.float32) for item in documents]

    def score_readings(self, vectors, positions):
        rows = []
        for ((chosen, per_mille),) in vectors:
            share = per_mille / 1000
            row = np.full(self.classes, np.log((1 - share) / (self.classes - 1)))
            row[int(chosen)] = np.log(share)
            rows.append(row)
        return np.array(rows, dtype=np.float32)


def make_predictor(labels=LABELS, limit=10**9, decision=None):
    description = SimpleNamespace(
        labels=labels, decision=decision or {}, problem_type="single_label_classification"
    )
    bundle = SimpleNamespace(folder=Path("runs/model"), digest="d" * 64, description=description)
    return Predictor(bundle, ObedientScorer(len(labels), limit))


def make_document(identity, label, answer, per_mille=900, rest="正文", labels=LABELS):
    return Document(identity, f"{labels.index(answer)} {per_mille} {rest}", label)


def make_documents():
    """Six documents; two are mistakes, and `sure` is the more certain one."""
    art, economy, judgment = LABELS
    return [
        make_document("a", art, art),
        make_document("b", economy, economy, 800),
        make_document("unsure", economy, art, 600),
        make_document("c", judgment, judgment, 999, rest="词 " * 3_000),
        make_document("sure", judgment, economy, 950),
        make_document("d", art, art),
    ]
