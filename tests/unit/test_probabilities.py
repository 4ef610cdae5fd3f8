from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from longform.decision.probabilities import softmax
from longform.errors import LongformError

logits = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e4, 1e4, width=32),
)


@given(logits=logits, temperature=st.floats(0.05, 20))
def test_each_row_is_a_distribution_in_the_order_of_the_logits(logits, temperature):
    found = softmax(logits, temperature)
    assert found.dtype == np.float32
    assert found.shape == logits.shape
    assert np.allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert ((found >= 0) & (found <= 1)).all()
    for row, probabilities in zip(logits, found, strict=True):
        assert probabilities[row.argmax()] == probabilities.max()


def test_the_values_are_those_of_the_definition():
    expected = np.exp([[0.0, 1.0, 2.0]]) / np.exp([0.0, 1.0, 2.0]).sum()
    assert np.allclose(softmax(np.array([[0, 1, 2]], dtype=np.float32)), expected, atol=1e-7)


def test_huge_logits_neither_overflow_nor_vanish():
    values = np.array([[3e38, -3e38, 0.0], [1e30, 1e30, -1e30]], dtype=np.float32)
    assert softmax(values).tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]


def test_a_higher_temperature_is_less_certain_and_changes_no_label():
    values = np.array([[2.0, 1.0, 0.0]], dtype=np.float32)
    tops = [softmax(values, temperature)[0, 0] for temperature in (0.5, 1.0, 2.0, 10.0)]
    assert tops == sorted(tops, reverse=True)
    assert softmax(values, 10.0).argmax() == 0
    assert np.allclose(softmax(values, 2.0), softmax(values / 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_r26_logits_that_are_no_numbers_are_refused_with_their_document(bad):
    values = np.zeros((4, 3), dtype=np.float32)
    values[2, 1] = values[3, 0] = bad
    with pytest.raises(LongformError, match=r"document 2 of the batch \(2 in all\)"):
        softmax(values)
