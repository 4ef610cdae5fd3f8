from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_backends import FakeBackend, fake_scorer

from longform.decision.rule import DecisionRule
from longform.errors import InputError, ParityError
from longform.export.context import describe_verdict
from longform.export.parity import (
    MINIMUM_DOCUMENTS,
    TOLERANCES,
    ParityCheck,
    choose_documents,
    require_parity,
)
from longform.inference.neural import NeuralScorer
from longform.types import Document

LABELS = ("甲", "乙", "丙")
TEXT = "本院认为，被告应当赔偿损失！合同自双方签字之日起生效。"


def documents(count: int) -> list[Document]:
    return [
        Document(f"d{row}", TEXT * (1 + row % 3) + f"第{row}号", LABELS[row % 3])
        for row in range(count)
    ]


def check(count: int = 12) -> ParityCheck:
    return ParityCheck(fake_scorer(), documents(count), DecisionRule(LABELS))


def test_an_export_without_a_difference_passes():
    record = check().compare("fake:fp32", fake_scorer())
    assert record.passed
    assert record.largest_logit_difference == 0
    assert record.label_agreement == 1
    assert record.accuracy_change == record.macro_f1_change == 0
    assert record.documents == 12
    assert record.tokens > 200
    require_parity(record)
    assert json.loads(json.dumps(record.as_dict()))["target"] == "fake:fp32"


@pytest.mark.parametrize(
    ("target", "error", "passed"),
    [
        ("x:fp32", 0.9e-3, True),
        ("x:fp32", 1.1e-3, False),
        ("x:bf16", 1.1e-3, True),
        ("x:int8", 1.1e-3, True),
        ("x:bf16", 0.6, False),
        ("x:int8", 1.6, False),
    ],
)
def test_each_precision_has_its_tolerance_of_logits(target, error, passed):
    record = check().compare(target, fake_scorer(error))
    assert record.passed == passed
    assert record.largest_logit_difference == pytest.approx(error, rel=1e-2)
    if passed:
        require_parity(record)
    else:
        with pytest.raises(ParityError, match=f"largest logit difference of {error:.3g}"):
            require_parity(record)


def test_b20_other_labels_are_refused_within_the_tolerance_of_logits():
    # 0.95 is within what int8 may do to a logit, and turns more than one of these labels.
    record = check().compare("x:int8", fake_scorer(0.95))
    assert record.largest_logit_difference < TOLERANCES["int8"].logit_difference
    assert record.label_agreement <= 1 - 2 / 12
    assert not record.passed


@pytest.mark.parametrize(
    ("precision", "documents", "changed", "allowed"),
    [
        ("fp32", 12, 1, False),
        ("int8", 12, 1, True),
        ("int8", 12, 2, False),
        ("int8", 200, 6, True),
        ("int8", 200, 7, False),
        ("bf16", 200, 4, True),
        ("bf16", 200, 5, False),
    ],
)
def test_one_close_call_among_few_documents_refuses_no_reduced_precision(
    precision, documents, changed, allowed
):
    record = replace(
        check().compare(f"x:{precision}", fake_scorer()),
        documents=documents,
        label_agreement=1 - changed / documents,
    )
    assert TOLERANCES[precision].allows(record) == allowed


def test_too_few_documents_to_tell_by_their_labels_are_said_to_be_so():
    record = check().compare("x:int8", fake_scorer())
    assert describe_verdict(record).startswith("x:int8: equal within tolerance; ")
    changed = replace(record, label_agreement=1 - 1 / 12, accuracy_change=-1 / 12)
    assert TOLERANCES["int8"].allows(changed)
    said = "x:int8: equal within tolerance by its logits (too few documents to tell"
    assert describe_verdict(changed).startswith(said)
    refused = describe_verdict(replace(changed, passed=False))
    assert refused.startswith("x:int8: REFUSED, left out; ")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_r86_what_is_no_number_is_refused_and_can_be_written(value):
    record = check().compare("x:fp32", fake_scorer(value))
    assert not record.passed
    json.dumps(record.as_dict(), allow_nan=False)
    with pytest.raises(ParityError):
        require_parity(record)


def test_the_worst_document_is_named():
    scorer = fake_scorer()
    score = scorer.backend.score

    def wrong_for_one(vectors, mask, positions):
        logits = score(vectors, mask, positions)
        if len(logits) > 7:
            logits[7, 1] += 0.25
        return logits

    scorer.backend.score = wrong_for_one
    record = check().compare("x:fp32", scorer)
    assert record.worst_document == "d7"
    assert record.largest_logit_difference == pytest.approx(0.25, abs=1e-6)


def test_the_change_of_accuracy_is_target_less_reference():
    parity = check(30)
    reference = np.array(fake_scorer().score(documents(30)).logits).argmax(axis=1)
    target = np.array(fake_scorer(1.4).score(documents(30)).logits).argmax(axis=1)
    true = np.arange(30) % 3
    # Names are in the order given, and so are class numbers.
    record = parity.compare("x:int8", fake_scorer(1.4))
    expected = (target == true).mean() - (reference == true).mean()
    assert record.accuracy_change == pytest.approx(expected)


def test_a_validation_document_with_a_label_of_its_own_is_refused():
    with pytest.raises(InputError, match="丁"):
        ParityCheck(fake_scorer(), [Document("a", TEXT, "丁")], DecisionRule(LABELS))


def test_as_many_documents_as_asked_for_are_compared():
    segmenter = fake_scorer().segmenter
    some = documents(20)
    assert choose_documents(some, segmenter, 3) == some[:3]
    assert choose_documents(some, segmenter, 99) == some


def test_without_a_number_a_short_time_decides(monkeypatch):
    segmenter = fake_scorer().segmenter
    some = documents(40)
    tokens = [segmenter.segment(item.text).coverage.tokens_used for item in some]
    monkeypatch.setattr("longform.export.parity.DEFAULT_TOKENS", sum(tokens[:15]))
    assert choose_documents(some, segmenter, None) == some[:15]
    monkeypatch.setattr("longform.export.parity.DEFAULT_TOKENS", 1)
    assert choose_documents(some, segmenter, None) == some[:MINIMUM_DOCUMENTS]
    assert choose_documents(some[:2], segmenter, None) == some[:2]


def test_a_target_that_fails_at_a_shape_is_refused_and_closed(tmp_path):
    from types import SimpleNamespace

    from longform.export.context import ExportContext
    from longform.reporting import Reporter

    class OneLength(FakeBackend):
        def encode(self, batch):
            if batch.input_ids.shape[1] == 1:
                raise RuntimeError("Expected a length of 2 or more\nat some place of the runtime")
            return super().encode(batch)

    scorer, nothing = fake_scorer(), SimpleNamespace()
    context = ExportContext(
        *(tmp_path, nothing, scorer.segmenter, False, nothing, check(), (), nothing, Reporter())
    )
    target = OneLength()
    with pytest.raises(ParityError, match=r"every shape .* Found: Expected a length"):
        context.judge("x:fp32", target)
    assert target.closed
    assert context.records == {}


def test_what_stands_under_the_mask_must_not_be_read():
    class Careless(FakeBackend):
        def encode(self, batch):
            vectors = super().encode(batch)
            vectors[:, 0] += 1e-3 * batch.input_ids.sum(axis=1)
            return vectors

    scorer = fake_scorer()
    careless = NeuralScorer(scorer.segmenter, Careless(precision="bf16"))
    record = ParityCheck(scorer, documents(12), DecisionRule(LABELS), allow_drop=100.0).compare(
        "x:bf16", careless
    )
    assert record.mask_difference > 0.01
    assert not record.passed
    with pytest.raises(ParityError, match="which must not be read"):
        require_parity(record)


def test_a_loss_is_allowed_knowingly_but_not_in_fp32():
    lossy = ParityCheck(fake_scorer(), documents(12), DecisionRule(LABELS), allow_drop=100.0)
    record = lossy.compare("x:int8", fake_scorer(1.6))
    assert record.passed
    assert record.allowed_drop == 100.0
    assert not lossy.compare("x:fp32", fake_scorer(0.01)).passed
    assert not check().compare("x:int8", fake_scorer(1.6)).passed


def test_figures_are_also_given_by_length():
    record = check().compare("x:fp32", fake_scorer(0.5e-3))
    assert sum(item.documents for item in record.by_length) == record.documents
    assert max(item.largest_logit_difference for item in record.by_length) == pytest.approx(
        record.largest_logit_difference
    )
