"""Tokens of neural models: their terms sum to the logit, and are those of the whole document."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_encoders import tiny_encoder
from tiny_tokenizers import byte_pairs, unigram, word_pieces

from longform.backends.attributions import TorchAttributions
from longform.config import SegmentSettings
from longform.inference.token_split import add_exact, direction_of, split_neural
from longform.models import LongTextClassifier, LongTextConfig
from longform.models.attributions import TokenAttributor, TokenBatch, attention_weights
from longform.models.pretrained import own_settings
from longform.text.segmenter import Segmenter
from longform.types import Document, TokenContribution, TokenSplit

TEXT = (
    "长文本分类器读完每一个字，不遗漏任何句子的意思。The court 3.14!\x00文本分类。意思不遗漏。" * 2
)
KINDS = ("bag", "static", "lstm", "linformer", "bert", "xlm-roberta")


def build(kind: str, aggregator: str = "attention", **settings: object) -> LongTextClassifier:
    torch.manual_seed(0)
    encoder = None
    if kind in {"bert", "xlm-roberta"}:
        encoder = tiny_encoder(word_pieces(), kind, layers=1)
        settings["encoder_config"] = own_settings(encoder.config)
    sizes = {"bag_dimension": 12, "bag_buckets": 31, "static_dimension": 12, "encoder_hidden": 12}
    sizes |= {"aggregator_hidden": 8, "aggregator_heads": 2, "encoder_heads": 2, "linformer_k": 4}
    config = LongTextConfig(
        encoder=kind,
        vocabulary_size=120,
        aggregator=aggregator,
        num_labels=3,
        segment_length=16,
        **sizes | settings,
    )
    model = LongTextClassifier(config, encoder).eval()
    for table in model.modules():
        # Embeddings start near zero, where a normalised vector turns fastest.
        if isinstance(table, torch.nn.Embedding):
            torch.nn.init.normal_(table.weight)
    return model


def batch(rows, ids, lengths) -> TokenBatch:
    mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).to(torch.int64)
    text = mask.bool()
    text[:, 0] = False  # A special token before each segment.
    return TokenBatch(torch.tensor(rows), ids, mask, text)


def document(seed: int = 0) -> tuple[list[TokenBatch], torch.Tensor]:
    """Three segments in two batches, not in reading order, one of them padded."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (3, 7), generator=generator)
    batches = [batch([2], ids[2:], [7]), batch([0, 1], ids[:2], [7, 4])]
    index = torch.arange(3.0)
    return batches, torch.stack([index, index / 3, (index + 1) / 3, torch.zeros(3)], dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_and_the_base_sum_to_the_logit(kind):
    model = build(kind)
    batches, positions = document()
    direction = torch.tensor([0.0, 1.0, 0.0])
    found = TokenAttributor(model, steps=40)(batches, positions, direction)
    total = sum(float(terms.sum()) for terms in found.tokens)
    assert abs(found.logit - found.base) > 0.01
    assert total == pytest.approx(found.logit - found.base, abs=0.05)
    for item, terms in zip(batches, found.tokens, strict=True):
        assert terms[~item.text_mask].abs().max() == 0
    ids = torch.cat([batches[1].input_ids, batches[0].input_ids]).unsqueeze(0)
    masks = torch.cat([batches[1].attention_mask, batches[0].attention_mask]).unsqueeze(0)
    with torch.inference_mode():
        plain = model(ids, masks, segment_positions=positions.unsqueeze(0)).logits[0]
    assert found.logit == pytest.approx(float(plain[1]), abs=1e-4)


@pytest.mark.parametrize("aggregator", ["lstm", "attention"])
def test_two_passes_give_the_gradient_of_the_whole_document_in_one(aggregator):
    model = build("bert", aggregator)
    batches, positions = document()
    direction = torch.tensor([1.0, 0.0, 0.0])
    found = TokenAttributor(model, steps=1, most_steps=1)(batches, positions, direction)

    # One graph over the document, at the only point of one step, which is half way.
    table = model.encoder.model.get_input_embeddings()
    leaves, vectors = [], [None] * 3
    for item in batches:
        ends = table(item.input_ids).detach()
        moves = item.text_mask.unsqueeze(-1)
        leaf = torch.where(moves, ends / 2, ends).requires_grad_()
        hook = table.register_forward_hook(lambda *_, leaf=leaf: leaf)
        encoded = model.encode(item.input_ids, item.attention_mask)
        hook.remove()
        for row, vector in zip(item.rows.tolist(), encoded, strict=True):
            vectors[row] = vector
        leaves.append((leaf, ends * moves))
    logits = model.head(torch.stack(vectors)[None], torch.ones(1, 3), positions[None])
    slopes = torch.autograd.grad(logits[0, 0], [leaf for leaf, _ in leaves])
    for terms, slope, (_, moved) in zip(found.tokens, slopes, leaves, strict=True):
        assert torch.allclose(terms.float(), (slope * moved).sum(dim=-1), atol=1e-5)


def test_encoders_are_left_as_they_were():
    model = build("bag")
    batches, positions = document()
    with torch.inference_mode():
        before = model.encode(batches[0].input_ids, batches[0].attention_mask)
    TokenAttributor(model)(batches, positions, torch.ones(3))
    with torch.inference_mode():
        after = model.encode(batches[0].input_ids, batches[0].attention_mask)
    assert torch.equal(before, after)
    assert model.encoder.fused


def test_attention_weights_sum_to_one_and_are_those_of_the_aggregator():
    model = build("bag")
    weights = attention_weights(model, torch.randn(5, 12), document()[1][:1].expand(5, -1))
    assert weights.shape == (5, 2)
    assert torch.allclose(weights.sum(dim=0), torch.ones(2))
    with pytest.raises(ValueError, match="attention"):
        attention_weights(build("bag", "mean"), torch.randn(5, 12), torch.zeros(5, 4))


@pytest.mark.parametrize("tokenizer", [word_pieces, unigram, byte_pairs])
def test_spans_are_those_of_the_tokens_that_were_read(tokenizer):
    settings = SegmentSettings(segment_length=16, overlap=4, segment_prefix="the ")
    segmenter = Segmenter(tokenizer(), settings)
    segmented = segmenter.segment(TEXT)
    before, after = segmenter.framing
    spans = segmenter.token_spans(TEXT, range(len(segmented.segments)))
    assert len(segmented.segments) > 4
    for segment, own in zip(segmented.segments, spans, strict=True):
        assert len(own) == len(segment.token_ids) - before - after
        assert (own[:, 0] >= segment.start).all()
        assert (own[:, 1] <= segment.end).all()
        assert (np.diff(own[:, 0]) >= 0).all()
    # A character of several tokens comes once.
    first = dict.fromkeys((start, end) for start, end in spans[0].tolist())
    text = "".join(TEXT[start:end] for start, end in first)
    assert text.startswith("长文本")


def bundle_like(tmp_path, **settings):
    model = build("bert", **settings)
    model.save_pretrained(tmp_path)
    return TorchAttributions(tmp_path)


def test_a_document_is_split_over_its_characters_and_overlaps_are_added(tmp_path):
    gradients = bundle_like(tmp_path)
    settings = SegmentSettings(segment_length=16, overlap=4, segment_prefix="the ")
    segmenter = Segmenter(word_pieces(), settings)
    segmented = segmenter.segment(TEXT)
    split = split_neural(
        gradients, segmenter, Document("a", TEXT), segmented, direction_of(1, 3, one_logit=False)
    )
    places = [(token.start, token.end) for token in split.tokens]
    assert places == sorted(set(places))
    assert len(places) == segmented.coverage.tokens_total
    total = sum(abs(token.contribution) for token in split.tokens)
    assert abs(split.gap) < 0.1 * total


def test_the_terms_of_the_linear_model_beneath_go_to_the_tokens_at_their_characters():
    neural = TokenSplit(
        "integrated_gradients",
        (
            TokenContribution(0, 2, 1.0),
            TokenContribution(2, 5, 2.0),
            TokenContribution(0, 2, 4.0, 1),
        ),
        logit=8.0,
        base=1.0,
    )
    exact = TokenSplit(
        "exact",
        (
            TokenContribution(1, 3, 0.5),
            TokenContribution(5, 6, 0.25),
            TokenContribution(0, 1, 1, 1),
        ),
        logit=2.0,
        base=0.25,
    )
    both = add_exact(neural, exact)
    assert [(each.part, each.start, each.contribution) for each in both.tokens] == [
        (0, 0, 1.25),
        (0, 2, 2.25),
        (0, 5, 0.25),
        (1, 0, 5.0),
    ]
    assert (both.logit, both.base, both.gap) == (10.0, 1.25, 0.0)
    assert both.method == "integrated_gradients_and_exact"


def test_the_first_label_of_one_logit_is_told_against_the_other():
    assert direction_of(0, 2, one_logit=True).tolist() == [1.0, -1.0]
    assert direction_of(1, 2, one_logit=True).tolist() == [-1.0, 1.0]
    assert direction_of(1, 3, one_logit=False).tolist() == [0.0, 1.0, 0.0]


def test_points_are_doubled_until_the_terms_miss_little():
    model = build("bag")
    batches, positions = document()
    direction = torch.tensor([0.0, 1.0, 0.0])
    coarse = TokenAttributor(model, steps=1, most_steps=1)(batches, positions, direction)
    refined = TokenAttributor(model, steps=1)(batches, positions, direction)
    assert not coarse.is_close
    assert coarse.steps == 1
    assert refined.is_close
    assert refined.steps in {2, 4, 8, 16, 32}
    again = TokenAttributor(model, steps=refined.steps)(batches, positions, direction)
    assert again.steps == refined.steps
    assert torch.equal(again.tokens[0], refined.tokens[0])
