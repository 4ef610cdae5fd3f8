from __future__ import annotations

import json

import numpy as np
import pytest
from fake_backends import fake_scorer

from longform.errors import BundleError, ParityError
from longform.export.parity import TOLERANCES
from longform.inference.golden import (
    LOGIT_TOLERANCE,
    check_golden,
    make_golden,
    read_golden,
    write_golden,
)


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.jsonl"
    write_golden(path, make_golden(fake_scorer()))
    return path


def test_golden_documents_are_texts_and_tokens_of_several_shapes(golden):
    items = read_golden(golden)
    shapes = [[len(row) for row in item.segments] for item in items if item.segments]
    assert [1] in shapes
    assert [16, 16] in shapes
    assert max(map(len, shapes)) >= 9
    assert sum(item.text is not None for item in items) == 3
    assert all(np.isfinite(item.logits).all() for item in items)


def test_the_same_seed_gives_the_same_documents(golden, tmp_path):
    again = tmp_path / "again.jsonl"
    write_golden(again, make_golden(fake_scorer()))
    assert again.read_bytes() == golden.read_bytes()
    write_golden(again, make_golden(fake_scorer(), seed=1))
    assert again.read_bytes() != golden.read_bytes()


def test_the_reference_gives_its_own_answers_again(golden):
    assert check_golden(golden, fake_scorer()) <= 1e-6


@pytest.mark.parametrize("precision", sorted(LOGIT_TOLERANCE))
def test_a_backend_that_answers_otherwise_is_refused(golden, precision):
    tolerance = LOGIT_TOLERANCE[precision]
    near, far = 0.9 * tolerance, 1.1 * tolerance
    found = check_golden(golden, fake_scorer(near, precision))
    assert found == pytest.approx(near, rel=1e-2)
    with pytest.raises(ParityError, match=f"golden answers within {tolerance}") as error:
        check_golden(golden, fake_scorer(far, precision))
    assert "--backend" in error.value.fix


def test_r86_an_answer_that_is_no_number_is_refused(golden):
    with pytest.raises(ParityError):
        check_golden(golden, fake_scorer(float("nan")))


def test_every_precision_that_can_be_exported_can_be_checked():
    assert TOLERANCES.keys() <= LOGIT_TOLERANCE.keys()


def test_another_segmenter_is_noticed(golden):
    with pytest.raises(ParityError):
        check_golden(golden, fake_scorer(segment_length=24, max_segments=1))


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "a"}', '{"text": "a", "logits": ["x"]}'])
def test_a_damaged_file_names_its_line(golden, line):
    lines = golden.read_text(encoding="utf-8").splitlines()
    golden.write_text("\n".join([lines[0], line, *lines[2:]]), encoding="utf-8")
    with pytest.raises(BundleError, match="line 2"):
        read_golden(golden)


def test_each_line_is_one_object_with_logits(golden):
    for line in golden.read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        assert content.keys() in ({"text", "logits"}, {"segments", "logits"})
        assert len(content["logits"]) == 3
