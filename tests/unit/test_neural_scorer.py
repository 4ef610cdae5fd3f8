from __future__ import annotations

import numpy as np
import pytest
from fake_backends import FakeBackend, fake_scorer
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.errors import InputError
from longform.inference.neural import NeuralScorer
from longform.types import Document

WORDS = "本院认为被告应当赔偿损失合同自双方签字之日起生效"


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text(WORDS, min_size=1, max_size=120), min_size=1, max_size=6),
    budget=st.integers(1, 200),
)
def test_r29_neither_neighbours_nor_the_budget_of_a_batch_change_a_score(texts, budget):
    plain = fake_scorer()
    scorer = NeuralScorer(plain.segmenter, FakeBackend())
    scorer.backend.token_budget = budget
    documents = [Document(str(row), text) for row, text in enumerate(texts)]
    together = scorer.score(documents)
    alone = np.concatenate([plain.score([document]).logits for document in documents])
    assert np.allclose(together.logits, alone, atol=1e-5)
    assert len(together.coverage) == len(texts)
    for rows, width in scorer.backend.batches:
        assert rows * width <= budget or rows == 1


def test_segments_of_several_documents_share_a_batch():
    scorer = fake_scorer()
    scorer.score([Document(str(row), WORDS * 3) for row in range(4)])
    assert len(scorer.backend.batches) == 1
    assert scorer.backend.batches[0][0] >= 12


def test_reading_and_scoring_apart_is_scoring():
    scorer = fake_scorer()
    documents = [Document("a", WORDS * 3), Document("b", WORDS)]
    readings = scorer.read(documents)
    logits = scorer.score_readings(
        [reading.vectors for reading in readings],
        [reading.document.positions for reading in readings],
    )
    assert np.array_equal(logits, scorer.score(documents).logits)
    assert [len(reading.vectors) for reading in readings] == [
        len(reading.document.segments) for reading in readings
    ]


def test_time_and_coverage_come_with_the_scores():
    scores = fake_scorer(max_segments=2).score([Document("a", WORDS * 3), Document("b", "合同")])
    assert [item.truncated for item in scores.coverage] == [True, False]
    assert scores.coverage[0].segments_used == 2
    assert scores.tokenize_seconds >= 0
    assert scores.infer_seconds >= 0


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u3000"])
def test_r08_a_document_of_nothing_is_named(text):
    with pytest.raises(InputError, match="document 'second' is empty"):
        fake_scorer().score([Document("first", WORDS), Document("second", text)])
