from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig

from longform.models import LongTextClassifier, LongTextConfig
from longform.models.aggregators import AGGREGATORS, MaxAggregator, MeanAggregator
from longform.models.bag import _FIRST_MULTIPLIER, _SECOND_MULTIPLIER
from longform.models.classifier import even_positions
from longform.models.encoders import PretrainedEncoder
from longform.models.place import Place, place_features, sinusoids
from longform.models.pooling import TOKEN_POOLINGS, masked_max
from longform.models.recurrence import Recurrence

WIDTH = 6
KINDS = [
    ("mean", {}),
    ("max", {}),
    ("attention", {}),
    ("lstm", {"lstm_bidirectional": False}),
    ("lstm", {"lstm_bidirectional": True}),
    ("lstm", {"lstm_bidirectional": True, "aggregator_layers": 2}),
    ("gru", {"lstm_bidirectional": False}),
    ("gru", {"aggregator_layers": 2}),
    ("transformer", {"aggregator_hidden": 8, "aggregator_heads": 2, "aggregator_layers": 2}),
    ("concat", {"max_segments": 8}),
]
KIND_NAMES = [
    "mean",
    "max",
    "attention",
    "lstm",
    "bilstm",
    "bilstm of two layers",
    "gru",
    "bigru of two layers",
    "transformer",
    "concat",
]
EVERY_KIND = pytest.mark.parametrize(("aggregator", "options"), KINDS, ids=KIND_NAMES)


def configure(**changes) -> LongTextConfig:
    values = {
        "vocabulary_size": 50,
        "bag_dimension": WIDTH,
        "bag_buckets": 101,
        "aggregator_hidden": 5,
        "aggregator_heads": 4,
        "encoder_hidden": WIDTH,
        "encoder_heads": 2,
        "linformer_k": 4,
        "num_labels": 3,
        "segment_length": 8,
    }
    return LongTextConfig(**(values | changes))


def build(**changes) -> LongTextClassifier:
    """A model in evaluation mode whose every weight matters, those of the places included."""
    torch.manual_seed(0)
    model = LongTextClassifier(configure(**changes)).eval()
    for parameter in model.head.place.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def bert_settings(**changes) -> dict:
    values = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
    }
    return {"encoder": "bert", "encoder_config": BertConfig(**(values | changes)).to_dict()}


def readings(counts: list[int], seed: int = 0):
    """Vectors, mask and positions of documents; what lies in the padding is noise."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(counts)
    vectors = torch.randn(len(counts), longest, WIDTH, generator=generator)
    mask = torch.zeros(len(counts), longest)
    for row, count in enumerate(counts):
        mask[row, :count] = 1
    return vectors, mask, even_positions(mask)


def test_the_mean_is_that_of_the_real_segments():
    vectors = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]], [[5.0, 7.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    aggregator = MeanAggregator(2, configure())
    assert aggregator.output_size == 2
    assert aggregator(vectors, mask, even_positions(mask)).tolist() == [[2.0, 4.0], [5.0, 7.0]]


def test_the_maximum_is_that_of_the_real_segments_and_may_be_negative():
    vectors = torch.tensor([[[-1.0, 2.0], [-3.0, 6.0], [99.0, 99.0]], [[9.0, 9.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert masked_max(vectors, mask).tolist() == [[-1.0, 6.0], [0.0, 0.0]]


def test_the_max_aggregator_takes_the_maximum_after_its_hidden_layer():
    aggregator = MaxAggregator(2, configure(aggregator_hidden=2))
    with torch.no_grad():
        aggregator.hidden.weight.copy_(torch.eye(2))
        aggregator.hidden.bias.zero_()
        vectors = torch.tensor([[[1.0, -50.0], [3.0, 0.0], [9.0, 9.0]]])
        found = aggregator(vectors, torch.ones(1, 3), torch.zeros(1, 3, 4))
    expected = torch.nn.functional.gelu(torch.tensor([[9.0, 9.0]]))
    assert torch.allclose(found, expected)


def test_attention_of_equal_scores_is_the_mean_in_each_head():
    aggregator = AGGREGATORS["attention"](WIDTH, configure())
    with torch.no_grad():
        aggregator.attention.weight.zero_()
        vectors, mask, positions = readings([2, 4])
        found = aggregator(vectors, mask, positions)
    expected = torch.cat([vectors[0, :2].mean(dim=0)] * 4)
    assert torch.allclose(found[0], expected, atol=1e-6)
    assert found.shape == (2, 4 * WIDTH)


def test_places_are_first_last_depth_start_end_length_and_part():
    positions = torch.tensor([[[0.0, 0.0, 0.25, 0.0], [3.0, 0.75, 1.0, 1.0]]])
    found = place_features(positions)[0]
    depth = float(np.log(4.0)) / 8
    assert found[0].tolist() == [1, 0, 0, 0, 0.25, 0.25, 0]
    assert found[1].tolist() == pytest.approx([0, 1, depth, 0.75, 1, 0.25, 1])


def test_places_begin_without_effect():
    torch.manual_seed(0)
    model = LongTextClassifier(configure()).eval()
    vectors, _, positions = readings([3, 2])
    with torch.no_grad():
        assert torch.equal(model.head.place(vectors, positions), vectors)
        # A fresh layer of torch would not: the zeros above are of our making.
        assert not torch.equal(Place(WIDTH)(vectors, positions), vectors)


def test_even_positions_cut_each_document_into_equal_parts():
    positions = even_positions(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    assert positions.shape == (2, 4, 4)
    assert positions[0].tolist() == [
        [0, 0, 0.25, 0],
        [1, 0.25, 0.5, 0],
        [2, 0.5, 0.75, 0],
        [3, 0.75, 1, 0],
    ]
    assert positions[1, :2].tolist() == [[0, 0, 0.5, 0], [1, 0.5, 1, 0]]


@EVERY_KIND
def test_b34_padding_and_other_documents_change_no_logit(aggregator, options):
    head = build(aggregator=aggregator, **options).head
    vectors, mask, positions = readings([3, 7, 1, 5])
    with torch.no_grad():
        together = head(vectors, mask, positions)
        noise = 100 * torch.randn(4, 4, WIDTH)
        padded = head(
            torch.cat([vectors, noise], dim=1),
            torch.cat([mask, torch.zeros(4, 4)], dim=1),
            torch.cat([positions, torch.rand(4, 4, 4)], dim=1),
        )
        alone = torch.cat(
            [
                head(
                    vectors[row : row + 1, :n],
                    mask[row : row + 1, :n],
                    positions[row : row + 1, :n],
                )
                for row, n in enumerate([3, 7, 1, 5])
            ]
        )
        backwards = head(vectors.flip(0), mask.flip(0), positions.flip(0)).flip(0)
    assert (together - padded).abs().max() <= 1e-6
    assert (together - alone).abs().max() <= 1e-6
    assert (together - backwards).abs().max() <= 1e-6
    # The documents do differ: a head that reads nothing would pass all of the above.
    assert (together[0] - together[1]).abs().max() > 1e-3


@EVERY_KIND
def test_r26_a_document_of_nothing_but_padding_gives_finite_logits(aggregator, options):
    head = build(aggregator=aggregator, **options).head
    vectors, mask, positions = readings([3, 2])
    mask[1] = 0
    with torch.no_grad():
        logits = head(vectors, mask, positions)
    assert torch.isfinite(logits).all()


@EVERY_KIND
def test_every_vector_of_a_document_counts(aggregator, options):
    head = build(aggregator=aggregator, **options).head
    vectors, mask, positions = readings([6])
    vectors.requires_grad_()
    head(vectors, mask, positions).pow(2).sum().backward()
    touched = vectors.grad.abs().amax(dim=-1)[0]
    # A maximum hears only the loudest segments; all others hear each of them.
    assert (touched > 0).sum() >= (2 if aggregator == "max" else 6)


@EVERY_KIND
def test_only_some_aggregators_hear_the_order_itself(aggregator, options):
    module = build(aggregator=aggregator, **options).head.aggregator
    vectors, mask, positions = readings([6])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        given = module(vectors, mask, positions)
        shuffled = module(vectors[:, order], mask, positions)
    differs = aggregator in {"lstm", "gru", "transformer", "concat"}
    assert ((given - shuffled).abs().max() > 1e-3) == differs


def test_positions_tell_any_head_where_a_segment_stands():
    head = build(aggregator="mean").head
    vectors, mask, positions = readings([6])
    order = torch.tensor([0, 3, 5, 1, 4, 2])
    with torch.no_grad():
        whole = head(vectors, mask, positions)
        moved_with_their_places = head(vectors[:, order], mask, positions[:, order])
        moved = head(vectors[:, order], mask, positions)
    assert torch.allclose(whole, moved_with_their_places, atol=1e-6)
    assert (whole - moved).abs().max() > 1e-3


def copy_into(reference: nn.RNNBase, aggregator) -> None:
    """Give torch's recurrent network the weights of ours."""
    directions = [("", aggregator.forward_layers), ("_reverse", aggregator.backward_layers)]
    with torch.no_grad():
        for suffix, layers in directions:
            for number, layer in enumerate(layers):
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    theirs = getattr(reference, f"{kind}_l{number}{suffix}")
                    theirs.copy_(getattr(layer, f"{kind}_l0"))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrence_is_that_of_torch_on_each_document_without_padding(bidirectional, layers, kind):
    torch.manual_seed(1)
    config = configure(lstm_bidirectional=bidirectional, aggregator_layers=layers)
    aggregator = AGGREGATORS[kind](WIDTH, config).eval()
    cell = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
    reference = cell(
        WIDTH, config.aggregator_hidden, layers, batch_first=True, bidirectional=bidirectional
    ).eval()
    copy_into(reference, aggregator)
    counts = [4, 9, 1, 2]
    vectors, mask, positions = readings(counts)
    with torch.no_grad():
        found = aggregator(vectors, mask, positions)
        for row, count in enumerate(counts):
            outputs, states = reference(vectors[row : row + 1, :count])
            states = states[0] if kind == "lstm" else states
            last = torch.cat(list(states[-2 if bidirectional else -1 :, 0]))
            expected = torch.cat([last, outputs[0].amax(dim=0)])
            assert torch.allclose(found[row], expected, atol=1e-6)
    assert found.shape[1] == aggregator.output_size


def mean_of_bag(model: LongTextClassifier, ids: list[int]) -> torch.Tensor:
    """The vector of a segment, from its definition."""
    tokens, pairs = model.encoder.tokens.weight, model.encoder.pairs.weight
    vector = torch.stack([tokens[token] for token in ids]).mean(dim=0)
    if len(ids) > 1:
        hashed = [
            (first * _FIRST_MULTIPLIER + second * _SECOND_MULTIPLIER) % model.config.bag_buckets
            for first, second in pairwise(ids)
        ]
        vector = vector + torch.stack([pairs[bucket] for bucket in hashed]).mean(dim=0)
    return vector


def padded_rows(rows: list[list[int]], pad: int = 0):
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=8), min_size=1, max_size=5),
    pad=st.integers(0, 49),
)
def test_b41_bag_is_the_mean_of_tokens_and_the_mean_of_pairs_without_padding(rows, pad):
    model = build()
    with torch.no_grad():
        found = model.encode(*padded_rows(rows, pad))
        expected = torch.stack([mean_of_bag(model, row) for row in rows])
    assert torch.allclose(found, expected, atol=1e-6)


def test_bag_gives_zeros_for_a_segment_without_tokens():
    ids, mask = padded_rows([[3, 4], [5]])
    mask[1] = 0
    with torch.no_grad():
        found = build().encode(ids, mask)
    assert found[1].tolist() == [0.0] * WIDTH
    assert found[0].any()


def test_bag_hears_the_order_of_tokens_by_its_pairs():
    with torch.no_grad():
        found = build().encode(*padded_rows([[3, 4, 5], [5, 4, 3]]))
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_the_pair_hash_stays_within_int32_for_the_largest_vocabulary():
    largest = 2**15 - 1
    assert largest * _FIRST_MULTIPLIER + largest * _SECOND_MULTIPLIER < 2**31
    ids = torch.tensor([[largest, largest]])
    in_int32 = ids.to(torch.int32) * _FIRST_MULTIPLIER + ids.to(torch.int32) * _SECOND_MULTIPLIER
    assert in_int32.tolist() == (ids * _FIRST_MULTIPLIER + ids * _SECOND_MULTIPLIER).tolist()


def test_bag_drops_tokens_while_it_trains_and_never_else():
    model = build(bag_token_dropout=0.5)
    rows = padded_rows([list(range(8))] * 4)
    with torch.no_grad():
        calm = model.encode(*rows)
        model.train()
        dropped = model.encode(*rows)
        model.eval()
        assert torch.equal(model.encode(*rows), calm)
    assert (dropped - calm).abs().amax(dim=-1).min() > 1e-4


def test_the_fused_mean_of_training_and_the_plain_one_of_the_export_are_equal(monkeypatch):
    model = build()
    rows = padded_rows([[3, 4, 5], [7], [1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        fused = model.encode(*rows)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        plain = model.encode(*rows)
    assert torch.allclose(fused, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[1.0, -2.0], [5.0, 7.0]]),
        ("mean", [[2.0, -4.0], [5.0, 7.0]]),
        ("max", [[3.0, -2.0], [5.0, 7.0]]),
        ("last", [[3.0, -6.0], [5.0, 7.0]]),
    ],
)
def test_each_token_pooling_gives_what_a_hand_computes(pooling, expected):
    hidden = torch.tensor(
        [[[1.0, -2.0], [3.0, -6.0], [99.0, 99.0]], [[5.0, 7.0], [99.0, 99.0], [-99.0, 99.0]]]
    )
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert TOKEN_POOLINGS[pooling](hidden, mask).tolist() == expected


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
def test_r29_pooling_reads_the_same_whichever_side_is_padded(pooling):
    hidden = torch.randn(1, 3, 4)
    noise = 100 * torch.randn(1, 2, 4)
    pool = TOKEN_POOLINGS[pooling]
    right = pool(torch.cat([hidden, noise], 1), torch.tensor([[1, 1, 1, 0, 0]]))
    left = pool(torch.cat([noise, hidden], 1), torch.tensor([[0, 0, 1, 1, 1]]))
    assert torch.allclose(right, left, atol=1e-6)
    assert torch.allclose(right, pool(hidden, torch.ones(1, 3)), atol=1e-6)


@pytest.mark.parametrize("pooling", TOKEN_POOLINGS)
def test_r26_pooling_of_nothing_but_padding_is_finite(pooling):
    found = TOKEN_POOLINGS[pooling](torch.randn(2, 3, 4), torch.zeros(2, 3))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("pooling", TOKEN_POOLINGS)
def test_token_pooling_is_applied_to_the_last_hidden_states_of_an_encoder(pooling):
    model = build(token_pooling=pooling, **bert_settings())
    ids, mask = padded_rows([[2, 9, 8, 3], [2, 3]])
    with torch.no_grad():
        found = model.encode(ids, mask)
        inner = model.encoder.model
        hidden = inner(input_ids=ids, attention_mask=mask).last_hidden_state
    assert found.shape == (2, 16)
    assert torch.allclose(found, TOKEN_POOLINGS[pooling](hidden, mask), atol=1e-6)


ENCODERS = [
    ("bert", {}),
    ("bag", {}),
    ("lstm", {"encoder_layers": 2}),
    ("linformer", {"encoder_layers": 2}),
]
EVERY_ENCODER = pytest.mark.parametrize(("encoder", "options"), ENCODERS, ids=lambda value: value)


def build_with(encoder: str, **options) -> LongTextClassifier:
    settings = bert_settings() if encoder == "bert" else {"encoder": encoder}
    return build(**{**settings, "segment_length": 16, **options})


@pytest.mark.parametrize("pooling", TOKEN_POOLINGS)
@EVERY_ENCODER
def test_r29_padding_and_other_segments_change_no_vector(encoder, options, pooling):
    model = build_with(encoder, token_pooling=pooling, **options)
    ids, mask = padded_rows([[2, 9, 8, 3], [2, 7, 3], [5]])
    with torch.no_grad():
        found = model.encode(ids, mask)
        alone = model.encode(ids[1:2, :3], mask[1:2, :3])
        wider = model.encode(
            nn.functional.pad(ids, (0, 6), value=1), nn.functional.pad(mask, (0, 6))
        )
    assert (found[1:2] - alone).abs().max() <= 1e-6
    assert (found - wider).abs().max() <= 1e-6
    assert (found[0] - found[1]).abs().max() > 1e-4 or pooling == "cls"


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@EVERY_ENCODER
def test_r29_every_setting_scores_a_document_alike_in_any_batch(encoder, options, aggregator):
    fitting = {"aggregator_hidden": 8, "max_segments": 3}
    model = build_with(encoder, aggregator=aggregator, **fitting, **options)
    ids = torch.randint(1, 50, (3, 4, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 1, 5:] = 0
    mask[1, 2:] = 0
    mask[2] = 0
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=mask).logits
        alone = model(input_ids=ids[1:2, :2], attention_mask=mask[1:2, :2]).logits
    assert torch.isfinite(together).all()
    assert (together[1:2] - alone).abs().max() <= 1e-6


@pytest.mark.parametrize("layers", [1, 2])
def test_the_lstm_encoder_reads_each_direction_where_it_has_seen_all(layers):
    model = build_with("lstm", token_pooling="last", encoder_layers=layers)
    reference = nn.LSTM(WIDTH, WIDTH // 2, layers, batch_first=True, bidirectional=True).eval()
    copy_into(reference, model.encoder.recurrence)
    ids, mask = padded_rows([[2, 9, 8, 3], [2, 7]])
    with torch.no_grad():
        found = model.encode(ids, mask)
        states = reference(model.encoder.tokens(ids[1:, :2]))[1][0]
    assert torch.allclose(found[1], torch.cat([states[-2, 0], states[-1, 0]]), atol=1e-6)


def test_linformer_projects_keys_and_values_along_the_length():
    model = build_with("linformer", linformer_k=4)
    attention = model.encoder.layers[0].attention
    vectors = torch.randn(1, 5, WIDTH)
    with torch.no_grad():
        found = attention(vectors, torch.tensor([[1, 1, 1, 0, 0]]))
        queries, keys, values = attention.queries_keys_values(vectors)[0].chunk(3, dim=-1)
        mixed = (
            attention.key_projection[:3].T @ keys[:3],
            attention.value_projection[:3].T @ values[:3],
        )
        heads = []
        for part in (slice(0, 3), slice(3, 6)):
            scores = queries[:, part] @ mixed[0][:, part].T / 3**0.5
            heads.append(torch.softmax(scores, dim=-1) @ mixed[1][:, part])
        expected = attention.output(torch.cat(heads, dim=-1))
    assert attention.key_projection.shape == (16, 4)
    assert torch.allclose(found[0], expected, atol=1e-6)


def test_linformer_refuses_what_it_has_no_positions_for():
    model = build_with("linformer")
    with pytest.raises(ValueError, match="at most 16 tokens, found 17"):
        model.encode(torch.ones(1, 17, dtype=torch.int64), torch.ones(1, 17))


def saved_activations(length: int) -> int:
    """Values that a forward pass of `linformer` keeps for the way back, weights apart."""
    settings = {"encoder_hidden": 16, "encoder_heads": 4, "linformer_k": 32, "dropout": 0.0}
    model = build_with("linformer", segment_length=length, **settings)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    ids = torch.ones(2, length, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        vectors = model.encode(ids, torch.ones_like(ids))
    assert vectors.requires_grad
    return sum(size for place, size in kept.items() if place not in weights)


def test_s4_14_linformer_keeps_memory_linear_in_the_length():
    short, middle, long = (saved_activations(length) for length in (512, 1024, 2048))
    # Twice the length, twice the growth; attention to all positions would have four times.
    assert (long - middle) / (middle - short) == pytest.approx(2.0, rel=0.02)


def test_recurrence_stays_in_full_precision_under_autocast():
    model = build(aggregator="gru", aggregator_layers=2)
    vectors, mask, positions = readings([3, 2])
    with torch.no_grad():
        expected = model.head.aggregator(vectors, mask, positions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model.head.aggregator(vectors.to(torch.bfloat16), mask, positions)
            exact = model.head.aggregator(vectors, mask, positions)
    assert found.dtype == exact.dtype == torch.float32
    assert torch.equal(exact, expected)


def test_dropout_lies_between_recurrent_layers_and_nowhere_else():
    torch.manual_seed(0)
    one = Recurrence(nn.LSTM, WIDTH, 4, layers=1, dropout=0.5).train()
    two = Recurrence(nn.LSTM, WIDTH, 4, layers=2, dropout=0.5).train()
    vectors, mask, _ = readings([5])
    assert torch.equal(one.read(vectors, mask), one.read(vectors, mask))
    assert not torch.equal(two.read(vectors, mask), two.read(vectors, mask))


def test_concat_puts_the_first_segments_side_by_side_and_zeros_where_there_are_none():
    concat = AGGREGATORS["concat"](2, configure(aggregator="concat", max_segments=3))
    vectors = torch.arange(1.0, 13.0).reshape(1, 6, 2)
    places = torch.zeros(1, 6, 4)
    assert concat(vectors, torch.ones(1, 6), places).tolist() == [[1, 2, 3, 4, 5, 6]]
    assert concat(vectors[:, :2], torch.tensor([[1, 0]]), places).tolist() == [[1, 2, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="needs max_segments"):
        configure(aggregator="concat")


def test_sinusoids_tell_any_two_segments_apart():
    places = sinusoids(torch.arange(5000.0), 8)
    assert places.shape == (5000, 8)
    assert sinusoids(torch.arange(3.0), 5).shape == (3, 5)
    assert places[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert torch.cdist(places[:50], places)[0, 1:].min() > 1e-3


def test_the_transformer_hears_the_place_in_the_whole_document():
    head = build(aggregator="transformer", aggregator_hidden=8).head.aggregator
    vectors, mask, positions = readings([3])
    moved = positions.clone()
    moved[..., 0] += 40
    with torch.no_grad():
        change = head(vectors, mask, positions) - head(vectors, mask, moved)
    assert change.abs().max() > 1e-3


def test_an_encoder_is_built_without_the_pooler_that_nothing_reads():
    encoder = PretrainedEncoder(configure(**bert_settings()))
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]


def test_forward_from_tokens_is_encode_and_head():
    model = build(aggregator="lstm")
    ids = torch.randint(1, 50, (2, 3, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 1, 5:] = 0
    mask[1, 2] = 0
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask).logits
        rows = []
        for document, count in ((0, 3), (1, 2)):
            vectors = model.encode(ids[document, :count], mask[document, :count])[None]
            present = torch.ones(1, count)
            rows.append(model.head(vectors, present, even_positions(present)))
    assert (found - torch.cat(rows)).abs().max() <= 1e-6


def test_forward_from_vectors_is_the_head():
    model = build()
    vectors, mask, positions = readings([3, 2])
    with torch.no_grad():
        found = model(segment_vectors=vectors, segment_mask=mask, segment_positions=positions)
        assert torch.equal(found.logits, model.head(vectors, mask, positions))
        unmasked = model(segment_vectors=vectors).logits
    assert torch.equal(
        unmasked, model.head(vectors, torch.ones(2, 3), even_positions(mask * 0 + 1))
    )


def test_forward_gives_the_mean_loss_when_labels_are_given():
    model = build()
    vectors, mask, positions = readings([3, 2])
    labels = torch.tensor([2, 0])
    output = model(
        segment_vectors=vectors, segment_mask=mask, segment_positions=positions, labels=labels
    )
    probabilities = torch.softmax(output.logits, dim=-1)
    expected = -(probabilities[0, 2].log() + probabilities[1, 0].log()) / 2
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_forward_needs_something_to_read():
    with pytest.raises(ValueError, match="input_ids or segment_vectors"):
        build()(attention_mask=torch.ones(1, 1, 4))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aggregator": "lstm", "aggregator_layers": 2},
        {"aggregator": "max", **bert_settings()},
        {"aggregator": "gru", "encoder": "lstm"},
        {"aggregator": "transformer", "aggregator_hidden": 8, "encoder": "linformer"},
        {"aggregator": "concat", "max_segments": 2, "token_pooling": "last", **bert_settings()},
    ],
    ids=["bag", "bag and lstm", "bert", "lstm and gru", "linformer and transformer", "concat"],
)
def test_a_saved_model_is_loaded_by_the_auto_class_and_gives_the_same_logits(tmp_path, changes):
    model = build(id2label={0: "民事", 1: "刑事", 2: "行政"}, **changes)
    ids = torch.randint(1, 50, (2, 3, 8), generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, LongTextClassifier)
    assert not loaded.training
    assert loaded.config.id2label == {0: "民事", 1: "刑事", 2: "行政"}
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    # No pickle lies in the folder.
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_b39_the_weights_of_a_given_encoder_are_kept():
    source = PretrainedEncoder(configure(**bert_settings())).model
    before = {name: value.clone() for name, value in source.state_dict().items()}
    model = LongTextClassifier(configure(**bert_settings()), source)
    after = model.encoder.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
