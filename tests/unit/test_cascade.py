"""A cascade as a scorer: who answers what, how much is read, what is audited."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from cascade_stages import LABELS, LetterScorer, make_cascade, make_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from longform.decision.certificate import UnsureRecord
from longform.decision.rule import DecisionRule
from longform.errors import InputError
from longform.inference.auditing import AuditedDocument
from longform.inference.scorer import Further, Reading, Verdict
from longform.inference.staging import reading_order
from longform.types import Document, Exit

TWO_STAGES = ((0, 1.0, 3.0), (1, 1.0, None))


def documents(*texts: str) -> list[Document]:
    return [Document(str(index), text) for index, text in enumerate(texts)]


def answers(scores) -> list[str]:
    return [LABELS[index] for index in scores.logits.argmax(axis=1)]


def test_sure_documents_stop_and_the_others_go_on():
    small, full = LetterScorer(100, swapped=True), LetterScorer(2, width=5)
    cascade = make_cascade(make_certificate(TWO_STAGES), small, full, audit_rate=0)
    scores = cascade.score(documents("aaaa", "bbbba", "ccbb", "aabbbc"))
    # Margins of the small stage: 4, 3 (b read as c), 0, 1.
    assert scores.exits == (
        Exit(0, 1, "confident"),
        Exit(0, 1, "confident"),
        Exit(1, 2, "last_stage"),
        Exit(1, 3, "last_stage"),
    )
    assert answers(scores) == ["a", "c", "b", "b"]
    assert sorted(full.seen) == sorted(["cc", "bb", "aa", "bb", "bc"])
    assert [item.segments_total for item in scores.coverage] == [1, 1, 2, 3]
    assert cascade.cascade_statistics.early_exits == (2, 0)
    assert cascade.cascade_statistics.documents == 4


def test_the_open_documents_of_a_window_share_one_batch():
    small, full = LetterScorer(100), LetterScorer(1)
    cascade = make_cascade(make_certificate(TWO_STAGES), small, full, audit_rate=0)
    cascade.score(documents(*(["ab"] * 7 + ["aaaa"] * 20)))
    assert small.batches == [27]
    assert full.batches == [14]


def test_a_deeper_step_reads_only_what_is_new_and_says_how_much_was_read():
    only = LetterScorer(1)
    steps = ((0, 0.25, 3.0), (0, 0.5, 4.0), (0, 1.0, None))
    cascade = make_cascade(make_certificate(steps), only, audit_rate=0)
    scores = cascade.score(documents("aabbbbba", "aaacccca", "abacccba"))
    # Two segments, then four, then eight, the ends before the middle.
    assert [where.segment for where in scores.exits] == [8, 4, 8]
    assert [where.reason for where in scores.exits] == ["last_stage", "confident", "last_stage"]
    assert len(only.seen) == 8 + 4 + 8
    assert scores.coverage[1].truncated
    assert scores.coverage[1].reason == "early_exit"
    assert scores.coverage[1].tokens_used == 4
    assert not scores.coverage[0].truncated
    assert answers(scores)[0] == "b"


def test_temperatures_make_stages_comparable():
    small, full = LetterScorer(100), LetterScorer(100)
    cascade = make_cascade(
        make_certificate(TWO_STAGES), small, full, temperatures=(2.0, 4.0), audit_rate=0
    )
    scores = cascade.score(documents("aaaaaaa", "aaaa"))
    assert [where.stage for where in scores.exits] == [0, 1]
    last = DecisionRule(LABELS, temperature=4.0)
    own = DecisionRule(LABELS, temperature=2.0)
    expected = own.probabilities(np.array([[7.0, 0.0, 0.0]], dtype=np.float32))
    assert last.probabilities(scores.logits[:1]) == pytest.approx(expected, abs=1e-6)


def test_nothing_certified_means_the_full_model_and_nothing_else():
    small, full = LetterScorer(100), LetterScorer(100)
    certificate = make_certificate(((0, 1.0, None), (1, 1.0, None)), is_certified=False)
    cascade = make_cascade(certificate, small, full)
    scores = cascade.score(documents("aaaa", "b"))
    assert [where.reason for where in scores.exits] == ["last_stage", "last_stage"]
    assert small.seen == []
    assert not cascade.cascade_statistics.is_active


def test_a_step_that_stops_nothing_is_not_read():
    first, second, full = (LetterScorer(100) for _ in range(3))
    steps = ((0, 1.0, None), (1, 1.0, 2.0), (2, 1.0, None))
    cascade = make_cascade(make_certificate(steps), first, second, full, audit_rate=0)
    cascade.score(documents("aaaa", "ab"))
    assert first.seen == []
    assert second.seen == ["aaaa", "ab"]
    assert full.seen == ["ab"]


def test_readings_of_the_server_end_as_those_of_bulk_work_do():
    certificate = make_certificate(((0, 1.0, 3.0), (1, 0.5, 4.0), (1, 1.0, None)))
    texts = ["aaaa", "abab", "aabbbbbbbbaa", "cab"]
    bulk = make_cascade(certificate, LetterScorer(100), LetterScorer(2), audit_rate=0)
    expected = bulk.score(documents(*texts))
    served = make_cascade(certificate, LetterScorer(100), LetterScorer(2), audit_rate=0)
    for row, document in enumerate(served.segment(documents(*texts))):
        item, vectors = Further(document), np.zeros((0, 3), dtype=np.float32)
        while isinstance(item, Further):
            fresh = served.encode_segments(item.document.segments[item.kept :]).vectors
            vectors = np.concatenate([vectors[: item.kept], fresh])
            (item,) = served.conclude([Reading(item.document, vectors)])
        assert isinstance(item, Verdict)
        assert item.exit == expected.exits[row]
        assert item.coverage == expected.coverage[row]
        assert (item.logits == expected.logits[row]).all()


def test_a_document_whose_time_is_up_is_answered_by_the_step_it_is_at():
    cascade = make_cascade(make_certificate(TWO_STAGES), LetterScorer(100), LetterScorer(1))
    (document,) = cascade.segment(documents("ab"))
    vectors = cascade.encode_segments(document.segments).vectors
    (late,) = cascade.conclude([Reading(document.stopped("deadline"), vectors)])
    assert isinstance(late, Verdict)
    assert late.exit == Exit(0, 1, "deadline")
    (open_,) = cascade.conclude([Reading(document, vectors)])
    assert isinstance(open_, Further)


def test_evidence_is_that_of_the_stage_that_answered():
    full = LetterScorer(1)
    cascade = make_cascade(make_certificate(TWO_STAGES), LetterScorer(100), full, audit_rate=0)
    given = documents("abb")
    (reading,) = cascade.read(given)
    (verdict,) = cascade.conclude([reading])
    assert verdict.exit == Exit(1, 3, "last_stage")
    evidence, _ = cascade.evidence(given[0], reading, DecisionRule(LABELS))
    assert [(item.start, item.end) for item in evidence] == [(0, 1), (1, 2), (2, 3)]
    assert evidence[0].score < 0 < evidence[1].score


def test_what_a_stage_cannot_read_is_refused_before_anything_is_encoded():
    cascade = make_cascade(make_certificate(TWO_STAGES), LetterScorer(100), LetterScorer(1))
    with pytest.raises(InputError, match="empty"):
        cascade.segment(documents("aaaa", ""))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60))
def test_a_reading_order_names_every_segment_once_and_both_ends_early(count):
    order = reading_order(count).tolist()
    assert sorted(order) == list(range(count))
    assert order[0] == 0
    assert count < 3 or order[2] == count - 1


# Audit


def test_every_audited_exit_is_compared_with_the_full_model_after_the_answers():
    small, full = LetterScorer(100, swapped=True), LetterScorer(100)
    cascade = make_cascade(make_certificate(TWO_STAGES), small, full, audit_rate=1.0)
    cascade.score(documents("aaaa", "aaaaa", "ab"))
    assert full.seen == ["ab", "aaaa", "aaaaa"]
    found = cascade.cascade_statistics
    assert (found.audited, found.disagreements, found.is_active) == (2, 0, True)
    assert cascade.auditor.audit.documents == 3
    cascade.score(documents("bbbb"))
    assert cascade.cascade_statistics.disagreements == 1
    # Audited documents are no further answers.
    assert cascade.cascade_statistics.documents == 4


def test_a_fired_audit_sends_everything_to_the_full_model_and_says_so(caplog):
    small, full = LetterScorer(100, swapped=True), LetterScorer(100)
    cascade = make_cascade(make_certificate(TWO_STAGES), small, full, audit_rate=1.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            cascade.score(documents("bbbb"))
            if not cascade.is_active:
                break
    assert cascade.cascade_statistics.audited < 10
    assert not cascade.cascade_statistics.is_active
    said = [record.message for record in caplog.records]
    assert len(said) == 1
    assert "switched off" in said[0]
    small.seen.clear()
    scores = cascade.score(documents("bbbb"))
    assert answers(scores) == ["b"]
    assert scores.exits == (Exit(1, 1, "last_stage"),)
    assert small.seen == []


def test_documents_under_way_when_it_is_switched_off_go_on_to_the_full_model():
    cascade = make_cascade(make_certificate(TWO_STAGES), LetterScorer(100), LetterScorer(100))
    (document,) = cascade.segment(documents("aaaa"))
    vectors = cascade.encode_segments(document.segments).vectors
    cascade.auditor.audit.has_fired = True
    (outcome,) = cascade.conclude([Reading(document, vectors)])
    assert isinstance(outcome, Further)


def test_foreign_documents_fire_the_audit_though_none_of_them_stops_early():
    unsure = (UnsureRecord(margin=2.0, share=0.2),)
    certificate = make_certificate(TWO_STAGES, unsure=unsure)
    cascade = make_cascade(certificate, LetterScorer(100), LetterScorer(100), audit_rate=1.0)
    cascade.score(documents(*["ab", "aaaa"] * 60))
    assert not cascade.is_active
    assert cascade.cascade_statistics.disagreements == 0


def test_the_queue_of_audits_is_bounded_and_a_share_is_drawn():
    cascade = make_cascade(
        make_certificate(TWO_STAGES), LetterScorer(100), LetterScorer(100), audit_rate=1.0
    )
    given = cascade.segment(documents(*["aaaa"] * 500))
    vectors = cascade.encode_segments([document.segments[0] for document in given]).vectors
    readings = [Reading(document, vectors[row : row + 1]) for row, document in enumerate(given)]
    cascade.conclude(readings)
    waiting = cascade.pending_audits()
    assert len(waiting) == 64
    assert all(isinstance(document, AuditedDocument) for document in waiting)
    assert cascade.pending_audits() == []
    rare = make_cascade(
        make_certificate(TWO_STAGES), LetterScorer(100), LetterScorer(100), audit_rate=0.05
    )
    rare.score(documents(*["aaaa"] * 1_000))
    assert 25 <= rare.cascade_statistics.audited <= 75


def test_other_weights_void_a_certificate():
    certificate = make_certificate(TWO_STAGES)
    digests = [stage.digest for stage in certificate.stages]
    assert certificate.differing_stage(digests) is None
    assert certificate.differing_stage([digests[0], "f" * 64]) == 1
    assert certificate.differing_stage(digests[:1]) == 1
    again = type(certificate).model_validate_json(certificate.model_dump_json())
    assert again == certificate
    never = replace_threshold(certificate)
    assert np.isinf(never.thresholds).all()


def replace_threshold(certificate):
    steps = tuple(step.model_copy(update={"threshold": None}) for step in certificate.steps)
    return certificate.model_copy(update={"steps": steps})


def test_closing_closes_every_stage():
    small, full = LetterScorer(100), LetterScorer(100)
    cascade = make_cascade(make_certificate(TWO_STAGES), small, full)
    assert cascade.check_golden() == 0.0
    cascade.close()
    assert small.closed
    assert full.closed
    assert replace(cascade.info, name="x").vector_size == 3
