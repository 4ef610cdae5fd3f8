"""Segments encoded in pieces: the same vectors and gradients, in bounded memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertModel

from longform.models import LongTextClassifier, LongTextConfig
from longform.training.gradient_cache import KEEP_ALL, PiecewiseEncoding
from longform.training.memory import saved_bytes_per_token

LENGTHS = (5, 32, 17, 1, 32, 9, 28, 30)


def tiny_model(dropout: float = 0.0) -> LongTextClassifier:
    torch.manual_seed(0)
    bert = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    encoder = BertModel(bert, add_pooling_layer=False)
    config = LongTextConfig(
        encoder="bert", encoder_config=bert.to_dict(), aggregator="lstm", dropout=0.0, num_labels=3
    )
    return LongTextClassifier(config, encoder).train()


def batch(documents: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    segments = len(LENGTHS)
    ids = torch.randint(1, 50, (documents, segments, 32), generator=generator)
    mask = torch.stack([torch.arange(32) < length for length in LENGTHS]).long()
    mask = mask.unsqueeze(0).repeat(documents, 1, 1)
    mask[1, 5:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor([0, 2])}


def gradients(
    model: nn.Module, encoding: PiecewiseEncoding | None, bf16: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    if encoding is not None:
        model.encode_segments = encoding
    torch.manual_seed(7)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        output = model(**batch())
    output.loss.backward()
    return float(output.loss.detach()), {
        name: value.grad.clone() for name, value in model.named_parameters()
    }


@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-6), (True, 1e-2)])
@pytest.mark.parametrize("micro_batch_tokens", [1, 40, 64, 10_000])
def test_two_passes_give_the_gradients_of_one(micro_batch_tokens, bf16, tolerance):
    model = tiny_model()
    loss, expected = gradients(model, None, bf16)
    encoding = PiecewiseEncoding(micro_batch_tokens, kept_tokens=0)
    again, found = gradients(model, encoding, bf16)
    assert again == pytest.approx(loss, abs=tolerance)
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= tolerance * max(largest, 1), name
    assert largest > 1e-3


def test_dropout_is_the_same_in_both_passes():
    """With other masks in the second pass the gradients would be those of another function."""
    model = tiny_model(dropout=0.5)
    kept, expected = gradients(model, PiecewiseEncoding(64, 10**9))
    twice, found = gradients(model, PiecewiseEncoding(64, 0))
    some, partly = gradients(model, PiecewiseEncoding(64, 100))
    assert kept == twice == some
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(partly[name], value, rtol=1e-5, atol=1e-7)


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=20),
    budget=st.integers(1, 60),
    kept=st.sampled_from([0, 10, KEEP_ALL]),
)
@settings(max_examples=60, deadline=None)
def test_vectors_keep_their_order_and_pieces_their_size(lengths, budget, kept):
    width = max(*lengths, 1)
    mask = torch.stack([torch.arange(width) < length for length in lengths]).long()
    ids = torch.arange(len(lengths)).unsqueeze(1).expand(-1, width) + 1
    weight = torch.ones(1, requires_grad=True)
    pieces = []

    def encode(piece_ids: torch.Tensor, piece_mask: torch.Tensor) -> torch.Tensor:
        pieces.append((piece_ids.numel(), len(piece_ids)))
        first = piece_ids[:, :1].float() * weight
        return torch.cat([first, piece_mask.sum(1, keepdim=True).float()], dim=1)

    vectors = PiecewiseEncoding(budget, kept)(encode, ids, mask)
    expected = [[row + 1, length] for row, length in enumerate(lengths)]
    assert vectors.tolist() == expected
    # Where everything is kept, pieces are four times as large.
    most = 4 * budget if kept == KEEP_ALL else budget
    assert all(tokens <= most or rows == 1 for tokens, rows in pieces)
    assert sum(rows for _, rows in pieces) == len(lengths)


def test_memory_that_autograd_keeps_does_not_grow_with_the_document():
    model = tiny_model()

    def kept(segments: int, encoding: PiecewiseEncoding) -> float:
        ids = torch.ones((segments, 32), dtype=torch.int64)

        def encode(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return encoding(model.encode, ids, mask)

        return ids.numel() * saved_bytes_per_token(encode, model, (ids, torch.ones_like(ids)))

    one_pass = [kept(count, PiecewiseEncoding(64, KEEP_ALL)) for count in (4, 64)]
    assert one_pass[1] > 12 * one_pass[0]
    two_pass = [kept(count, PiecewiseEncoding(64, 0)) for count in (4, 64)]
    # What is kept are the vectors and the token ids.
    assert two_pass[1] < one_pass[0]


def test_shrinking_ends_at_one_segment():
    encoding = PiecewiseEncoding(100)
    sizes = []
    while encoding.shrink(least_tokens=30):
        sizes.append((encoding.micro_batch_tokens, encoding.kept_tokens))
    assert sizes == [(50, 0), (30, 0)]
