"""Heads that compare two texts, and heads of one logit."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from test_models import EVERY_KIND, WIDTH, build, readings  # noqa: E402

from longform.models.aggregators import split_parts  # noqa: E402
from longform.models.classifier import mean_loss  # noqa: E402


def pair_readings(counts: list[tuple[int, int]]):
    vectors, mask, positions = readings([a + b for a, b in counts])
    for row, (first, second) in enumerate(counts):
        for start, count, part in ((0, first, 0), (first, second, 1)):
            index = torch.arange(count, dtype=torch.float32)
            own = torch.stack(
                [index, index / count, (index + 1) / count, torch.full((count,), float(part))], -1
            )
            positions[row, start : start + count] = own
    return vectors, mask, positions


def test_the_two_texts_are_taken_apart_and_moved_to_the_front():
    vectors, mask, positions = pair_readings([(2, 3), (4, 1)])
    first_part, second_part = split_parts(vectors, mask, positions)
    first, first_mask, _ = first_part
    second, second_mask, second_positions = second_part
    assert first_mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert second_mask.tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]
    assert torch.equal(first[0, :2], vectors[0, :2])
    assert torch.equal(second[0, :3], vectors[0, 2:])
    assert torch.equal(second[1, 0], vectors[1, 4])
    assert second[1, 1:].abs().max() == 0
    assert second_positions[0, :3, 0].tolist() == [0, 1, 2]


@EVERY_KIND
def test_b34_padding_and_other_pairs_change_no_logit(aggregator, options):
    head = build(aggregator=aggregator, text_pair=True, **options).head
    counts = [(3, 2), (1, 5), (4, 4)]
    vectors, mask, positions = pair_readings(counts)
    with torch.no_grad():
        together = head(vectors, mask, positions)
        alone = torch.cat(
            [
                head(
                    vectors[row : row + 1, : a + b],
                    mask[row : row + 1, : a + b],
                    positions[row : row + 1, : a + b],
                )
                for row, (a, b) in enumerate(counts)
            ]
        )
    assert (together - alone).abs().max() <= 1e-6
    assert (together[0] - together[1]).abs().max() > 1e-3


@EVERY_KIND
def test_r26_a_pair_of_which_one_text_is_left_out_gives_finite_logits(aggregator, options):
    head = build(aggregator=aggregator, text_pair=True, **options).head
    for counts in ([(3, 0)], [(0, 3)]):
        with torch.no_grad():
            logits = head(*pair_readings(counts))
        assert torch.isfinite(logits).all()


def test_a_pair_of_equal_texts_has_no_distance():
    head = build(aggregator="mean", text_pair=True).head
    vectors = torch.randn(1, 2, WIDTH).repeat(1, 2, 1)
    mask = torch.ones(1, 4)
    _, _, positions = pair_readings([(2, 2)])
    seen = []
    head.classifier.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    # The part is one of the places that scale a vector: without it the two texts are equal.
    torch.nn.init.zeros_(head.place.modulation.weight)
    torch.nn.init.zeros_(head.place.modulation.bias)
    with torch.no_grad():
        head(vectors, mask, positions)
    first, second, distance, product = seen[0].chunk(4, dim=-1)
    assert distance.abs().max() <= 1e-6
    assert torch.allclose(first, second, atol=1e-6)
    assert torch.allclose(product, first * second, atol=1e-6)


def test_a_pair_needs_its_positions():
    model = build(text_pair=True)
    with pytest.raises(ValueError, match="segment_positions"):
        model(segment_vectors=torch.randn(1, 2, WIDTH))


def test_one_logit_is_the_sigmoid_of_two_classes():
    single = {"num_labels": 2, "problem_type": "single_label_classification"}
    head = build(binary_logits=1, **single).head
    assert head.classifier.out_features == 1
    with torch.no_grad():
        logits = head(*readings([3, 5]))
    assert logits.shape == (2, 2)
    assert logits[:, 0].tolist() == [0, 0]
    labels = torch.tensor([0, 1])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1], labels.float())
    assert torch.allclose(mean_loss(logits, labels), expected)
    assert torch.allclose(logits.softmax(-1)[:, 1], logits[:, 1].sigmoid())


def test_labels_that_are_flags_get_a_binary_cross_entropy():
    logits = torch.tensor([[1.0, -2.0]])
    flags = torch.tensor([[1.0, 0.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, flags)
    assert torch.allclose(mean_loss(logits, flags), expected)
