"""Fewer layers and heads: the same figures as the whole encoder with the others switched off."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny_tokenizers
import torch
from tiny_encoders import KINDS, hidden_states, tiny_encoder
from torch import nn
from transformers import AutoConfig, AutoModel

from longform.compression.heads import (
    LabelledSegments,
    choose_heads,
    class_centroids,
    gated_heads,
    head_importance,
    keep_heads,
    segment_vectors,
)
from longform.compression.layers import keep_layers, place_layers
from longform.errors import InputError
from longform.models.pruned import heads_per_layer

TOKENIZER = tiny_tokenizers.word_pieces()


def batch(rows=6, tokens=9, classes=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, TOKENIZER.vocabulary_size, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    return LabelledSegments(ids, mask, classes)


@pytest.mark.parametrize(
    ("kept", "placing", "expected"),
    [
        (6, "even", [0, 2, 4, 7, 9, 11]),
        (2, "even", [0, 11]),
        (1, "even", [11]),
        (3, "first", [0, 1, 2]),
        (3, "last", [9, 10, 11]),
        (12, "even", list(range(12))),
    ],
)
def test_layers_are_placed(kept, placing, expected):
    assert place_layers(12, kept, placing) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_kept_layers_run_one_after_the_other(kind):
    whole = tiny_encoder(TOKENIZER, kind)
    pruned = copy.deepcopy(whole)
    removed = keep_layers(pruned, [0, 2])
    # A layer that lets everything pass stands for one that is gone.
    whole.encoder.layer[1].forward = lambda hidden, *_, **__: hidden
    ids = batch().input_ids
    assert torch.equal(hidden_states(pruned, ids), hidden_states(whole, ids))
    assert pruned.config.num_hidden_layers == len(pruned.encoder.layer) == 2
    layer = sum(parameter.numel() for parameter in whole.encoder.layer[1].parameters())
    assert removed == layer


@pytest.mark.parametrize("kept", [[], [0, 0], [1, 0], [0, 3], [-1, 1]])
def test_layers_that_are_not_there_are_refused(kept):
    with pytest.raises(InputError, match="rising order"):
        keep_layers(tiny_encoder(TOKENIZER), kept)


def test_layers_of_an_encoder_without_a_list_of_them_are_refused():
    config = AutoConfig.for_model(
        "albert", vocab_size=30, hidden_size=8, num_attention_heads=2, intermediate_size=8,
        num_hidden_layers=3, embedding_size=8,
    )  # fmt: skip
    with pytest.raises(InputError, match="'albert', which does not"):
        keep_layers(AutoModel.from_config(config), [0])
    with pytest.raises(InputError, match="Heads can be pruned"):
        keep_heads(AutoModel.from_config(config), [[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_heads_equal_silenced_heads_and_load_again(kind, tmp_path):
    whole = tiny_encoder(TOKENIZER, kind)
    kept = [[0, 2], [3], [0, 1, 2, 3]]
    pruned = keep_heads(whole, kept)
    gates = [torch.tensor([float(head in layer) for head in range(4)]) for layer in kept]
    ids = batch().input_ids
    with gated_heads(whole, gates):
        silenced = hidden_states(whole, ids)
    found = hidden_states(pruned, ids)
    assert torch.allclose(found, silenced, atol=2e-6)
    assert not torch.allclose(found, hidden_states(whole, ids), atol=1e-2)
    assert heads_per_layer(pruned) == [2, 1, 4]
    head = 4 * (3 * 16 + 3) + 16 * 4
    before, after = (sum(p.numel() for p in m.parameters()) for m in (whole, pruned))
    assert before - after == 5 * head
    pruned.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert torch.equal(hidden_states(loaded, ids), found)
    # And once more: what was pruned can be pruned further, layers included.
    again = keep_heads(loaded, [[1], [0], [0, 3]])
    keep_layers(again, [0, 2])
    assert heads_per_layer(again) == again.config.heads_per_layer == [1, 2]


def test_importance_is_the_gradient_at_a_gate():
    encoder = tiny_encoder(TOKENIZER)
    classes = torch.tensor([0, 1, 0, 1, 2, 2])
    segments = batch(classes=classes)
    centroids = class_centroids(encoder, [segments], 3)
    importance = head_importance(encoder, [segments], centroids)

    def losses(layer, head, value):
        gates = [torch.ones(4, dtype=torch.float64) for _ in range(3)]
        gates[layer][head] = value
        double = copy.deepcopy(encoder).double()
        with gated_heads(double, gates), torch.no_grad():
            vectors = segment_vectors(double, segments)
        logits = vectors @ centroids.double().T / 0.1
        return nn.functional.cross_entropy(logits, classes, reduction="none")

    step = 1e-4
    expected = np.array(
        [
            [
                float((losses(r, h, 1 + step) - losses(r, h, 1 - step)).abs().sum()) / (2 * step)
                for h in range(4)
            ]
            for r in range(3)
        ]
    )
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(np.stack(importance), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_head_that_says_nothing_is_the_first_to_go(labelled):
    encoder = tiny_encoder(TOKENIZER)
    with torch.no_grad():
        for layer, head in ((0, 3), (2, 1)):
            attention = encoder.encoder.layer[layer].attention
            attention.output.dense.weight[:, 4 * head : 4 * head + 4] = 0
    segments = batch(classes=torch.tensor([0, 1] * 3) if labelled else None)
    centroids = class_centroids(encoder, [segments], 2) if labelled else None
    importance = head_importance(encoder, [segments], centroids)
    assert importance[0][3] == 0
    assert importance[2][1] == 0
    kept = choose_heads(importance, 10 / 12)
    assert kept == [[0, 1, 2], [0, 1, 2, 3], [0, 2, 3]]
    pruned = keep_heads(encoder, kept)
    ids = segments.input_ids
    assert torch.allclose(hidden_states(pruned, ids), hidden_states(encoder, ids), atol=2e-6)


def test_heads_are_chosen_over_all_layers_or_the_same_number_in_each():
    importance = [
        np.array([0.1, 0.9, 0.8]),
        np.array([0.02, 0.01, 0.03]),
        np.array([0.5, 0.4, 0.3]),
    ]
    assert choose_heads(importance, 0.6) == [[1, 2], [2], [0, 1]]
    assert choose_heads(importance, 0.01) == [[1], [2], [0]]
    assert choose_heads(importance, 2) == [[1, 2], [0, 2], [0, 1]]
    for keep in (0, -1, 4, 1.5):
        with pytest.raises(InputError, match="share between 0 and 1"):
            choose_heads(importance, keep)
