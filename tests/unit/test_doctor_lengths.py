"""Lengths, plans of reading, and the configuration that is proposed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from doctor_samples import make_documents
from hypothesis import given
from hypothesis import strategies as st

from longform.config import RunConfig, load_config
from longform.data.doctor.findings import Finding
from longform.data.doctor.lengths import Histogram, Quantiles, examine_lengths
from longform.data.doctor.plans import (
    REFERENCE_ENCODER,
    EncoderShape,
    choose_segment_length,
    read_encoder_shape,
)
from longform.data.doctor.proposal import propose
from longform.errors import InputError
from longform.reporting import Reporter
from longform.text.segmenter import Segmenter
from longform.text.vocabulary import train_tokenizer

TEXTS = [document.text for document in make_documents(30, characters=1_500)]
SHORT = [document.text for document in make_documents(30, characters=40)]


def examine(texts, tokenizer=None, shape=None, **settings):
    encoder = None
    if tokenizer is not None or shape is not None:
        encoder = (tokenizer or train_tokenizer(texts, 5_000), shape or REFERENCE_ENCODER)
    return examine_lengths(texts, RunConfig(**settings), encoder, Reporter())


def plan_of(lengths, **settings):
    (plan,) = [plan for plan in lengths.plans if plan.settings == settings]
    return plan


def test_a_plan_says_what_the_segmenter_does():
    tokenizer = train_tokenizer(TEXTS, 5_000)
    lengths, _ = examine(TEXTS, tokenizer)
    plan = plan_of(lengths, segment_length=128, selection="head_tail")
    settings = RunConfig(selection="head_tail").segment_settings()
    segmented = Segmenter(tokenizer, settings).segment_batch(TEXTS)
    read = sum(document.coverage.tokens_used for document in segmented)
    total = sum(document.coverage.tokens_total for document in segmented)
    assert plan.coverage == round(read / total, 4)
    assert plan.segments == round(sum(len(d.segments) for d in segmented) / len(TEXTS), 2)
    assert lengths.tokens.longest == max(d.coverage.tokens_total for d in segmented)


def test_plans_that_read_everything_do_so_at_different_costs():
    lengths, _ = examine(TEXTS)
    whole = [plan for plan in lengths.plans if set(plan.settings) == {"segment_length"}]
    assert [plan.settings["segment_length"] for plan in whole] == [128, 256, 512]
    assert all(plan.coverage == plan.whole == 1 for plan in whole)
    assert min(plan.relative_cost for plan in lengths.plans if plan.coverage == 1) == 1
    assert plan_of(lengths, segment_length=128, selection="head").relative_cost < 1


def test_selections_that_leave_nothing_out_are_not_listed():
    lengths, _ = examine(SHORT)
    assert all("selection" not in plan.settings for plan in lengths.plans)


def test_a_plan_that_leaves_tokens_out_is_a_warning():
    lengths, (finding,) = examine(TEXTS, selection="head", head_tokens=256)
    assert finding.kind == "unread_tokens"
    assert any(plan.is_configured and plan.coverage < 0.5 for plan in lengths.plans)
    assert examine(TEXTS)[1] == []


def test_plans_beyond_the_encoder_are_not_compared():
    shape = EncoderShape("tiny", 16, 2, 64, positions=300)
    lengths, _ = examine(TEXTS, shape=shape)
    assert {plan.settings["segment_length"] for plan in lengths.plans} == {128, 256}


def test_the_cost_of_a_segment_is_that_of_its_products_and_its_attention():
    shape = EncoderShape("one layer", width=4, layers=1, inner=16)
    # Per token 4 projections of 4 x 4 and two of 4 x 16; scores and sums over 2 tokens.
    assert shape.flops(2) == 2 * 2 * (4 * 16 + 2 * 64) + 2 * (2 * 2 * 2 * 4)


def test_lengths_come_from_a_sample_where_texts_are_many(monkeypatch):
    monkeypatch.setattr("longform.data.doctor.lengths._SAMPLED_CHARACTERS", 6_000)
    lengths, _ = examine(TEXTS)
    assert lengths.sampled == 4
    assert lengths.documents == 30
    assert lengths.characters.longest == 1_500


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_a_histogram_counts_every_document(lengths):
    histogram = Histogram.of(np.array(lengths, dtype=np.int64))
    assert sum(histogram.counts) == len(lengths)
    assert len(histogram.edges) == len(histogram.counts) + 1
    assert Quantiles.of(np.array(lengths)).longest == max(lengths)


@pytest.mark.parametrize(
    ("p90", "encoder", "length"),
    [(40, "bag", 64), (100, "bag", 128), (5_000, "bag", 128), (200, "e5", 224), (600, "e5", 256)],
)
def test_the_segment_length_follows_the_documents(p90, encoder, length):
    assert choose_segment_length(p90, encoder) == length


def test_the_size_of_an_encoder_is_read_from_its_folder(tmp_path):
    config = {"hidden_size": 8, "num_hidden_layers": 3, "max_position_embeddings": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = read_encoder_shape(tmp_path)
    assert (shape.width, shape.layers, shape.inner, shape.positions) == (8, 3, 32, 64)
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(InputError, match=r"config\.json must be readable"):
        read_encoder_shape(tmp_path)


def finding(**proposes):
    return Finding("leaks", "warning", "what", 3, "training", "advice", proposes=proposes)


def test_a_proposal_is_a_configuration_that_training_takes(tmp_path):
    lengths, _ = examine(TEXTS)
    config = RunConfig(data="文件: 1.jsonl", label_separator=",")
    found = [finding(validation_leaks="drop"), finding(cleaning=["html", "control_characters"])]
    proposal = propose(config, found, lengths)
    path = tmp_path / "config.yaml"
    path.write_text(proposal.as_yaml(), encoding="utf-8")
    read = load_config(path, {})
    assert read.data == "文件: 1.jsonl"
    assert read.label_separator == ","
    assert read.validation_leaks == "drop"
    assert read.cleaning == ("html", "control_characters")
    assert yaml.safe_load(proposal.as_yaml()) == proposal.settings
    assert "# leaks: 3 documents" in proposal.as_yaml()


def test_a_proposal_changes_nothing_that_was_set():
    lengths, _ = examine(TEXTS)
    config = RunConfig(data="a", validation_leaks="keep", segment_length=384)
    proposal = propose(config, [finding(validation_leaks="drop")], lengths)
    assert proposal.settings["validation_leaks"] == "keep"
    assert proposal.settings["segment_length"] == 384
    assert proposal.reasons == {}
